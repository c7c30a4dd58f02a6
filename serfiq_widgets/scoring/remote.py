"""Scoring for a dashboard's visitors: in this process, or on the workers of a Dask cluster.

If the environment variable ``SERFIQ_SCHEDULER`` names a scheduler, a visitor's kernel loads no
network and no detector: it sends photos and aligned faces to a worker and receives results. A
semaphore on the scheduler limits the requests of all kernels in progress (``SERFIQ_QUEUE``, 16 by
default); a request beyond the limit fails at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serfiq_widgets.errors import BadSetting, ClusterUnavailable, SerfiqError, drop_traceback
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.images.read import MAX_BYTES, name_of, read_bytes, several
from serfiq_widgets.scoring.cluster import (
    ask,
    cached_scorer,
    connect,
    import_distributed,
    pack,
    translated,
)
from serfiq_widgets.scoring.contract import FaceScorer, ScorerOptions
from serfiq_widgets.scoring.scorer import Scorer

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource
    from serfiq_widgets.models.cards import Card
    from serfiq_widgets.scoring.results import Passes, QualityResult, Scores

log = logging.getLogger(__name__)

SCHEDULER, QUEUE, PLACES = "SERFIQ_SCHEDULER", "SERFIQ_QUEUE", 16
TURN_S = 0.5  # wait for a place in the queue
ANSWER_S = 30  # wait for a worker's answer
BUSY = "The scoring service is busy; try again in a moment."
SILENT = "The scoring service does not answer; try again in a moment."


def open_scorer(*arguments: Any, **options: Any) -> FaceScorer:
    """Return a `Scorer`, or a `RemoteScorer` if the environment names a scheduler."""
    address = os.environ.get(SCHEDULER)
    if address:
        return RemoteScorer(address, *arguments, **options)
    return Scorer(*arguments, **options)


def find(
    scorer: FaceScorer,
    image: ImageSource | AlignedFace | Photo,
    which: int = 0,
    *,
    aligned: bool = False,
) -> AlignedFace:
    """Find a face (see `find_face`) where the scorer runs; return an aligned one unchanged.

    A visitor's photo is also decoded there, in a separate process.
    """
    if isinstance(image, AlignedFace):
        return image
    if hasattr(image, "seek"):
        image.seek(0)
    if isinstance(scorer, RemoteScorer):
        return scorer.find(image, which, aligned=aligned)
    return _find_here(image, name_of(image), which, aligned, scorer.detector)


def _find_here(image: Any, name: str, which: int, aligned: bool, detector: str) -> AlignedFace:
    image = image.pixels() if isinstance(image, Photo) else image
    return find_face(image, name=name, which=which, aligned=aligned, detector=detector)


class RemoteScorer:
    """A `FaceScorer` that runs on the workers of a Dask cluster, which cache it.

    It takes the scheduler's address, then the parameters of `Scorer`, and has the same methods.
    ``network`` and ``engine`` exist on the workers only; this object has ``card``, ``rate``,
    ``seed``, ``detector`` and ``options``.

    Raises
    ------
    ClusterUnavailable
        There is no scheduler, or no worker; later also when the queue is full, or the answer takes
        too long.
    SerfiqError
        As `Scorer`.
    """

    def __init__(
        self,
        address: str,
        *arguments: Any,
        **options: Any,
    ) -> None:
        self.options = ScorerOptions(*arguments, **options)
        self.rate: float
        self.seed: int
        self.detector: str
        self.card: Card
        self._address, self._packed = address, pack(self.options)
        client, _ = connected(address)
        self.rate, self.seed, self.detector, self.card = ask(client, _describe, self._packed)

    def __repr__(self) -> str:
        """One line: the network, and the cluster that runs it."""
        return f"RemoteScorer({self.card.name!r}, address={self._address!r}, seed={self.seed})"

    @property
    def calibrated(self) -> bool:
        """Whether alpha and r are this network's own."""
        return self.card.calibrated

    def find(
        self, image: ImageSource | Photo, which: int = 0, *, aligned: bool = False
    ) -> AlignedFace:
        """Find a face as `find_face` does; the file is sent unchanged."""
        name = name_of(image)
        if not isinstance(image, np.ndarray | Image.Image | Photo):
            image = read_bytes(image, name)
        face: AlignedFace = self._work(_find, image, name, which, aligned)
        return face

    def score(
        self, image: ImageSource | AlignedFace, passes: int = 100, *, aligned: bool = False
    ) -> QualityResult:
        """Find the face in an image and score it."""
        face = find(self, image, aligned=aligned)
        result: QualityResult = self._call("score", face, passes)
        return result

    def score_many(
        self,
        images: Iterable[ImageSource | AlignedFace],
        passes: int = 100,
        *,
        aligned: bool = False,
    ) -> Iterator[QualityResult | SerfiqError]:
        """Score images as `Scorer.score_many` does; stop if the cluster fails."""
        for image in several(images):
            try:
                yield self.score(image, passes, aligned=aligned)
            except ClusterUnavailable:
                raise
            except SerfiqError as error:
                yield drop_traceback(error)

    def score_batch(
        self,
        faces: list[AlignedFace],
        passes: Passes = 100,
        *,
        embed: bool = False,
    ) -> Scores:
        """Score aligned faces in one batch and keep the numbers only."""
        scores: Scores = self._call("score_batch", faces, passes, embed=embed)
        return scores

    def limit(self, face: AlignedFace) -> float:
        """Return the closed form of one aligned face's raw score."""
        return float(self._call("limit", face))

    def best_scores(self, faces: list[AlignedFace]) -> NDArray[np.float64]:
        """Return the raw scores (N,) by which aligned faces are best compared."""
        raw: NDArray[np.float64] = self._call("best_scores", faces)
        return raw

    def features(self, faces: list[AlignedFace]) -> NDArray[np.float32]:
        """Features (N, F) float32 of aligned faces."""
        features: NDArray[np.float32] = self._call("features", faces)
        return features

    def embed(self, faces: list[AlignedFace]) -> NDArray[np.float32]:
        """Plain embeddings (N, D) float32 of aligned faces."""
        embeddings: NDArray[np.float32] = self._call("embed", faces)
        return embeddings

    def masks(self, passes: int) -> NDArray[np.bool_]:
        """Return the dropout masks (T, F)."""
        masks: NDArray[np.bool_] = self._call("masks", passes)
        return masks

    def reseeded_scores(
        self, face: AlignedFace, passes: int = 100, count: int = 60
    ) -> NDArray[np.float64]:
        """Score one aligned face under many draws of the masks."""
        scores: NDArray[np.float64] = self._call("reseeded_scores", face, passes, count)
        return scores

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        return self._work(_call, method, arguments, named)

    def _work(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """Run a task with this scorer on a worker, if there is a place in the queue."""
        try:
            with translated("a visitor's request"):
                client, queue = connected(self._address)
                if queue.acquire(timeout=TURN_S):
                    try:
                        return ask(client, task, self._packed, *arguments, patience=ANSWER_S)
                    finally:
                        queue.release()
        except ClusterUnavailable as error:
            log.warning("%s", error)  # for the operator; visitors get another text
            raise ClusterUnavailable(SILENT) from error
        raise ClusterUnavailable(BUSY)


_connections: dict[str, tuple[Any, Any]] = {}


def connected(address: str) -> tuple[Any, Any]:
    """Return this process's client of a scheduler, and the semaphore that all kernels share."""
    known = _connections.get(address)
    if known is None or known[0].status != "running":
        places = os.environ.get(QUEUE, str(PLACES))
        if not places.isdecimal() or not int(places):
            raise BadSetting(f"{QUEUE}={places:.60} is not possible: give a whole number from 1.")
        client = connect(address)
        import dask.config  # installed with distributed

        dask.config.set({"distributed.admin.large-graph-warning-threshold": 2 * MAX_BYTES})
        queue = import_distributed().Semaphore(
            int(places), f"serfiq {places}", scheduler_rpc=client.scheduler, loop=client.loop
        )
        known = _connections[address] = client, queue
    return known


# The functions below run on the workers.


def _describe(packed: bytes) -> tuple[float, int, str, Card]:
    scorer, _ = cached_scorer(packed)
    return scorer.rate, scorer.seed, scorer.detector, scorer.card


def _find(packed: bytes, image: Any, name: str, which: int, aligned: bool) -> AlignedFace:
    scorer, _ = cached_scorer(packed)
    return _find_here(image, name, which, aligned, scorer.detector)


def _call(packed: bytes, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    scorer, turn = cached_scorer(packed)
    with turn:
        return getattr(scorer, method)(*arguments, **named)
