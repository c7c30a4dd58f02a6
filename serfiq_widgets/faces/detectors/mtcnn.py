"""MTCNN, the reference's detector: three networks find the faces, a fourth refines landmarks.

Zhang, Zhang, Li and Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks", IEEE Signal Processing Letters 23(10), 2016. The weights are MXNet files
provided by the user; this package converts them, without mxnet.

Boxes are (left, top, right, bottom) in pixels of the searched photo; right and bottom are just
outside. The input format of the published files was measured on LFW photos, with every combination
of colour and axis order: BGR and rows by columns. RGB lowers P-Net's mean confidence in faces from
0.98 to 0.73; transposed crops, as in the original Matlab files, move O-Net's landmarks by 0.7 eye
distances.

The reference rounds crops and landmarks to whole pixels; here they keep their fractions. An exact
copy of its steps gave landmarks that differ from these by 0.9 % of the eye distance before the last
rounding (median of 300 LFW photos), and by 3.3 % after it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.engines.onnxruntime import session
from serfiq_widgets.errors import CorruptModel, EngineUnavailable
from serfiq_widgets.faces.detectors import Detection
from serfiq_widgets.images.opencv import fitted, import_cv2, shrunk
from serfiq_widgets.models import files

Array = NDArray[np.float32]

LONGEST = 2560  # longer side of the searched photo
MIN_FACE = 50  # pixels of that photo; with 20 the landmarks in LFW photos move by less than 1 %
PYRAMID = 0.709  # each level's side, as a share of the one before
CELL, STRIDE = 12, 2  # P-Net sees 12 x 12 pixels per cell, every two pixels
R_SIDE, O_SIDE, PATCH_SIDE = 24, 48, 24
P_LEAST, R_LEAST, O_LEAST = 0.6, 0.7, 0.8  # confidence
SAME_IN_LEVEL, SAME = 0.5, 0.7  # overlap above which two boxes are one face
PATCH = 0.25  # side of a landmark's patch, as a share of the box's
FARTHEST = 0.35  # how far L-Net may move a landmark, as a share of its patch
MAX_PROPOSALS, MAX_FACES = 1000, 300  # limits the work for every photo

MEAN, SCALE = 127.5, 0.0078125
SHAPES: dict[str, tuple[int | str, ...]] = {
    "det1": (3, "H", "W"),
    "det2": (3, R_SIDE, R_SIDE),
    "det3": (3, O_SIDE, O_SIDE),
    "det4": (15, PATCH_SIDE, PATCH_SIDE),
}
"""Input sizes of the files' networks: P-Net, R-Net, O-Net and L-Net."""

OUTPUTS = {"det1": (4, 2), "det2": (4, 2), "det3": (10, 4, 2), "det4": (2,) * 5}
"""Numbers in each output per input: landmarks, box offsets, confidence."""


