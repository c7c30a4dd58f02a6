"""From an image to an aligned face: detect, align.

A detector finds the faces and their five landmarks; the selected face is warped onto the ArcFace
template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import NoFaceFound, UnreadableImage
from serfiq_widgets.faces.alignment import FACE_SIZE, AlignedFace, align
from serfiq_widgets.faces.detectors import Detection, open_detector
from serfiq_widgets.images.opencv import import_cv2
from serfiq_widgets.images.read import name_of, read_image

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource


SQUARE_TOLERANCE = 0.02


def detect(pixels: NDArray[np.uint8], detector: str = "centerface") -> list[Detection]:
    """Find the faces in a photo.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB.
    detector : {"centerface", "mtcnn", "yunet"}
        Face detector; see `open_detector`, also for its exceptions.

    Returns
    -------
    list of Detection
        The largest central one first: ordered by the area of the box minus twice the squared
        distance of its centre from the photo's centre.
    """
    middle = np.array(pixels.shape[1::-1]) / 2

    def rank(found: Detection) -> float:
        left, top, right, bottom = found.box
        off = (np.array([left + right, top + bottom]) / 2 - middle) ** 2
        return (right - left) * (bottom - top) - 2.0 * float(off.sum())

    return sorted(open_detector(detector)(pixels), key=rank, reverse=True)


def find_face(
    source: ImageSource,
    *,
    aligned: bool = False,
    name: str | None = None,
    which: int = 0,
    detector: str = "centerface",
) -> AlignedFace:
    """Read an image, find the face and align it.

    Parameters
    ----------
    source : path, bytes, file object, PIL image or array
        As for `read_image`.
    aligned : bool
        The image is already a square face crop on the ArcFace template: it is only resized.
    name : str, optional
        Name of the image in messages.
    which : int
        Index of the face, in the order of `detect`: 0 is the largest central one.
    detector : {"centerface", "mtcnn", "yunet"}
        Face detector.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        As for `read_image`; also if ``aligned`` is set and the image is not square.
    NoFaceFound
        The detector found no face, or none of index ``which``.
    BadSetting, EngineUnavailable, CorruptModel
        The detector is unknown, or cannot be opened here; see `open_detector`.
    """
    name = name or name_of(source)
    pixels = read_image(source, name)
    height, width = pixels.shape[:2]
    if aligned:
        if abs(width - height) > SQUARE_TOLERANCE * max(width, height):
            raise UnreadableImage(
                f"'{name}' is {width}\u00d7{height}: an aligned face is square. "
                "Score it as a photo, without 'aligned'."
            )
        if (height, width) != (FACE_SIZE, FACE_SIZE):
            cv2 = import_cv2()
            method = cv2.INTER_AREA if height > FACE_SIZE else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (FACE_SIZE, FACE_SIZE), interpolation=method)
        return AlignedFace(pixels, name, photo_size=(width, height))
    found = detect(pixels, detector)
    if not found:
        del pixels  # the error's traceback must not keep the photo
        raise NoFaceFound(
            f"No face was found in '{name}'. Try a photo in which the face is larger, lit and seen "
            "from the front, or mark it as aligned if it is a face crop already."
        )
    if not 0 <= which < len(found):
        raise NoFaceFound(f"'{name}' has {len(found)} faces; there is no face number {which}.")
    one = found[which]
    return AlignedFace(
        pixels=align(pixels, one.landmarks),
        name=name,
        box=one.box,
        landmarks=one.landmarks,
        confidence=one.confidence,
        detector=detector,
        n_faces=len(found),
        boxes=tuple(face.box for face in found),
        which=which,
        photo_size=(width, height),
    )
