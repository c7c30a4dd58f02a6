"""The reader of model cards: the library's own are sound, and nonsense is named."""

import pytest

from serfiq_widgets.errors import CorruptModel
from serfiq_widgets.zoo import MODELS, cards, read_cards

SOUND = '[face]\ntitle = "a face network"\nalpha = 60\nsymbol = "face-symbol.json"\n'
REFUSED = {
    "no TOML": ("][", "models.toml"),
    "no text": (b"\xff\xfe\xff", "models.toml"),
    "brackets without end": ("x = " + "[" * 100_000, "models.toml"),
    "no table": ("face = 3", "'face': it is not a table"),
    "no title": ("[face]", "title"),
    "an unknown entry": (SOUND + "speed = 3", "no entry 'speed'"),
    "a name with an escape": (SOUND + '"\\u001b[2J" = 3', r"no entry '\?\[2J'"),
    "text for a number": (SOUND + 'r = "0.8"', "r is not a float"),
    "a truth for a number": (SOUND + "r = true", "r is not a float"),
    "no number": (SOUND + "r = nan", "r is nan"),
    "infinity": (SOUND + "mean = inf", "mean is inf"),
    "a rate of 1": (SOUND + "rate = 1.0", "rate is 1"),
    "a scale of 0": (SOUND + "scale = 0", "scale is 0"),
    "an unknown colour": (SOUND + 'colour = "CMYK"', "colour"),
    "a digest that is no text": (SOUND + "sha256 = { symbol = 3 }", "sha256"),
    "a file elsewhere": (SOUND + 'params = "../../etc/passwd"', "not the name of a file"),
}


def test_a_sound_card(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(SOUND)
    assert read_cards(path)["face"].alpha == 60
    assert read_cards(MODELS / "models.toml") == cards()


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_by_name(tmp_path, case):
    text, says = REFUSED[case]
    path = tmp_path / "models.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorruptModel, match=says):
        read_cards(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorruptModel, match=r"gone\.toml"):
        read_cards(tmp_path / "gone.toml")
