"""Open a network with its card from a name, a file, or a torch module.

Settings of a user's network come from keywords or from a small TOML file beside it. The others are
found by a probe; `Card.notes` list what was found, assumed or looks wrong.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.atomic import write_text
from serfiq_widgets.checkpoints import checkpoint_files, load_network, on_top
from serfiq_widgets.checkpoints.heads import MAX_RATE, MIN_RATE, usable_rate
from serfiq_widgets.engines import is_a_crop
from serfiq_widgets.errors import (
    BadSetting,
    CorruptModel,
    ModelWarning,
    NotWritten,
    UnknownModel,
    plain_text,
)
from serfiq_widgets.images.outputs import check_out
from serfiq_widgets.models import cards
from serfiq_widgets.models import files as store
from serfiq_widgets.models.cards import Card
from serfiq_widgets.scoring.probe import Trial, describe, find_normalisation, try_out

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

Settings = Mapping[str, Any] | str | Path

SUFFIX = ".card.toml"
COLOURS = ("RGB", "BGR")
NUMBERS = {  # numeric settings of a card, with their ranges
    "size": (16, 1024),
    "mean": (-1e3, 1e3),
    "scale": (1e-6, 1e3),
    "rate": (MIN_RATE, MAX_RATE),
    "alpha": (1.0, 1e4),
    "r": (0.0, 1.0),
}
TEXTS = ("title", "base", "site", "population", "licence", "origin", "figures")
PIXELS = ("colour", "mean", "scale")
STRETCH = ("alpha", "r", "population")

UNTRAINED = (
    "'{}' was trained without dropout: its features were never trained to replace each other, "
    "so its scores rank faces less reliably (rate {:g} is used). An on-top head helps (serfiq "
    "train-on-top)."
)
FOUND = "'{}' gets its pixels as {}: found by a probe."
ALIKE = (
    "With {1}, '{0}' hardly tells the two people of the sample photos apart (mean cosine {2:.2f} "
    "within one person, {3:.2f} between them): its pixels may need another range or colour order, "
    "or its weights are not trained."
)
TURNED = (
    "'{}' tells the two people of the sample photos apart better in {} than in {}: check its card."
)
ON_TOP = "'{}' is computed from the embeddings of '{}'; its scores have no control variates."
UNSTATED = (
    "'{}' states no dropout layer with a rate (exports leave it out); {:g} before its last layer "
    "'{}' is assumed. If it was trained without dropout, set trained_with_dropout = false in its "
    "card."
)


def open_network(model: Any, settings: Settings | None = None) -> tuple[Card, Network]:
    """Load a network with its card.

    Parameters
    ----------
    model : str, Path or torch.nn.Module
        A name that `cards.usable` lists; the path of an MXNet checkpoint (``x-symbol.json``,
        ``x-0000.params`` or the bare ``x``), of an ONNX file or of an on-top head; or a module
        that takes float32 (N, 3, H, W) and returns embeddings.
    settings : mapping, str or Path, optional
        Settings of its card: ``size`` (of the input), ``colour`` ("RGB" or "BGR"), ``mean``,
        ``scale``, ``site``, ``rate``, ``trained_with_dropout``, ``alpha``, ``r`` and texts (for an
        on-top head also ``base``); or the path of such a TOML file.

    Raises
    ------
    UnknownModel
        Neither a name nor a file; the text lists the names.
    CorruptModel
        The files are broken, incomplete, or do not match the card.
    BadSetting
        A setting of the card is not valid; the text names it.
    """
    return _noted(*_open(model, _settings(settings)))


def _open(model: Any, said: dict[str, Any]) -> tuple[Card, Network]:
    is_file = isinstance(model, str | Path)
    if is_file:
        said = _beside(card_path(model)) | said
        if Path(model).suffix.lower() == on_top.SUFFIX:
            return _on_top(Path(model), said)
    if "base" in said:
        raise BadSetting("Only an on-top head has a base; this is a whole network.")
    if not is_file:
        return _own(_exported(model, said), said)
    if str(model) in cards.cards():
        card = replace(cards.genuine(str(model)), **said)
        load = _bundled if card.bundled else load_network
        return card, load(card.weights, site=card.site, side=card.size)
    network = load_network(Path(model), site=said.get("site", ""), side=said.get("size", 0))
    return _own(network, said)


@cache
def _bundled(path: Path, *, site: str, side: int) -> Network:
    """Load a bundled network once; all scorers of a process share it."""
    return load_network(path, site=site, side=side)


def _on_top(path: Path, said: dict[str, Any]) -> tuple[Card, Network]:
    """Combine an on-top head with its base, the network whose embeddings are its input."""
    top = on_top.load(path)
    base = said.pop("base", top.base)
    if not base:
        raise BadSetting(
            f"'{path.name}' does not say whose embeddings it takes. Name that network (base) in "
            "its card, or score embeddings: serfiq score-embeddings."
        )
    if Path(base).suffix.lower() == on_top.SUFFIX:
        raise BadSetting(
            f"'{path.name}' needs a network as its base, but '{base}' is another head."
        )
    beside = path.parent / base
    card, network = _open(beside if beside.exists() else base, {})
    if top.base_sha256 not in ("", network.sha256) or network.path is None:
        raise CorruptModel(f"'{path.name}' was trained on other weights than those of '{base}'.")
    whole = load_network(network.path, side=card.size, on_top=top.head)
    digest = hashlib.sha256(f"{top.sha256} on {network.sha256}".encode()).hexdigest()
    name = plain_text(path.stem)
    card = replace(
        card,
        name=name,
        title=f"on-top head on {card.name}",
        alpha=top.alpha,
        r=top.r,
        rate=top.rate,
        population=top.population or cards.NOT_CALIBRATED,
        dimensions=top.head.n_dimensions,
        trained_with_dropout=True,
        notes=(*card.notes, ON_TOP.format(name, card.name)),
    )
    return replace(card, **said), replace(whole, name=name, sha256=digest)


def card_path(model: str | Path) -> Path:
    """Return the path of a network's card: beside its file, or in the folder of models.

    Raises
    ------
    UnknownModel
        There is no such network.
    """
    if str(model) in cards.cards():
        return store.models_folder() / str(model) / f"{model}{SUFFIX}"
    path = Path(model)
    if not path.exists() and not list(path.parent.glob(f"{escape(path.name)}-*")):
        raise UnknownModel(
            f"There is no model '{model}': no such file, and not one of the names "
            f"{', '.join(cards.usable())} (serfiq models lists more). "
            "Give a name, an MXNet checkpoint or an ONNX file."
        )
    files = None if path.suffix.lower() == on_top.SUFFIX else checkpoint_files(path)
    stem = path.stem if files is None else files[0].name.removesuffix("-symbol.json")
    return path.with_name(stem + SUFFIX)


def card_to_write(model: str | Path) -> Path:
    """Create the folder of `card_path` and return the path, if a card can be written there.

    Raises
    ------
    UnknownModel
        There is no such network.
    NotWritten
        The card cannot be written.
    """
    path = card_path(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(f"'{path}' cannot be written: {error.strerror}.") from error
    check_out(path)
    return path


def save_card(model: str | Path, **settings: Any) -> Path:
    """Add settings to the card of a network; return the path of the card.

    Raises
    ------
    UnknownModel
        There is no such network.
    BadSetting
        A setting is unknown or not valid, or the card cannot be written.
    """
    path = card_to_write(model)
    merged = _beside(path) | _settings(settings)
    write_text(path, as_toml(merged))
    return path


def as_toml(settings: Settings) -> str:
    """Return settings as the text of a card, one line each."""
    written = {
        name: json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML needs it
        for name, value in _settings(settings).items()
    }
    return "".join(f"{name} = {value}\n" for name, value in written.items())


def own_stretch(model: str | Path) -> dict[str, Any]:
    """Return alpha, r and population as far as the card in `card_path` holds them."""
    said = _beside(card_path(model))
    return {name: said[name] for name in STRETCH if name in said}


def forget_stretch(model: str | Path) -> bool:
    """Remove alpha, r and population from the card in `card_path`; return whether any was there.

    A card without other settings is deleted.

    Raises
    ------
    UnknownModel
        There is no such network.
    BadSetting
        The card cannot be read or written.
    """
    path = card_path(model)
    said = _beside(path)
    kept = {name: value for name, value in said.items() if name not in STRETCH}
    if kept:
        write_text(path, as_toml(kept))
    else:
        path.unlink(missing_ok=True)
    return kept != said


def _beside(path: Path) -> dict[str, Any]:
    return _settings(path) if path.is_file() else {}


def _settings(settings: Settings | None) -> dict[str, Any]:
    """Read and check the settings of a card."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        try:
            settings = tomllib.loads(Path(settings).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise BadSetting(f"The card '{settings}' cannot be read: {error}.") from error
    said = {name: _checked(name, value) for name, value in settings.items()}
    if "population" not in said and said.keys() & set(STRETCH):
        said["population"] = cards.GIVEN  # not that of another card
    return said


def _checked(name: str, value: Any) -> Any:
    if name in NUMBERS:
        least, most = NUMBERS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= most:
            raise BadSetting(f"A card's {name} must be {least:g} to {most:g}, not {value!r:.60}.")
        return round(value) if name == "size" else float(value)
    if name == "colour" and value not in COLOURS:
        raise BadSetting(f"A card's colour is RGB or BGR, not {value!r:.60}.")
    if name == "trained_with_dropout" and not isinstance(value, bool):
        raise BadSetting(f"A card's trained_with_dropout is true or false, not {value!r:.60}.")
    if name in TEXTS and not isinstance(value, str):
        raise BadSetting(f"A card's {name} is a text, not {value!r:.60}.")
    if name not in ("colour", "trained_with_dropout", *TEXTS):
        known = ", ".join([*NUMBERS, "colour", "trained_with_dropout", *TEXTS])
        raise BadSetting(f"A card does not know {name!r:.60}. It may say: {known}.")
    return value


def _exported(module: Any, said: dict[str, Any]) -> Network:
    from serfiq_widgets.checkpoints import INPUT_SIDE
    from serfiq_widgets.checkpoints.onnx_file import parse_onnx
    from serfiq_widgets.checkpoints.split import cut_network
    from serfiq_widgets.engines.torch_export import export

    side = said.get("size", INPUT_SIDE)
    content, rate = export(module, side)
    name = type(module).__name__
    network = cut_network(
        parse_onnx(content, name), [content], None, name=name, site=said.get("site", ""), side=side
    )
    return replace(network, rate=network.rate or usable_rate(rate))


def _own(network: Network, said: dict[str, Any]) -> tuple[Card, Network]:
    """Make the card of a user's network from given settings, then its graph, then a probe."""
    height, width = network.input_size
    if not is_a_crop((height, width)):
        raise BadSetting(
            f"'{network.name}' takes {height}\u00d7{width} pixels; crops of faces are square, or "
            "112\u00d796."
        )
    card = Card(
        name=network.name,
        title=f"own model {network.name}",
        size=height,
        width=width,
        dimensions=network.head.n_dimensions,
        trained_with_dropout=None if network.rate is None else network.rate > 0,
    )
    card = replace(card, **said)
    rate = cards.dropout_rate(card, network)
    if any(name in said for name in PIXELS):
        doubt = _doubt(network, card, rate)
        note = doubt
    else:
        found = _found(network, rate)
        pixels = found.normalisation
        card = replace(card, colour=pixels.colour, mean=pixels.mean, scale=pixels.scale)
        doubt = "" if found.passed else _alike(network, found)
        note = doubt or FOUND.format(network.name, describe(pixels))
    if doubt:
        warnings.warn(doubt, ModelWarning, stacklevel=4)
    notes = (*network.notes, note) if note else network.notes
    return replace(card, notes=notes), network


_trials: dict[tuple[str, str], Trial] = {}


def _found(network: Network, rate: float) -> Trial:
    """Probe a network once per process: each change of a scorer's settings opens it again."""
    key = (network.sha256, network.site)
    if key not in _trials:
        _trials[key] = _alive(find_normalisation(network, rate), network)
    return _trials[key]


def _alive(trial: Trial, network: Network) -> Trial:
    """Raise CorruptModel if all faces give empty features: every quality would be perfect."""
    if trial.dead:
        raise CorruptModel(
            f"'{network.name}' gives only zeros (with {describe(trial.normalisation)}), or numbers "
            "that are not finite, for every face: its weights are broken, or its pixels need "
            "another range. Get it again, or set the range in its card."
        )
    return trial


def _doubt(network: Network, card: Card, rate: float) -> str:
    """Return a warning about the pixel settings of a card; empty if nothing looks wrong."""
    (tried,) = try_out(network, rate, [card.normalisation])
    _alive(tried, network)
    if not tried.passed:
        found = _found(network, rate)
        better = f" With {describe(found.normalisation)} it tells them apart."
        return _alike(network, tried) + (better if found.passed else "")
    other = "BGR" if card.colour == "RGB" else "RGB"
    (turned,) = try_out(network, rate, [replace(card.normalisation, colour=other)])
    if turned.sees_better_than(tried):
        return TURNED.format(network.name, other, card.colour)
    return ""


def _alike(network: Network, trial: Trial) -> str:
    words = describe(trial.normalisation)
    return ALIKE.format(network.name, words, float(trial.genuine.mean()), trial.impostor)


def _noted(card: Card, network: Network) -> tuple[Card, Network]:
    """Add a note about the network's dropout, if one is needed."""
    if card.trained_with_dropout is False:
        rate = cards.dropout_rate(card, network)
        return replace(card, notes=(*card.notes, UNTRAINED.format(card.name, rate))), network
    if card.trained_with_dropout is None:
        rate = cards.dropout_rate(card, network)
        unstated = UNSTATED.format(card.name, rate, network.site)
        return replace(card, notes=(*card.notes, unstated)), network
    return card, network
