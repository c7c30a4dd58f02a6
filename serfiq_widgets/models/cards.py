"""Named models: their cards (models/models.toml), and the network behind a name or a path."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.engines import Normalisation
from serfiq_widgets.errors import CorruptModel, UnknownModel
from serfiq_widgets.models import files as store

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

MODELS = Path(__file__).parent

# The reference network, and its stretch and dropout rate: what a model without a card is given.
REFERENCE = "arcface-r100-mxnet"
REFERENCE_ALPHA, REFERENCE_R, REFERENCE_RATE = 130.0, 0.88, 0.4

# Where alpha and r come from, if not from a population.
NOT_CALIBRATED = "not calibrated, the reference network's: serfiq calibrate fits them to faces"
GIVEN = "as given"
UNCALIBRATED = (
    "'{0}' is not calibrated, so it is given no quality 0 to 100; its raw scores compare photos "
    "all the same. Fit alpha and r to faces: serfiq calibrate {1} FOLDER"
)

# What a card can say of its files: in the package, downloaded or placed, or neither yet.
BUNDLED, INSTALLED, AVAILABLE, BY_HAND = "bundled", "installed", "available", "by hand"


@dataclass(frozen=True)
class Card:
    """What the library knows of a model; see the head of models.toml for the units."""

    name: str
    title: str
    kind: str = "recognition"
    bundled: bool = False
    alpha: float = REFERENCE_ALPHA
    r: float = REFERENCE_R
    rate: float | None = None
    trained_with_dropout: bool | None = None
    size: int = 112  # height of its input
    width: int = 0  # of its input; as the height if 0
    dimensions: int = 0
    colour: str = "RGB"
    mean: float = 0.0
    scale: float = 1.0
    licence: str = "as its owner says"
    noncommercial: bool = False
    origin: str = ""
    figures: str = ""
    population: str = NOT_CALIBRATED
    exact: bool = True
    placing: str = ""
    site: str = ""
    notes: tuple[str, ...] = ()
    files: tuple[store.ModelFile, ...] = ()

    @property
    def normalisation(self) -> Normalisation:
        """How the network wants its pixels."""
        return Normalisation(
            self.colour, self.mean, self.scale, (self.size, self.width or self.size)
        )

    @property
    def calibrated(self) -> bool:
        """Whether alpha and r are this network's own."""
        return self.population != NOT_CALIBRATED

    @property
    def uncalibrated(self) -> str:
        """What to say of a network without alpha and r of its own; empty if it has them."""
        return "" if self.calibrated else UNCALIBRATED.format(self.name, self.name)

    @property
    def terms(self) -> str:
        """The licence in one word."""
        return "non-commercial" if self.noncommercial else self.licence.partition(",")[0]

    @property
    def folder(self) -> Path:
        """Where its files lie, or would lie."""
        return MODELS if self.bundled else store.models_folder() / self.name

    @property
    def weights(self) -> Path:
        """The file with the weights: what `load_network` opens."""
        (file,) = (file for file in self.files if file.part != "symbol")
        return self.folder / file.name

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def state(self) -> str:
        """One of BUNDLED, INSTALLED (and its licence accepted), AVAILABLE, BY_HAND."""
        if self.bundled:
            return BUNDLED
        here = all(store.has(self.folder, file, exact=self.exact) for file in self.files)
        if here and (not self.noncommercial or store.is_accepted(self.folder, self.licence)):
            return INSTALLED
        return AVAILABLE if all(file.url for file in self.files) else BY_HAND


@cache
def cards() -> dict[str, Card]:
    """All named models, by name."""
    table: dict[str, dict[str, Any]] = tomllib.loads(
        (MODELS / "models.toml").read_text(encoding="utf-8")
    )
    return {name: read_card(name, entries) for name, entries in table.items()}


def read_card(name: str, entries: dict[str, Any]) -> Card:
    """Build a card from its table in models.toml."""
    files = tuple(store.ModelFile(**file) for file in entries.get("files", ()))
    return Card(**{**entries, "name": name, "files": files})


def usable() -> dict[str, Card]:
    """Return the recognition networks that can be opened now, by name."""
    return {
        name: card
        for name, card in cards().items()
        if card.kind == "recognition" and card.state in (BUNDLED, INSTALLED)
    }


def genuine(name: str) -> Card:
    """Return the card of a recognition network that is here and whole.

    Raises
    ------
    UnknownModel
        It is not downloaded (nothing is fetched here), or does something else than recognise.
    CorruptModel
        Its files are not those that the card names.
    """
    card = cards()[name]
    _check(card)
    return card


def _check(card: Card) -> None:
    """Refuse a card whose files are not here, or not those that it names.

    The hash of 260 MB takes a fraction of the time that the network takes to load.
    """
    if card.kind != "recognition":
        raise UnknownModel(f"'{card.name}' is a {card.kind}, not a recognition network.")
    remedy = "Install serfiq_widgets again."
    if not card.bundled:
        if card.state != INSTALLED:
            raise UnknownModel(
                f"The model '{card.name}' is not here yet: serfiq models download {card.name}"
            )
        remedy = f"Get it again: serfiq models download {card.name}"
    for file in card.files:
        path = card.folder / file.name
        if card.exact and not store.is_genuine(path, file):
            raise CorruptModel(
                f"'{path.name}' of the model '{card.name}' is missing or altered. {remedy}"
            )


def dropout_rate(card: Card, network: Network) -> float:
    """Dropout rate p: the card's, else the graph's own, else the reference network's 0.4.

    A rate of 0 is none: it says that the network was trained without dropout.
    """
    return card.rate or network.rate or REFERENCE_RATE
