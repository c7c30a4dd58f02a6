"""The interface of every scorer: `Scorer` in this process, `RemoteScorer` on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.models.cards import Card
from serfiq_widgets.scoring.network import Settings
from serfiq_widgets.scoring.results import Passes, QualityResult, Scores

if TYPE_CHECKING:
    from serfiq_widgets.errors import SerfiqError
    from serfiq_widgets.images.read import ImageSource


@dataclass(frozen=True)
class ScorerOptions:
    """The options of a scorer; see `Scorer` for each."""

    model: Any = "mini"
    engine: str = "auto"
    device: str = "auto"
    seed: int = 0
    rate: float | None = None
    alpha: float | None = None
    r: float | None = None
    card: Settings | None = None
    detector: str = "centerface"
    precision: str = "auto"


class FaceScorer(Protocol):
    """The attributes and methods of a scorer; see `Scorer` for what each does.

    ``limit`` and ``best_scores`` return raw scores; ``masks`` and ``features`` are their inputs.
    """

    options: ScorerOptions
    card: Card
    rate: float
    seed: int
    detector: str

    @property
    def calibrated(self) -> bool: ...  # noqa: D102  # documented in `Scorer`, as all below

    def score(  # noqa: D102
        self, image: ImageSource | AlignedFace, passes: int = 100, *, aligned: bool = False
    ) -> QualityResult: ...

    def score_many(  # noqa: D102
        self,
        images: Iterable[ImageSource | AlignedFace],
        passes: int = 100,
        *,
        aligned: bool = False,
    ) -> Iterator[QualityResult | SerfiqError]: ...

    def score_batch(  # noqa: D102
        self,
        faces: list[AlignedFace],
        passes: Passes = 100,
        *,
        embed: bool = False,
    ) -> Scores: ...

    def limit(self, face: AlignedFace) -> float: ...  # noqa: D102

    def best_scores(self, faces: list[AlignedFace]) -> NDArray[np.float64]: ...  # noqa: D102

    def features(self, faces: list[AlignedFace]) -> NDArray[np.float32]: ...  # noqa: D102

    def embed(self, faces: list[AlignedFace]) -> NDArray[np.float32]: ...  # noqa: D102

    def masks(self, passes: int) -> NDArray[np.bool_]: ...  # noqa: D102

    def reseeded_scores(  # noqa: D102
        self, face: AlignedFace, passes: int = 100, count: int = 60
    ) -> NDArray[np.float64]: ...
