"""Named models: their cards (models/models.toml), and the network of a name or a path."""

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

# The reference network, and its stretch and dropout rate: the defaults of a model without a card.
REFERENCE = "arcface-r100-mxnet"
REFERENCE_ALPHA, REFERENCE_R, REFERENCE_RATE = 130.0, 0.88, 0.4

# The source of alpha and r, if it is not a population.
NOT_CALIBRATED = "not calibrated, the reference network's: serfiq calibrate fits them to faces"
GIVEN = "as given"
UNCALIBRATED = (
    "'{0}' is not calibrated, so it has no quality 0 to 100; its raw scores can still be used to "
    "compare photos. Fit alpha and r to faces: serfiq calibrate {1} FOLDER"
)

# States of a card's files: in the package, downloaded or imported, or not installed.
BUNDLED, INSTALLED, AVAILABLE, BY_HAND = "bundled", "installed", "available", "by hand"


@dataclass(frozen=True)
class Card:
    """Facts about a model; the head of models.toml has the units."""

    name: str
    title: str
    kind: str = "recognition"
    bundled: bool = False
    alpha: float = REFERENCE_ALPHA
    r: float = REFERENCE_R
    rate: float | None = None
    trained_with_dropout: bool | None = None
    size: int = 112  # height of its input
    width: int = 0  # of its input; equal to the height if 0
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
        """The network's input format."""
        return Normalisation(
            self.colour, self.mean, self.scale, (self.size, self.width or self.size)
        )

    @property
    def calibrated(self) -> bool:
        """Whether alpha and r were fitted for this network."""
        return self.population != NOT_CALIBRATED

    @property
    def uncalibrated(self) -> str:
        """The note about a network without its own alpha and r; empty if it has them."""
        return "" if self.calibrated else UNCALIBRATED.format(self.name, self.name)

    @property
    def terms(self) -> str:
        """The conditions of the licence in one word."""
        return "non-commercial" if self.noncommercial else self.licence.partition(",")[0]

    @property
    def folder(self) -> Path:
        """The folder of its files, installed or not."""
        return MODELS if self.bundled else store.models_folder() / self.name

    @property
    def weights(self) -> Path:
        """The file with the weights, which `load_network` opens."""
        (file,) = (file for file in self.files if file.part != "symbol")
        return self.folder / file.name

    @property
    def bytes(self) -> int:
        """Total bytes of all files."""
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
    """Return all named models, by name."""
    table: dict[str, dict[str, Any]] = tomllib.loads(
        (MODELS / "models.toml").read_text(encoding="utf-8")
    )
    return {name: read_card(name, entries) for name, entries in table.items()}


def read_card(name: str, entries: dict[str, Any]) -> Card:
    """Return a card from its table in models.toml."""
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
    """Return the card of a recognition network whose files are installed and correct.

    Raises
    ------
    UnknownModel
        It is not installed (nothing is downloaded here), or is not a recognition network.
    CorruptModel
        Its files do not match the card.
    """
    card = cards()[name]
    _check(card)
    return card


def _check(card: Card) -> None:
    """Refuse a card whose files are missing or do not match it.

    Hashing 260 MB takes a fraction of the network's loading time.
    """
    if card.kind != "recognition":
        raise UnknownModel(f"'{card.name}' is a {card.kind}, not a recognition network.")
    remedy = "Install serfiq_widgets again."
    if not card.bundled:
        if card.state != INSTALLED:
            raise UnknownModel(
                f"The model '{card.name}' is not installed: serfiq models download {card.name}"
            )
        remedy = f"Download it again: serfiq models download {card.name}"
    for file in card.files:
        path = card.folder / file.name
        if card.exact and not store.is_genuine(path, file):
            raise CorruptModel(
                f"'{path.name}' of the model '{card.name}' is missing or altered. {remedy}"
            )


def dropout_rate(card: Card, network: Network) -> float:
    """Return the dropout rate p of the card, else of the graph, else the reference's 0.4.

    A rate of 0 is not used: it means that the network was trained without dropout.
    """
    return card.rate or network.rate or REFERENCE_RATE
