"""Training of an on-top head with torch: softmax over identities, dropout in each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting, EngineUnavailable

LEARNING_RATE = 1.0  # AdaDelta's default
BATCH = 256
SHIFT = 6.0  # negative value of a dropped feature, in root mean squares of features
MIN_IMAGES = 2  # of a person, to be used in training


def train(
    embeddings: NDArray[np.float32],
    labels: Sequence[str],
    *,
    hidden: Sequence[int],
    rate: float,
    epochs: int,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[list[NDArray[np.float32]], float]:
    """Train the layers of an on-top head.

    Parameters
    ----------
    embeddings : (N, n) ndarray of float32
        One row per image.
    labels : sequence of str
        The person on each image; people with a single image are not used.
    hidden : sequence of int
        Units of the layers between n and n.
    rate : float
        Dropout rate p on the inputs of every layer, including the classification layer.
    epochs : int
        Number of epochs.
    seed : int
        Seed of weights, order and dropout.
    progress : callable of (epoch: int, loss: float), optional
        Called after each epoch.

    Returns
    -------
    matrices : list of (units after, units before) ndarray of float32
        The first includes the scaling of its input. The classification layer is used only in
        training and is not returned.
    shift : float
        The negative of a dropped feature's value.

    Raises
    ------
    EngineUnavailable
        torch is not installed.
    BadSetting
        Fewer than two people have two images, or the two inputs differ in length.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailable(
            "Training needs torch: pip install 'serfiq_widgets[torch]'"
        ) from error
    embeddings, identity = _trainable(embeddings, labels)
    n, people = embeddings.shape[1], int(identity.max()) + 1
    scale = 1 / max(float(np.sqrt(np.mean(np.square(embeddings)))), 1e-12)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = [n, *hidden, n]
        layers = [torch.nn.Linear(before, after, bias=False) for before, after in pairwise(sizes)]
        classify = torch.nn.Linear(n, people)
        network = torch.nn.Sequential()
        for one in layers:
            network.extend([one, torch.nn.Tanh(), torch.nn.Dropout(rate)])
        network.append(classify)
        optimiser = torch.optim.Adadelta(network.parameters(), lr=LEARNING_RATE)
        x, y = torch.from_numpy(embeddings * np.float32(scale)), torch.from_numpy(identity)
        for epoch in range(epochs):
            total = 0.0
            for batch in torch.randperm(len(x), generator=generator).split(BATCH):
                dropped = torch.nn.functional.dropout(x[batch] + SHIFT, rate) - SHIFT
                loss = torch.nn.functional.cross_entropy(network(dropped), y[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(batch)
            if progress:
                progress(epoch + 1, total / len(x))
    matrices = [one.weight.detach().numpy().astype(np.float32) for one in layers]
    return [matrices[0] * np.float32(scale), *matrices[1:]], SHIFT / scale


def _trainable(
    embeddings: NDArray[np.float32], labels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the embeddings of people with several images, and the people's numbers."""
    if len(embeddings) != len(labels):
        raise BadSetting(f"There are {len(embeddings)} embeddings, but {len(labels)} labels.")
    _, number, counts = np.unique(np.array(labels), return_inverse=True, return_counts=True)
    several = counts[number] >= MIN_IMAGES
    _, number = np.unique(number[several], return_inverse=True)
    if not len(number) or number.max() < 1:
        raise BadSetting("Training needs at least two people with two images each.")
    return np.ascontiguousarray(embeddings[several], np.float32), number.astype(np.int64)
