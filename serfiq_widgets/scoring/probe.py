"""Probe a network: which range of pixels it needs, and whether it separates two people.

The pictures show the two people of the sample photos: unchanged, mirrored, blurred and darker. With
the right pixel range, the embeddings of one person are similar and those of two people differ; with
a wrong range, all embeddings are similar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.engines import Engine, Normalisation, open_engine
from serfiq_widgets.errors import CorruptModel
from serfiq_widgets.faces.degradation import Degradation
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.resources import sample_images

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

VARIANTS = (Degradation(), Degradation(blur=1), Degradation(brightness=-0.7))
RANGES = {
    "0 to 255": (0.0, 1.0),
    "-1 to 1": (127.5, 1 / 127.5),
    "0 to 1": (0.0, 1 / 255),
}
"""Common pixel ranges of network inputs, as mean and scale."""

DEPENDS = 1e-2
"""Allowed change of a face's features by the other faces in the batch, relative."""

CLEAR_GAP = 0.2
"""Least gap of similarities. Two good networks have .77 and .88; with a wrong range, .01."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Results of a network on the probe's pictures.

    Attributes
    ----------
    normalisation : Normalisation
        How the input pixels were scaled.
    genuine : (2,) ndarray of float64
        Mean cosine between pictures of the same person, for each of the two.
    impostor : float
        Mean cosine between pictures of different people.
    limits : (2,) ndarray of float64
        Mean closed-form distance of each person's pictures; zero for heads that have none.
    dead : bool
        All features of all pictures are zero, or not finite.
    """

    normalisation: Normalisation
    genuine: NDArray[np.float64]
    impostor: float
    limits: NDArray[np.float64]
    dead: bool = False

    @property
    def gap(self) -> float:
        """Mean similarity within one person minus that between two people."""
        return float(self.genuine.mean()) - self.impostor

    @property
    def passed(self) -> bool:
        """Whether the two people are clearly separated."""
        return self.gap >= CLEAR_GAP

    def sees_better_than(self, other: Trial) -> bool:
        """Whether both people have higher genuine similarity and more robust embeddings here."""
        return bool(
            (self.genuine > other.genuine).all()
            and ((self.limits < other.limits).all() or not self.limits.any())
        )


@cache
def pictures() -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the aligned pictures (N, 112, 112, 3) RGB, and the person (0 or 1) of each."""
    people = [find_face(path).pixels for path in sample_images() if "_" not in path.stem]
    faces = [ruin.apply(pixels) for pixels in people for ruin in VARIANTS]
    mirrored = [face[:, ::-1] for face in faces]
    which = np.repeat(np.arange(len(people)), len(VARIANTS))
    return np.stack([*faces, *mirrored]), np.concatenate([which, which])


def try_out(
    network: Network, rate: float, normalisations: Iterable[Normalisation]
) -> Iterator[Trial]:
    """Probe a network with each of these normalisations, one after the other."""
    engine = open_engine(network, rate, engine="onnxruntime", device="cpu")
    for normalisation in normalisations:
        engine.normalisation = normalisation
        yield _attempt(network, rate, engine)


def _attempt(network: Network, rate: float, engine: Engine) -> Trial:
    faces, people = pictures()
    features = np.nan_to_num(engine.trunk(faces))
    _check_alone(network, engine, features)
    embeddings = engine.embed(features)
    alike = embeddings @ embeddings.T
    same = people[:, None] == people
    others = same & ~np.eye(len(people), dtype=bool)
    head = network.head
    distances = np.zeros(len(faces))
    if head.is_affine:
        distances = robustness.limit_distances(features, head.weight, head.bias, rate)
    both = range(int(people.max()) + 1)
    return Trial(
        engine.normalisation,
        np.array([alike[others & (people == one)].mean() for one in both]),
        float(alike[~same].mean()),
        np.array([distances[people == one].mean() for one in both]),
        not features.any(),
    )


def _check_alone(network: Network, engine: Engine, features: NDArray[np.float32]) -> None:
    """Raise an error if a face's features depend on the other faces in the batch."""
    faces, _ = pictures()
    alone = np.nan_to_num(engine.trunk(faces[:1]))[0]
    # float32 rounding depends on the batch, 1e-6 of the features; a batch norm changes them by 1
    if np.linalg.norm(alone - features[0]) > DEPENDS * np.linalg.norm(features[0]):
        raise CorruptModel(
            f"What '{network.name}' makes of a face depends on the other faces of its batch, so no "
            "score would be the face's own. Export it for inference (net.eval()), with the "
            "statistics of its batch norms."
        )


def common(size: tuple[int, int]) -> list[Normalisation]:
    """Return the common ranges, in RGB, for an input of this height and width."""
    return [Normalisation(mean=mean, scale=scale, size=size) for mean, scale in RANGES.values()]


def find_normalisation(network: Network, rate: float) -> Trial:
    """Try the common ranges and both colour orders; return the best trial.

    The colour order is BGR only if the results of both people are better with it; else it is RGB.
    If no trial passes, the first one that gave features is returned: RGB, 0 to 255.
    """
    tries = list(try_out(network, rate, common(network.input_size)))
    best = max(tries, key=lambda one: one.gap)
    if not best.passed:
        return next((one for one in tries if not one.dead), tries[0])
    (turned,) = try_out(network, rate, [replace(best.normalisation, colour="BGR")])
    return turned if turned.sees_better_than(best) else best


def describe(normalisation: Normalisation) -> str:
    """Return a normalisation in words, such as "RGB, 0 to 255"."""
    mean, scale = normalisation.mean, normalisation.scale
    words = f"(pixel - {mean:g}) * {scale:.6g}"
    for name, known in RANGES.items():
        if np.allclose(known, (mean, scale), rtol=0.01):
            words = name
    return f"{normalisation.colour}, {words}"
