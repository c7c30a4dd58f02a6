"""Faces for training: folders and zips of aligned ones, and the views that are made of them.

View number i of a seed is always the same image, whatever was asked for before: so labels can be
cached, a run can be resumed, and threads can make views in any order. Never LFW: it is what the
result is measured on, and `open_faces` refuses it.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.faces.alignment import FACE_SIZE
from serfiq_widgets.faces.degradation import COVERS, Ruin, jpeg
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.images.opencv import import_cv2

Pixels = NDArray[np.uint8]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HELD_OUT = 50  # one face in so many is never trained on: the curve is drawn from these
LFW_NAME = re.compile(r"(?P<person>.+)_\d{4}")

# Embedding stage
KINDS, SHARES = ("plain", "mixed", "swapped", "warped"), (0.4, 0.2, 0.2, 0.2)
MIX = (0.3, 0.7)  # share of the second face in a mixture
PARTS = {  # left, top, right, bottom on the ArcFace template
    "eyes": (18, 36, 94, 64),
    "nose": (38, 48, 74, 82),
    "mouth": (30, 78, 82, 108),
    "left half": (0, 0, 56, 112),
    "lower half": (0, 66, 112, 112),
}
FEATHER = 4.0  # standard deviation of a swapped part's soft edge, pixels
GRID, BEND = 5, 3.0  # knots across of a smooth warp, and how far they move (deviation, pixels)

# Robustness stage: from hardly visible to ruined, drawn evenly on a logarithmic scale
RANGES = {
    "blur": (0.4, 6.0),
    "resolution": (72.0, 9.0),
    "jpeg": (60.0, 2.0),
    "noise": (4.0, 80.0),
    "dark": (0.5, 4.5),
    "bright": (0.4, 2.2),
    "contrast": (0.8, 0.08),
    "rotation": (4.0, 60.0),
    "shift": (2.0, 24.0),
    "cover": (14.0, 64.0),
}
COUNTS = (0.25, 0.45, 0.2, 0.1)  # how often none, one, two or three of them come together


class Faces(Sequence[Pixels]):
    """Aligned faces (112, 112, 3) uint8 RGB, kept as files in memory and decoded when asked for."""

    def __init__(self, files: Sequence[tuple[str, bytes]]) -> None:
        self._files = list(files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Pixels:
        name, content = self._files[index]
        return find_face(content, aligned=True, name=name).pixels

    @cached_property
    def digest(self) -> str:
        """Changes with any name or content."""
        digest = hashlib.sha256()
        for name, content in self._files:
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def divided(self) -> tuple[Faces, Faces]:
        """Return those to train on and those held out, by their names."""
        held = [
            zlib.crc32(PurePosixPath(name).name.encode()) % HELD_OUT == 0 for name, _ in self._files
        ]
        parts = ([], [])
        for file, apart in zip(self._files, held, strict=True):
            parts[apart].append(file)
        return Faces(parts[0]), Faces(parts[1])


def open_faces(sources: Iterable[Path]) -> Faces:
    """Read folders and zips of aligned faces, in the order of their names.

    Raises
    ------
    BadSetting
        A source holds no image, or images of LFW.
    """
    files: list[tuple[str, bytes]] = []
    for source in sources:
        found = sorted(_images(source))
        if not found:
            raise BadSetting(f"'{source}' holds no image. Give a folder or zip of aligned faces.")
        files += found
    for name, _ in files:
        path = PurePosixPath(name)
        match = LFW_NAME.fullmatch(path.stem)
        if "lfw" in name.lower() or (match and match["person"] == path.parent.name):
            raise BadSetting(f"'{name}' is of LFW, which is kept for measuring. Train on others.")
    return Faces(files)


def _images(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if name.lower().endswith(SUFFIXES):
                    yield f"{source.name}/{name}", archive.read(name)
    else:
        for path in source.rglob("*"):
            if path.suffix.lower() in SUFFIXES:
                yield f"{source.name}/{path.relative_to(source).as_posix()}", path.read_bytes()


@dataclass(frozen=True)
class Views:
    """An endless row of images made of faces.

    Attributes
    ----------
    faces : Faces
        What they are made of; each is taken once before any is taken again.
    ruined : bool
        The robustness stage's, clean and ruined; else the embedding stage's.
    seed : int
    """

    faces: Faces
    ruined: bool
    seed: int = 0

    def __getitem__(self, index: int) -> Pixels:
        rng = np.random.default_rng((self.seed, int(self.ruined), index))
        pixels = self.faces[self._face(index)]
        if rng.random() < 0.5:  # noqa: PLR2004  # every other face is mirrored
            pixels = pixels[:, ::-1]
        if self.ruined:
            return ruin(pixels, rng)
        kind = rng.choice(KINDS, p=SHARES)
        if kind == "warped":
            return warp(pixels, rng)
        if kind == "plain":
            return np.ascontiguousarray(pixels)
        other = self.faces[int(rng.integers(len(self.faces)))]
        return (mix if kind == "mixed" else swap)(pixels, other, rng)

    def _face(self, index: int) -> int:
        epoch, place = divmod(index, len(self.faces))
        return int(_order(self.seed, epoch, len(self.faces))[place])

    @property
    def digest(self) -> str:
        """Changes with the faces, the kind of views and the seed."""
        return f"{self.faces.digest}-{'ruined' if self.ruined else 'whole'}-{self.seed}"


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def mix(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """Lay one face over another, half transparent."""
    share = rng.uniform(*MIX)
    return np.rint((1 - share) * pixels + share * other).astype(np.uint8)


def swap(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """Take one part of the face from another one, with a soft edge."""
    left, top, right, bottom = PARTS[rng.choice(list(PARTS))]
    share = np.zeros((FACE_SIZE, FACE_SIZE), np.float32)
    share[top:bottom, left:right] = 1
    share = import_cv2().GaussianBlur(share, (0, 0), FEATHER)[..., None]
    return np.rint((1 - share) * pixels + share * other).astype(np.uint8)


def warp(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Bend the face smoothly: another face's proportions with this one's skin."""
    cv2 = import_cv2()
    knots = rng.normal(0, BEND, (GRID, GRID, 2)).astype(np.float32)
    moves = cv2.resize(knots, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:FACE_SIZE, :FACE_SIZE].astype(np.float32)
    return cv2.remap(
        pixels, x + moves[..., 0], y + moves[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT_101
    )


def shift(pixels: Pixels, distance: float, rng: np.random.Generator) -> Pixels:
    """Move the face in its frame, as a detector that is off does."""
    angle = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]])
    cv2 = import_cv2()
    size = (FACE_SIZE, FACE_SIZE)
    return cv2.warpAffine(pixels, matrix, size, borderMode=cv2.BORDER_REFLECT_101)


