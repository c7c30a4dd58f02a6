"""SER-FIQ on top of any embedding: a small extra head, for networks without dropout.

The paper's second variant (Terhörst et al., CVPR 2020, section 3.2): a network of n, 128, 512 and n
units with tanh and dropout in each layer, trained to classify identities, is put on the embedding
of another network and run many times. Dropout acts on the inputs of all its layers.

Two details differ from the paper, both measured on MobileFaceNet embeddings of LFW, where the
original recipe ranks faces hardly better than chance. The layers have no offsets, which would make
a weak embedding look robust. And a dropped feature of the embedding counts as a negative constant
instead of zero (`Head.shift`): so the noise is the same for all embeddings, and a short one, as of
a poor photo, scatters more. Embeddings that a network returns scaled to length 1 have lost this
information, so their scores mean little.

A head is one ``.npz`` file: its matrices, and a card in JSON.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.archives import UNSOUND, pack_arrays, unpack_arrays
from serfiq_widgets.checkpoints.heads import Head, Layer
from serfiq_widgets.errors import BadSetting, CorruptModel

SUFFIX = ".npz"
HIDDEN = (128, 512)
RATE, EPOCHS = 0.1, 40
MAX_BYTES = 2**26  # of a head's arrays; 1,024 dimensions need 3 million
MAX_LAYERS = 8
MAX_NUMBER = 1e6  # of alpha, r or shift
CARD = "card"


@dataclass(frozen=True, eq=False)
class OnTop:
    """A trained on-top head.

    Attributes
    ----------
    head : Head
        Its layers.
    rate : float
        Dropout rate p.
    alpha, r : float
        Stretch from raw score to quality, fitted to the faces of its training.
    population : str
        A description of these faces.
    shift : float
        The negative of a dropped feature's value.
    base : str
        Name or path (relative to the head's folder) of the network of the embeddings; empty if the
        head scores only embeddings, not images.
    base_sha256 : str
        SHA-256 of that network's weights.
    sha256 : str
        SHA-256 of this head's file.
    """

    head: Head
    rate: float = RATE
    alpha: float = 1.0
    r: float = 0.5
    population: str = ""
    shift: float = 0.0
    base: str = ""
    base_sha256: str = ""
    sha256: str = ""


NOT_IN_CARD = ("head", "sha256")


def to_bytes(top: OnTop) -> bytes:
    """Return the ``.npz`` file of a head."""
    card = {f.name: getattr(top, f.name) for f in fields(top) if f.name not in NOT_IN_CARD}
    arrays = {f"weight{i}": layer.weight for i, layer in enumerate(top.head.layers)}
    return pack_arrays(arrays, card, key=CARD)


def load(path: str | Path) -> OnTop:
    """Read a head.

    Raises
    ------
    CorruptModel
        The file is broken, too large, or not an on-top head; the text names it.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        arrays, card = unpack_arrays(content, key=CARD, most=MAX_BYTES)
        if not card:
            raise ValueError("it has no card")
        weights = [np.asarray(arrays[f"weight{i}"], np.float32) for i in range(len(arrays))]
        top = from_matrices(weights, **card, sha256=hashlib.sha256(content).hexdigest())
    except UNSOUND as error:
        raise CorruptModel(
            f"'{path.name}' is not an on-top head ({type(error).__name__}: {error!s:.80})."
        ) from error
    return top


def _check(top: OnTop) -> None:
    """Raise ValueError if the layers do not fit together or a number is impossible."""
    weights = [layer.weight for layer in top.head.layers]
    if not 0 < len(weights) <= MAX_LAYERS or any(w.ndim != 2 or not w.size for w in weights):  # noqa: PLR2004  # matrices
        raise ValueError("it has no layers, too many, or layers that are not matrices")
    if any(a.shape[0] != b.shape[1] for a, b in pairwise(weights)):
        raise ValueError("its layers do not fit together")
    if not all(np.isfinite(weight).all() for weight in weights):
        raise ValueError("its weights are not finite")
    sound = (
        0 < top.rate < 1
        and 0 < top.alpha < MAX_NUMBER
        and 0 <= top.r <= 1
        and abs(top.shift) < MAX_NUMBER
    )
    if not sound:
        raise ValueError("its card's numbers are not possible")
    if not all(isinstance(text, str) for text in (top.population, top.base, top.base_sha256)):
        raise ValueError("its card's texts have a wrong type")


def from_matrices(weights: list[NDArray[np.float32]], **card: Any) -> OnTop:
    """Return a head of these matrices, each (outputs, inputs); see `OnTop` for the card.

    Raises
    ------
    ValueError
        The matrices do not fit together.
    """
    layers = (Layer(weight, np.zeros(len(weight), np.float32), tanh=True) for weight in weights)
    top = OnTop(Head(tuple(layers), card.get("shift", 0.0)), **card)
    _check(top)
    return top


def score_embeddings(
    top: OnTop, embeddings: NDArray[np.floating[Any]], passes: int = 100, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Score embeddings without images, all with the same masks.

    Parameters
    ----------
    top : OnTop
        From `load` or training.
    embeddings : (N, n) ndarray of float
        As the network returns them, like those of the head's training.
    passes : int
        Dropout passes T, at least 2.
    seed : int
        Seed of the masks.

    Returns
    -------
    dict
        ``raw`` and ``scaled`` (N,) float64, ``quality`` (N,) int.

    Raises
    ------
    BadSetting
        The embeddings are not (N, n) with the head's n, or not finite.
    """
    embeddings = np.asarray(embeddings, dtype=np.float32)
    n = top.head.n_features
    if embeddings.ndim != 2 or embeddings.shape[1] != n:  # noqa: PLR2004  # rows of embeddings
        raise BadSetting(f"The head takes embeddings (N, {n}), not {embeddings.shape}.")
    if not np.isfinite(embeddings).all():
        raise BadSetting("Some embeddings are not finite.")
    masks = robustness.draw_masks(passes, top.head.n_units, top.rate, seed)
    raw = np.empty(len(embeddings))
    for i, row in enumerate(embeddings):
        unit = robustness.normalise(top.head(row, masks, 1.0 - top.rate))
        distances = robustness.pairwise_distances(unit)
        raw[i] = robustness.raw_score(distances.sum() / (passes * (passes - 1)))
    scaled = robustness.scaled_score(raw, top.alpha, top.r)
    quality = np.array([robustness.quality_component(value) for value in scaled], dtype=int)
    return {"raw": raw, "scaled": scaled, "quality": quality}
