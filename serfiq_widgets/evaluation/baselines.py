"""Simple baselines that a quality score should beat, and an oracle as an upper bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.evaluation.comparisons import Comparisons
from serfiq_widgets.evaluation.curves import threshold_at

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def embedding_norm(embeddings: ArrayLike) -> NDArray[np.float64]:
    """Return the lengths (N,) of unscaled embeddings (N, D) of the network."""
    lengths: NDArray[np.float64] = np.linalg.norm(np.asarray(embeddings, np.float64), axis=-1)
    return lengths


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of an (H, W, 3) uint8 RGB image's brightness."""
    from scipy.ndimage import laplace

    return float(laplace(pixels @ LUMA, mode="mirror").var())


def brightness(pixels: NDArray[np.uint8]) -> float:
    """Return the mean brightness, 0..255, of an (H, W, 3) uint8 RGB image; higher is better."""
    return float((pixels @ LUMA).mean())


def chance(images: int, seed: int = 0) -> NDArray[np.float64]:
    """Return random qualities (N,), the same for the same seed."""
    return np.random.default_rng(seed).random(images)


def oracle(comparisons: Comparisons, fmr: float = 1e-3) -> NDArray[np.int64]:
    """Return qualities (N,) of an oracle that knows which comparisons fail at an FMR.

    It repeatedly discards the image with the most false non-matches among the remaining images (of
    several, the one with the fewest genuine comparisons, then the first); an image's quality is its
    position in this order. Images without errors have the same, highest quality. The algorithm is
    greedy: close to the best order, but not proved to be optimal.
    """
    missed = comparisons.genuine < threshold_at(comparisons, fmr)
    errors = [set[int]() for _ in range(comparisons.images)]
    for one, other in zip(comparisons.first[missed], comparisons.second[missed], strict=True):
        errors[one].add(int(other))
        errors[other].add(int(one))
    count = np.array([len(partners) for partners in errors])
    pairs = np.bincount(comparisons.first, minlength=comparisons.images)
    pairs += np.bincount(comparisons.second, minlength=comparisons.images)
    urgency = count * (pairs.max() + 1.0) - pairs  # first by errors, then by few comparisons
    quality = np.full(comparisons.images, np.count_nonzero(count), np.int64)
    for place in range(np.count_nonzero(count)):
        worst = int(np.argmax(urgency))
        if not count[worst]:
            break
        quality[worst] = place
        for partner in errors[worst]:
            errors[partner].discard(worst)
            count[partner] -= 1
            urgency[partner] = count[partner] * (pairs.max() + 1.0) - pairs[partner]
        count[worst], urgency[worst] = 0, -np.inf
    return quality