def ruin(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Apply up to three degradations of random kinds and strengths."""
    kinds = set(rng.choice(list(RANGES), rng.choice(len(COUNTS), p=COUNTS), replace=False))
    strength = {
        kind: float(mild * (worst / mild) ** rng.random())
        for kind, (mild, worst) in RANGES.items()
        if kind in kinds
    }
    if "shift" in strength:
        pixels = shift(pixels, strength["shift"], rng)
    if "cover" in strength:
        pixels = _cover(pixels, strength["cover"], rng)
    pixels = Ruin(
        blur=strength.get("blur", 0),
        resolution=strength.get("resolution", FACE_SIZE),
        brightness=float(np.clip(strength.get("bright", 0) - strength.get("dark", 0), -5, 3)),
        contrast=strength.get("contrast", 1),
        rotation=strength.get("rotation", 0) * rng.choice((-1, 1)),
    ).apply(np.ascontiguousarray(pixels))
    if "noise" in strength:
        # the library's grain is the same for every face, which a network would learn by heart
        grain = rng.normal(0, strength["noise"], pixels.shape)
        pixels = np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)
    return jpeg(pixels, strength.get("jpeg", 100))


def _cover(pixels: Pixels, side: float, rng: np.random.Generator) -> Pixels:
    """Hide part of the face, half of the time under another colour than the library's."""
    pixels = np.ascontiguousarray(pixels)
    x, y = rng.uniform(0.2 * FACE_SIZE, 0.8 * FACE_SIZE, 2)
    covered = Ruin(cover=str(rng.choice(COVERS[1:])), x=x, y=y, side=side).apply(pixels)
    if rng.random() < 0.5:  # noqa: PLR2004
        hidden = (covered != pixels).any(axis=2)
        covered = np.where(hidden[..., None], rng.integers(0, 256, 3, np.uint8), pixels)
    return covered
