"""The card of an own network: nonsense is refused by name."""

import pytest

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.scoring.network import open_network

REFUSED = {
    "no TOML": ("][", "face.card.toml"),
    "no text": (b"\xff\xfe\xff", "face.card.toml"),
    "brackets without end": ("x = " + "[" * 100_000, "face.card.toml"),
    "a table": ("[face]", "does not know 'face'"),
    "an unknown entry": ("speed = 3", "does not know 'speed'"),
    "a name with an escape": ('"\\u001b[2J" = 3', r"does not know '\\x1b\[2J'"),
    "text for a number": ('r = "0.8"', "r must be"),
    "a truth for a number": ("r = true", "r must be"),
    "no number": ("r = nan", "r must be"),
    "infinity": ("mean = inf", "mean must be"),
    "a rate of 1": ("rate = 1.0", "rate must be"),
    "a scale of 0": ("scale = 0", "scale must be"),
    "a number beyond floats": (f"scale = {10**400}", "scale must be"),
    "a small size": ("size = 3", "size must be 16 to 1024"),
    "an unknown colour": ('colour = "CMYK"', "colour is RGB or BGR"),
    "a list for a colour": ('colour = ["RGB"]', "colour is RGB or BGR"),
    "a number for a text": ("site = 4", "site is a text"),
    "a text for a truth": ('trained_with_dropout = "yes"', "true or false"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_by_name(tmp_path, case):
    text, says = REFUSED[case]
    path = tmp_path / "face.card.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadSetting, match=says):
        open_network("mini", path)


def test_a_missing_card_is_named(tmp_path):
    with pytest.raises(BadSetting, match=r"gone\.toml"):
        open_network("mini", tmp_path / "gone.toml")
