"""Scorer: computes a QualityResult from a photo.

face (faces) -> features (engine.trunk) -> embeddings (engine.passes under seeded masks)
-> scores (robustness).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.checkpoints.heads import MAX_RATE, MIN_RATE
from serfiq_widgets.checks import check_number, check_whole
from serfiq_widgets.engines import open_engine
from serfiq_widgets.engines.batch import Batch, DropoutHead, open_batch
from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.detectors import DETECTORS, check_detector, open_detector
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.faces.read_faces import ReadFace, chunked, read_faces
from serfiq_widgets.images.read import several
from serfiq_widgets.models.cards import GIVEN, Card, dropout_rate
from serfiq_widgets.scoring.contract import ScorerOptions
from serfiq_widgets.scoring.estimates import (
    closed_forms,
    estimate_adaptively,
    estimates,
    running_estimates,
)
from serfiq_widgets.scoring.network import Settings, open_network
from serfiq_widgets.scoring.results import (
    NUMBERS,
    Passes,
    QualityResult,
    Scores,
    best_of,
    check_passes,
    check_passes_or_auto,
    nothing_made,
)

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource

MAX_SEED = 2**63 - 1
BATCH = 16
BEST_PASSES, PLAIN_PASSES = 32, 200  # in `Scorer.best_scores`, with and without control variates


class Scorer:
    """Scores faces with one network on one engine.

    Parameters
    ----------
    model : str, Path or torch.nn.Module
        A named model (`models.cards.usable`), the path of an MXNet checkpoint, of an ONNX file or
        of an on-top head, or a module.
    engine : {"auto", "onnxruntime", "openvino", "mxnet", "torch"}
        Runtime; "auto" selects the fastest that works (see `engines.open_engine`).
    device : {"auto", "cpu", "cuda", "cuda:1", ..., "mps"}
        Device on which it runs.
    seed : int
        Seed of the dropout masks. All images get the same masks (common random numbers), so scores
        are repeatable, and differences between versions of one photo depend little on the masks.
        Differences between faces vary with the masks as much as under independent masks.
    rate : float, optional
        Dropout rate p, above 0 and at most 0.9; the network's own if not given.
    alpha, r : float, optional
        Slope and midpoint of the stretch from raw score to quality; those of the network's card if
        not given.
    card : mapping or path of a TOML file, optional
        Settings for the card of a user's network (see `scoring.network.open_network`); the others
        are found by a probe.
    detector : {"centerface", "mtcnn", "yunet"}
        Face detector; for all but the first, the user provides the files (`open_detector`).
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        Number format of the engine; "auto" is fp32 if available.

    Attributes
    ----------
    card : Card
        Description of the network; its ``notes`` say what was found, assumed or looks wrong.
    network : Network
        Trunk and head.
    engine : Engine
        Runtime of trunk and head.

    Raises
    ------
    UnknownModel, CorruptModel, EngineUnavailable, BadSetting
        Each text says what to do.

    Examples
    --------
    >>> from serfiq_widgets import Scorer
    >>> result = Scorer().score("sample_images/collins.jpg", passes=100)
    >>> 0 <= result.quality <= 100
    True
    """

    def __init__(
        self,
        model: Any = "mini",
        engine: str = "auto",
        device: str = "auto",
        seed: int = 0,
        *,
        rate: float | None = None,
        alpha: float | None = None,
        r: float | None = None,
        card: Settings | None = None,
        detector: str = "centerface",
        precision: str = "auto",
    ) -> None:
        self.options = ScorerOptions(
            model, engine, device, seed, rate, alpha, r, card, detector, precision
        )
        self.detector = check_detector(detector)
        if detector != DETECTORS[0]:
            open_detector(detector)  # raise here, once, not for every photo
        self.seed = check_whole("seed", seed, 0, MAX_SEED)
        known, self.network = open_network(model, card)
        own_stretch = alpha is None and r is None
        self.card: Card = replace(
            known,
            alpha=known.alpha if alpha is None else check_number("alpha", alpha, 1.0, 1e4),
            r=known.r if r is None else check_number("r", r, 0.0, 1.0),
            population=known.population if own_stretch else GIVEN,
        )
        own = dropout_rate(known, self.network)
        self.rate = own if rate is None else check_number("rate", rate, MIN_RATE, MAX_RATE)
        self.engine = open_engine(
            self.network,
            self.rate,
            engine=engine,
            device=device,
            precision=precision,
            normalisation=self.card.normalisation,
        )
        self._head = DropoutHead.of(self.network.head, self.rate)
        self._masks = np.empty((0, self.network.head.n_units), dtype=bool)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as a constructor call with the same options."""
        return partial(type(self), **vars(self.options)), ()

    def __repr__(self) -> str:
        """One line: the network, what runs it and where, the dropout rate and the seed."""
        return (
            f"Scorer({self.card.name!r}, engine={self.engine.name!r}, "
            f"device={self.engine.device!r}, precision={self.engine.precision!r}, "
            f"rate={self.rate:g}, seed={self.seed})"
        )

    @property
    def calibrated(self) -> bool:
        """Whether alpha and r were fitted for this network, so that a quality has a meaning."""
        return self.card.calibrated

    def score(
        self, image: ImageSource | AlignedFace, passes: int = 100, *, aligned: bool = False
    ) -> QualityResult:
        """Find the face in an image and score it.

        Parameters
        ----------
        image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array, or AlignedFace
            The photo.
        passes : int
            Dropout passes T, 2 to 2000.
        aligned : bool
            The image is already a face crop aligned to the ArcFace template: skip detection.

        Raises
        ------
        UnreadableImage, ImageTooLarge, NoFaceFound
            The image cannot be used; the text names it and the remedy.
        BadSetting
            The number of passes is out of range.
        """
        passes = check_passes(passes)
        start = perf_counter()
        face = (
            image
            if isinstance(image, AlignedFace)
            else find_face(image, aligned=aligned, detector=self.detector)
        )
        read = ReadFace(image, face, ms=0.0 if face is image else 1e3 * (perf_counter() - start))
        (result,) = self._results([read], passes)
        if isinstance(result, SerfiqError):
            raise result
        return result

    def score_many(
        self,
        images: Iterable[ImageSource | AlignedFace],
        passes: int = 100,
        *,
        aligned: bool = False,
    ) -> Iterator[QualityResult | SerfiqError]:
        """Score images in order, in batches; yield the error of a bad image and continue.

        A single image (a path, bytes, a file object, a PIL image, an array) is also accepted.
        """
        passes = check_passes(passes)
        chunks = chunked(several(images), BATCH)
        for read in read_faces(chunks, aligned=aligned, detector=self.detector):
            good = [one for one in read if one.face is not None]
            results = iter(self._results(good, passes))
            for one in read:
                yield next(results) if one.error is None else one.error

    def score_batch(
        self,
        faces: list[AlignedFace],
        passes: Passes = 100,
        *,
        embed: bool = False,
    ) -> Scores:
        """Score aligned faces in one batch and keep the numbers only: the fast path for datasets.

        The numbers equal those of `score_many`, or NaN where that yields an error. On a GPU the
        embeddings are not copied to the host.

        Parameters
        ----------
        faces : list of AlignedFace
            One batch.
        passes : int or "auto"
            Dropout passes T, 2 to 2000; "auto" makes passes until half the interval of a face's
            quality is at most half a point.
        embed : bool
            Also return the embeddings.
        """
        passes = check_passes_or_auto(passes)
        batch = self._batch(faces)
        if passes == "auto":
            plain, controlled, made = estimate_adaptively(batch, self.masks, self.card)
        else:
            sums = batch.pass_sums(self.masks(passes))
            plain, controlled = estimates(sums, batch.moments)
            made = np.full(len(faces), passes)
        empty = batch.empty
        for numbers in (plain, controlled):
            numbers[:, empty] = np.nan
        best, *ends = best_of(plain, controlled)
        card = self.card
        scaled = robustness.scaled_score(best, card.alpha, card.r)
        margin = robustness.quality_margin(np.transpose(ends), card.alpha, card.r)
        quality = np.rint(100 * np.nan_to_num(scaled)).astype(np.int64)
        embeddings = None
        if embed:
            embeddings = batch.embeddings() if self.network.head.is_affine else batch.features
        rows = [*plain, *controlled, closed_forms(batch.moments, empty), scaled, margin]
        columns = dict(zip(NUMBERS, rows, strict=True))
        return Scores(**columns, quality=quality, passes=made, embeddings=embeddings)

    def limit(self, face: AlignedFace) -> float:
        """Return the closed form of one aligned face's raw score, without masks.

        Raises
        ------
        BadSetting
            The head is not affine, so there is no closed form.
        """
        _ = self.network.head.weight
        batch = self._usable([face])
        return float(closed_forms(batch.moments, batch.empty)[0])

    def best_scores(self, faces: list[AlignedFace]) -> NDArray[np.float64]:
        """Return the raw scores (N,) that are best for comparing aligned faces, in one batch.

        They are `Scores.best` of few passes, or of more for an on-top head, which has no control
        variates; all faces get the same masks.

        Raises
        ------
        CorruptModel
            The network gives empty features for a face.
        """
        few = self.network.head.is_affine
        best = self.score_batch(faces, BEST_PASSES if few else PLAIN_PASSES).best
        for face, nothing in zip(faces, np.isnan(best), strict=True):
            if nothing:
                raise nothing_made(self.network.name, face)
        return best

    def features(self, faces: list[AlignedFace]) -> NDArray[np.float32]:
        """Features (N, F) float32 of aligned faces: the trunk's output at the dropout site.

        Raises
        ------
        CorruptModel
            The network gives empty features for a face.
        """
        return self._usable(faces).features

    def _batch(self, faces: list[AlignedFace]) -> Batch:
        """Run the trunk on faces, once each."""
        return open_batch(self.engine, [face.pixels for face in faces], self._head)

    def _usable(self, faces: list[AlignedFace]) -> Batch:
        """Run the trunk on faces; raise CorruptModel if it gives empty features for one."""
        batch = self._batch(faces)
        for face, nothing in zip(faces, batch.empty, strict=True):
            if nothing:
                raise nothing_made(self.network.name, face)
        return batch

    def embed(self, faces: list[AlignedFace]) -> NDArray[np.float32]:
        """Plain embeddings (N, D) float32, L2-normalised, without dropout, of aligned faces."""
        return self.engine.embed(self.features(faces))

    def masks(self, passes: int) -> NDArray[np.bool_]:
        """Return the dropout masks (T, F), drawn once and cached for the largest T so far."""
        if len(self._masks) < passes:
            self._masks = self._draw(passes, self.seed)
        return self._masks[:passes]

    def reseeded_scores(
        self, face: AlignedFace, passes: int = 100, count: int = 60
    ) -> NDArray[np.float64]:
        """Score one aligned face under many draws of the masks, to measure the sampling error.

        Returns
        -------
        (count,) ndarray of float64
            Raw scores under the seeds that follow this scorer's own.
        """
        batch = self._usable([face])
        scores = np.empty(count)
        for i in range(count):
            masks = self._draw(passes, (self.seed + 1 + i) % MAX_SEED)
            scores[i] = robustness.score_of(batch.passes(0, masks))
        return scores

    def _draw(self, passes: int, seed: int) -> NDArray[np.bool_]:
        return robustness.draw_masks(passes, self.network.head.n_units, self.rate, seed)

    def _results(self, images: list[ReadFace], passes: int) -> list[QualityResult | SerfiqError]:
        """Score images that have a face; return one result or error for each."""
        faces = [image.face for image in images if image.face is not None]
        if not faces:
            return []
        clock = [perf_counter()]
        batch = self._batch(faces)
        nothing = batch.empty
        clock.append(perf_counter())
        _ = batch.moments
        clock.append(perf_counter())
        trunk_ms, limit_ms = np.diff(clock) * 1e3 / len(faces)
        return [
            nothing_made(self.network.name, face)
            if empty
            else self._result(
                face,
                batch,
                i,
                passes,
                {"face": image.ms, "trunk": float(trunk_ms), "limit": float(limit_ms)},
            )
            for i, (image, face, empty) in enumerate(zip(images, faces, nothing, strict=True))
        ]

    def _result(
        self,
        face: AlignedFace,
        batch: Batch,
        i: int,
        passes: int,
        timings: dict[str, float],
    ) -> QualityResult:
        clock = [perf_counter()]
        embeddings = batch.passes(i, self.masks(passes))
        known = None if batch.moments is None else batch.moments.of(slice(i, i + 1))
        clock.append(perf_counter())
        unit = robustness.normalise(embeddings)
        distances = robustness.pairwise_distances(unit)
        running = running_estimates(distances, embeddings, known)
        clock.append(perf_counter())
        passes_ms, spread_ms = np.diff(clock) * 1e3
        return QualityResult(
            face=face,
            features=batch.features[i],
            embeddings=unit,
            distances=distances,
            **running,
            closed_form=float(closed_forms(known, np.array([False]))[0]),
            seed=self.seed,
            model=self.card.name,
            model_sha256=self.network.sha256,
            engine=self.engine.name,
            device=self.engine.device,
            precision=self.engine.precision,
            rate=self.rate,
            alpha=self.card.alpha,
            r=self.card.r,
            calibrated=self.calibrated,
            trained_with_dropout=self.card.trained_with_dropout,
            timings={**timings, "passes": float(passes_ms), "spread": float(spread_ms)},
        )