class Mtcnn:
    """The four networks, opened.

    Parameters
    ----------
    folder : Path, optional
        The folder of their eight files; by default SERFIQ_MTCNN, else ``mtcnn`` in
        the folder of models.

    Raises
    ------
    EngineUnavailable
        Files are missing; the text says which, and where to put them.
    CorruptModel
        One of them is broken or is another network.
    """

    def __init__(self, folder: Path | None = None) -> None:
        import_cv2()
        folder = folder or files_folder()
        _check_files(folder)
        self._p, self._r, self._o, self._l = (_open(folder, name) for name in SHAPES)

    def __call__(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in a photo (H, W, 3) uint8 RGB."""
        height, width = pixels.shape[:2]
        size = fitted(width, height, LONGEST)
        photo = shrunk(pixels, size)
        boxes, confidence, marks = self._look(photo, self._sift(photo, self._propose(photo)))
        marks = self._refine(photo, boxes, marks)
        ratio = np.array([width / size[0], height / size[1]], dtype=np.float32)
        marks = (marks + 0.5) * ratio - 0.5
        edges = (boxes * np.tile(ratio, 2)).tolist()
        return [
            Detection((left, top, right, bottom), points, sure)
            for (left, top, right, bottom), points, sure in zip(
                edges, marks, confidence.tolist(), strict=True
            )
        ]

    def _propose(self, photo: NDArray[np.uint8]) -> Array:
        """Run P-Net on a pyramid of the photo; return squares that may contain a face.

        Suppression is applied to the original cells, and the remaining boxes are then moved: the
        reverse order loses some good boxes.
        """
        levels = [np.empty((0, 9), np.float32)]  # box, offsets, confidence
        height, width = photo.shape[:2]
        scale = CELL / MIN_FACE
        while min(height, width) * scale >= CELL:
            small = shrunk(photo, (round(width * scale), round(height * scale)))
            moves, sure = self._p.run(None, {"data": normalised(small[None])})
            rows, columns = np.nonzero(sure[0, 1] > P_LEAST)
            found, order = best(sure[0, 1, rows, columns], MAX_PROPOSALS)
            rows, columns = rows[order], columns[order]
            corner = STRIDE * np.stack([columns, rows], axis=1)
            cells = np.concatenate([corner, corner + CELL], axis=1).astype(np.float32) / scale
            level = np.column_stack([cells, moves[0, :, rows, columns], found])
            levels.append(level[suppress(cells, found, SAME_IN_LEVEL)])
            scale *= PYRAMID
        every = np.concatenate(levels)
        confidence, order = best(every[:, 8], MAX_PROPOSALS)
        every = every[order]
        every = every[suppress(every[:, :4], confidence, SAME)]
        return squared(moved(every[:, :4], every[:, 4:8]))

    def _sift(self, photo: NDArray[np.uint8], boxes: Array) -> Array:
        """Run R-Net; return the squares that look like faces, with improved positions."""
        moves, sure = _run(self._r, crops(photo, boxes, R_SIDE))
        confidence, order = best(sure[:, 1], MAX_FACES, R_LEAST)
        boxes, moves = boxes[order], moves[order]
        keep = suppress(boxes, confidence, SAME)
        return squared(moved(boxes[keep], moves[keep]))

    def _look(self, photo: NDArray[np.uint8], boxes: Array) -> tuple[Array, Array, Array]:
        """Run O-Net; return boxes (N, 4), confidence (N,) and landmarks (N, 5, 2) of faces."""
        points, moves, sure = _run(self._o, crops(photo, boxes, O_SIDE))
        confidence, order = best(sure[:, 1], MAX_FACES, O_LEAST)
        boxes, moves, points = boxes[order], moves[order], points[order]
        sides = boxes[:, 2:] - boxes[:, :2]
        marks = boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
        boxes = moved(boxes, moves)
        keep = suppress(boxes, confidence, SAME, of_smaller=True)
        return boxes[keep], confidence[keep], marks[keep]

    def _refine(self, photo: NDArray[np.uint8], boxes: Array, marks: Array) -> Array:
        """Run L-Net; return landmarks (N, 5, 2) improved from a patch around each."""
        sides = PATCH * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        half = np.broadcast_to(sides[:, None, None] / 2, marks.shape)
        patches = np.concatenate([marks - half, marks + half], axis=2).reshape(-1, 4)
        inputs = crops(photo, patches, PATCH_SIDE).reshape(len(boxes), *_size("det4"))
        shift = np.stack(_run(self._l, inputs), axis=1) - np.float32(0.5)
        shift[(np.abs(shift) > FARTHEST).any(axis=2)] = 0
        refined: Array = marks + shift * sides[:, None, None]
        return refined


def best(scores: Array, most: int, least: float = 0.0) -> tuple[Array, NDArray[np.intp]]:
    """Return at most ``most`` scores above ``least``, descending, and their indices."""
    order = np.argsort(-scores, kind="stable")[:most]
    order = order[scores[order] > least]
    return scores[order], order


def overlaps(boxes: Array, *, of_smaller: bool = False) -> Array:
    """Return the pairwise overlap (N, N) of boxes (N, 4).

    Parameters
    ----------
    boxes : (N, 4) ndarray of float32
        Left, top, right, bottom.
    of_smaller : bool
        Divide the shared area by the smaller box, not by the union.
    """
    start = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    end = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(end - start, 0, None).prod(axis=2)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    both = np.minimum if of_smaller else np.add
    whole = both(area[:, None], area[None]) - (0 if of_smaller else shared)
    share: Array = shared / np.maximum(whole, np.finfo(np.float32).tiny)
    return share


def suppress(
    boxes: Array, scores: Array, most: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Keep the best of boxes that overlap (non-maximum suppression).

    Parameters
    ----------
    boxes : (N, 4) ndarray of float32
        Left, top, right, bottom.
    scores : (N,) ndarray of float32
        A box is discarded if it overlaps a kept box with a higher score.
    most : float
        Largest overlap of two kept boxes.
    of_smaller : bool
        As in `overlaps`.

    Returns
    -------
    (K,) ndarray of int
        Indices of kept boxes, best first.
    """
    touching = overlaps(boxes, of_smaller=of_smaller) > most
    alive = np.ones(len(boxes), dtype=bool)
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        if alive[index]:
            kept.append(index)
            alive &= ~touching[index]
    return np.array(kept, dtype=np.intp)


def moved(boxes: Array, moves: Array) -> Array:
    """Move the edges of boxes (N, 4) by offsets (N, 4), given as shares of their sides."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    shifted: Array = boxes + moves * sides
    return shifted


def squared(boxes: Array) -> Array:
    """Extend boxes (N, 4) to squares with the same centres."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def crops(photo: NDArray[np.uint8], boxes: Array, side: int) -> Array:
    """Crop boxes from a photo, scaled to the same size, black outside the photo.

    Parameters
    ----------
    photo : (H, W, 3) ndarray of uint8
        RGB.
    boxes : (N, 4) ndarray of float32
        Left, top, right, bottom.
    side : int
        Height and width of a crop.

    Returns
    -------
    (N, 3, side, side) ndarray of float32
        Input of the networks.
    """
    if not len(boxes):
        return np.empty((0, 3, side, side), dtype=np.float32)
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = (
        boxes[:, axis, None] + steps * (boxes[:, axis + 2] - boxes[:, axis])[:, None] - 0.5
        for axis in (0, 1)
    )
    shape = (len(boxes), side, side)
    columns, rows = np.broadcast_to(x[:, None], shape), np.broadcast_to(y[:, :, None], shape)
    cv2 = import_cv2()
    flat = (len(boxes), side * side)
    sampled: NDArray[np.uint8] = cv2.remap(
        photo, columns.reshape(flat), rows.reshape(flat), cv2.INTER_LINEAR
    )
    return normalised(sampled.reshape(*shape, 3))


def normalised(pixels: NDArray[np.uint8]) -> Array:
    """Convert (N, H, W, 3) RGB uint8 to the networks' (N, 3, H, W) float32, BGR around zero."""
    channels = np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
    return (channels - MEAN) * SCALE


def files_folder() -> Path:
    """Return the folder of MTCNN's files."""
    own = os.environ.get("SERFIQ_MTCNN")
    return Path(own).expanduser() if own else files.models_folder() / "mtcnn"


def _check_files(folder: Path) -> None:
    names = [f"{name}{end}" for name in SHAPES for end in ("-symbol.json", "-0001.params")]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        lacks = "none was found" if missing == names else f"missing: {', '.join(missing)}"
        raise EngineUnavailable(
            "MTCNN needs eight files, det1, det2, det3 and det4, each with -symbol.json and "
            f"-0001.params, in the folder {folder}: {lacks}. Copy them from deploy/mtcnn-model of "
            "the project deepinsight/insightface, or let SERFIQ_MTCNN name another folder."
        )


def _open(folder: Path, name: str) -> Any:
    """Open one network and run it once, to detect a wrong network."""
    symbol = folder / f"{name}-symbol.json"
    params = read_params(folder / f"{name}-0001.params")
    model = to_onnx(symbol.read_bytes(), params, SHAPES[name], symbol.name)
    try:
        opened = session(model.SerializeToString(), ["CPUExecutionProvider"])
        sizes = tuple(out.size for out in _run(opened, np.zeros((1, *_size(name)), np.float32)))
    except Exception as error:  # the runtime's exceptions share no base class
        raise CorruptModel(f"ONNX Runtime cannot run '{symbol.name}': {error}") from error
    if sizes != OUTPUTS[name]:
        raise CorruptModel(f"'{symbol.name}' is not MTCNN's: {sizes} outputs, not {OUTPUTS[name]}.")
    return opened


def _size(name: str) -> tuple[int, ...]:
    """Return the smallest input size of a network."""
    return tuple(CELL if isinstance(side, str) else side for side in SHAPES[name])


def _run(network: Any, inputs: Array) -> Sequence[Array]:
    """Return the outputs of a network; empty outputs for an empty batch."""
    outputs: Sequence[Array] = network.run(None, {"data": inputs})
    return outputs
