"""Named models: their cards (models/models.toml), and the network behind a name or a path."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.engines import Normalisation
from serfiq_widgets.errors import CorruptModel, UnknownModel, one_line

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

MODELS = Path(__file__).parent / "models"

# The reference network's stretch and dropout rate: what a model without a card is given.
REFERENCE_ALPHA, REFERENCE_R, REFERENCE_RATE = 130.0, 0.88, 0.4

# what a card's entries may be, and between which numbers
TYPES = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "dict[str, str]": (dict,),
}
RANGES = {"alpha": (1.0, 1e4), "r": (0.0, 1.0), "rate": (0.0, 0.999), "scale": (1e-6, 1e6)}


@dataclass(frozen=True)
class Card:
    """What the library knows of a model; see the head of models.toml for the units."""

    name: str
    title: str
    alpha: float = REFERENCE_ALPHA
    r: float = REFERENCE_R
    rate: float | None = None
    trained_with_dropout: bool | None = None
    colour: str = "RGB"
    mean: float = 0.0
    scale: float = 1.0
    licence: str = "as its owner says"
    origin: str = ""
    figures: str = ""
    population: str = "not calibrated: alpha and r are the reference network's"
    symbol: str = ""
    params: str = ""
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def normalisation(self) -> Normalisation:
        """How the network wants its pixels."""
        return Normalisation(self.colour, self.mean, self.scale)


@cache
def cards() -> dict[str, Card]:
    """All named models, by name."""
    return read_cards(MODELS / "models.toml")


def read_cards(path: Path) -> dict[str, Card]:
    """Read the cards of a TOML file, one table for each model.

    Raises
    ------
    CorruptModel
        The file cannot be read, or a card says something that cannot be; the text names it.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptModel(
            f"'{path.name}' is not a sound list of models ({one_line(error)})."
        ) from error
    for name, entries in tables.items():
        for problem in _problems(entries):
            raise CorruptModel(
                f"'{path.name}', model '{one_line(name)}': {one_line(problem)}. Mend the file."
            )
    return {name: Card(name=name, **entries) for name, entries in tables.items()}


def _problems(entries: Any) -> Iterator[str]:
    """Say what is wrong with a card's table."""
    if not isinstance(entries, dict):
        yield "it is not a table"
    types = {f.name: str(f.type).removesuffix(" | None") for f in fields(Card) if f.name != "name"}
    for key in entries.keys() - types.keys():
        yield f"there is no entry '{key}'"
    for key, value in {"title": None, **entries}.items():
        if type(value) not in TYPES.get(types[key], (type(value),)):
            yield f"{key} is not a {types[key]}"
        low, high = RANGES.get(key, (-1e9, 1e9))
        if types[key] == "float" and not low <= value <= high:
            yield f"{key} is {value:g}, not {low:g} to {high:g}"
    if entries.get("colour", "RGB") not in ("RGB", "BGR"):
        yield "colour is neither RGB nor BGR"
    if not all(type(digest) is str for digest in entries.get("sha256", {}).values()):
        yield "sha256 is not text"
    for name in (entries.get(key, "") for key in ("symbol", "params")):
        if Path(name).name != name:
            yield f"'{name}' is not the name of a file"


def open_model(model: str | Path) -> tuple[Card, Network]:
    """Load the network behind a name or a path, with its card.

    Parameters
    ----------
    model : str or Path
        A name that `cards` lists, or the path of an MXNet checkpoint (``x-symbol.json``,
        ``x-0000.params`` or the bare ``x``) or of an ONNX file.

    Raises
    ------
    UnknownModel
        Neither a name nor a file; the text lists the names.
    CorruptModel
        The files are broken, incomplete, or not the ones that the card names.
    """
    card = cards().get(str(model))
    if card is not None:
        for part, digest in card.sha256.items():
            path = MODELS / str(getattr(card, part))
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise CorruptModel(
                    f"'{path.name}' of the model '{card.name}' is missing or altered. "
                    "Install serfiq_widgets again."
                )
        return card, load_network(MODELS / card.symbol)
    path = Path(model)
    if not path.exists() and not list(path.parent.glob(f"{path.name}-*")):
        raise UnknownModel(
            f"There is no model '{model}': no such file, and not one of the names "
            f"{', '.join(cards())}. Give a name, an MXNet checkpoint or an ONNX file."
        )
    network = load_network(path)
    own = Card(name=network.name, title=f"own model {network.name}")
    dropout = network.rate is not None
    return replace(own, trained_with_dropout=dropout or None), network


def dropout_rate(card: Card, network: Network) -> float:
    """Dropout rate p: the card's, else the graph's own, else the reference network's 0.4."""
    rates = (card.rate, network.rate, REFERENCE_RATE)
    return next(rate for rate in rates if rate is not None)
