"""Batches of faces: what an engine computes once per face, and the sums over passes.

`HostBatch` serves every engine. An engine whose data should stay on its device has a method
``open_batch`` that returns a batch of its own; only the numbers then come to the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.checkpoints.heads import Head
from serfiq_widgets.control_variates import Moments, moments, pair_sums
from serfiq_widgets.engines import Engine
from serfiq_widgets.robustness import LimitTerms, limit_terms


@dataclass(frozen=True, eq=False)
class DropoutHead:
    """A head and its dropout rate.

    Attributes
    ----------
    head : Head
    rate : float
        Dropout rate p in [0, 1).
    terms : LimitTerms or None
        `robustness.limit_terms` of its matrix; None for a head that is not affine.
    """

    head: Head
    rate: float
    terms: LimitTerms | None

    @classmethod
    def of(cls, head: Head, rate: float) -> DropoutHead:
        """Compute the terms of a head."""
        return cls(head, rate, limit_terms(head.weight) if head.is_affine else None)


@dataclass(frozen=True, eq=False)
class PassSums:
    """What the scores of N faces need of their T passes.

    Attributes
    ----------
    passes : int
        T.
    mean, error : (N,) ndarray of float64
        Mean distance over the pairs, and its jackknife standard error (NaN for T = 2).
    pairs : (3, N) ndarray of float64
        `control_variates.pair_sums`; NaN for a head that is not affine.
    """

    passes: int
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    pairs: NDArray[np.float64]


class Batch(Protocol):
    """The trunk's output for N faces, under one dropout head."""

    @property
    def features(self) -> NDArray[np.float32]:
        """Features (N, F), copied to the host when first asked for."""
        ...

    @property
    def empty(self) -> NDArray[np.bool_]:
        """`robustness.empty_features` (N,)."""
        ...

    @property
    def moments(self) -> Moments | None:
        """Moments of the passes; None for a head that is not affine. Empty features count as 0."""
        ...

    def passes(self, face: int, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return `Engine.passes` (T, D) of one of the faces."""
        ...

    def pass_sums(
        self, masks: NDArray[np.bool_], faces: NDArray[np.intp] | None = None
    ) -> PassSums:
        """Return the sums over passes under masks (T, M), T at least 2, of some or all faces."""
        ...

    def embeddings(self) -> NDArray[np.float32]:
        """Return embeddings (N, D) without dropout, not scaled to length 1."""
        ...


def open_batch(engine: Engine, faces: Sequence[NDArray[np.uint8]], head: DropoutHead) -> Batch:
    """Run the trunk on N aligned faces (112, 112, 3) uint8 RGB, under the engine's own head."""
    own = getattr(engine, "open_batch", None)
    if own is not None:
        batch: Batch = own(faces, head)
        return batch
    return HostBatch(engine, np.asarray(faces), head)


class HostBatch:
    """A batch on the host, of any engine; see `Batch`."""

    def __init__(self, engine: Engine, faces: NDArray[np.uint8], head: DropoutHead) -> None:
        self._engine, self._head = engine, head
        self.features = engine.trunk(faces)

    @cached_property
    def empty(self) -> NDArray[np.bool_]:  # noqa: D102  # documented in `Batch`, as all below
        return robustness.empty_features(self.features)

    @cached_property
    def moments(self) -> Moments | None:  # noqa: D102
        head, terms = self._head.head, self._head.terms
        if terms is None:
            return None
        usable = np.where(self.empty[:, None], 0, self.features)
        return moments(usable, head.weight, head.bias, self._head.rate, terms=terms)

    def passes(self, face: int, masks: NDArray[np.bool_]) -> NDArray[np.float32]:  # noqa: D102
        return self._engine.passes(self.features[face], masks)

    def pass_sums(  # noqa: D102
        self, masks: NDArray[np.bool_], faces: NDArray[np.intp] | None = None
    ) -> PassSums:
        faces = np.arange(len(self.features)) if faces is None else faces
        known = self.moments
        means = np.empty((len(faces), len(masks)))
        pairs = np.full((3, len(faces)), np.nan)
        for i, (face, embeddings) in enumerate(zip(faces, self._all(faces, masks), strict=True)):
            distances = robustness.pairwise_distances(robustness.normalise(embeddings))
            means[i] = distances.sum(axis=1) / (len(masks) - 1)
            if known is not None:
                pairs[:, i : i + 1] = pair_sums(embeddings[None], known.of(slice(face, face + 1)))
        return PassSums(len(masks), means.mean(axis=1), robustness.standard_error(means), pairs)

    def _all(
        self, faces: NDArray[np.intp], masks: NDArray[np.bool_]
    ) -> Iterator[NDArray[np.float32]]:
        several = getattr(self._engine, "passes_of_several", None)
        if several is None:
            return (self.passes(int(face), masks) for face in faces)
        passes: Iterator[NDArray[np.float32]] = several(self.features[faces], masks)
        return passes

    def embeddings(self) -> NDArray[np.float32]:  # noqa: D102
        return self._head.head(self.features)
