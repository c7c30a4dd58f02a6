"""What the two teachers say of each view, computed once and kept in .npz files of many views each.

The first teacher is any checkpoint that serfiq_widgets opens: its embedding, and its exact-limit
distance. The second is dlib's own network: its embedding. A file's name holds a digest of all
that its labels depend on, so another teacher, seed or set of faces never meets the wrong ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serfiq_widgets import Scorer, robustness
from tools.train_mini.architecture import DIMENSIONS
from tools.train_mini.dlib_weights import DlibWeights
from tools.train_mini.faces import Pixels, Views
from tools.train_mini.network import Student

CHUNK, BATCH = 4096, 64
THREADS = 4
PROBES = 32  # views whose pixels enter the digest, so that another way to make them shows

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the first N views.

    Attributes
    ----------
    teacher : (N, D) ndarray of float32
        The teacher's embeddings, of length 1.
    dlib : (N, 128) ndarray of float32
        dlib's embeddings.
    distance : (N,) ndarray of float32
        The teacher's exact-limit distances.
    """

    teacher: Floats
    dlib: Floats
    distance: Floats

    def __len__(self) -> int:
        return len(self.distance)

    @property
    def digest(self) -> str:
        """Changes with the teacher and the number of labels."""
        return hashlib.sha256(self.distance.tobytes()).hexdigest()


class Teachers:
    """Both teachers, ready to label views.

    Parameters
    ----------
    scorer : Scorer
        The teacher checkpoint.
    dlib : DlibWeights
        The second teacher.
    device : torch.device
        Where dlib's network runs; the checkpoint runs where its scorer does.
    """

    def __init__(self, scorer: Scorer, dlib: DlibWeights, device: torch.device) -> None:
        self._scorer = scorer
        self._device = device
        self._dlib = Student(dlib).eval().to(device, memory_format=torch.channels_last)
        self._second = dlib.embedding.tobytes()
        head = scorer.network.head
        self._terms = robustness.limit_terms(head.weight)

    def label(self, pixels: list[Pixels]) -> Labels:
        """Label a few images."""
        stack = np.stack(pixels)
        features = self._scorer.engine.trunk(stack)
        head, rate = self._scorer.network.head, self._scorer.rate
        distances = robustness.limit_distances(
            features, head.weight, head.bias, rate, terms=self._terms
        )
        images = torch.from_numpy(stack.transpose(0, 3, 1, 2).copy()).to(self._device)
        with torch.no_grad():
            dlib = self._dlib.dlib_embedding(self._dlib.maps(images))
        embeddings = self._scorer.engine.embed(features)
        return Labels(embeddings, dlib.cpu().numpy(), distances.astype(np.float32))

    def label_all(
        self, views: Views, count: int, folder: Path, report: Callable[[str], None] = print
    ) -> Labels:
        """Return labels of the first views, from the folder as far as they lie there.

        Parameters
        ----------
        views : Views
        count : int
            How many.
        folder : Path
            Where the .npz files are kept: outside the repository.
        report : callable
            Told after each new file.
        """
        digest = self._digest(views)
        parts = []
        for start in range(0, count, CHUNK):
            # a short last chunk has a name of its own, so that a later, longer run fills it
            size = min(CHUNK, count - start)
            path = folder / f"labels-{digest}-{start:07d}-{size}.npz"
            if not path.is_file():
                keep(path, self._chunk(views, start, size))
                report(f"labelled {start + size} of {count} views")
            with np.load(path) as held:
                parts.append(Labels(**{name: held[name] for name in Labels.__annotations__}))
        return _join(parts)

    def _chunk(self, views: Views, start: int, size: int) -> Labels:
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(views.__getitem__, range(start, start + size)))
        return _join([self.label(images[at : at + BATCH]) for at in range(0, size, BATCH)])

    def _digest(self, views: Views) -> str:
        """Return a digest of the faces, of what views are made of them, and of both teachers."""
        some = b"".join(views[i].tobytes() for i in range(PROBES))
        what = f"{views.digest} {self._scorer.network.sha256} {self._scorer.rate}"
        return hashlib.sha256(what.encode() + some + self._second).hexdigest()[:16]


def _join(parts: list[Labels]) -> Labels:
    return Labels(
        np.concatenate([part.teacher for part in parts]),
        np.concatenate([part.dlib for part in parts]),
        np.concatenate([part.distance for part in parts]),
    )


def keep(path: Path, labels: Labels) -> None:
    """Write a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez(file, **vars(labels))
    draft.replace(path)


def axes_for(embeddings: Floats, dimensions: int = DIMENSIONS) -> Floats:
    """Return a (D, 128) matrix that takes a teacher's embeddings to the student's length.

    Nothing changes where D is 128. A longer one is projected onto its strongest axes, a shorter
    one is filled up with zeros, and both are then turned at random, so that all 128 numbers vary
    alike: the student's last batch norm, which has no scale of its own, makes them so.
    """
    length = embeddings.shape[1]
    if length == dimensions:
        return np.eye(dimensions, dtype=np.float32)
    strongest = np.linalg.eigh(embeddings.T @ embeddings)[1][:, ::-1][:, :dimensions]
    axes = np.pad(strongest, ((0, 0), (0, max(0, dimensions - length))))
    gauss = np.random.default_rng(0).normal(size=(dimensions, dimensions))
    return (axes @ np.linalg.qr(gauss)[0]).astype(np.float32)


def batches(count: int, size: int, seed: int, start: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches of view numbers from step ``start`` on, without end; epochs differ in order."""
    per_epoch = count // size
    step = start
    while True:
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(count)
        yield order[place * size : (place + 1) * size]
        step += 1
