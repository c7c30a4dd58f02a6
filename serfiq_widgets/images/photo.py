"""A visitor's photo: kept without metadata, decoded in a separate process."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import UnreadableImage, clean_name
from serfiq_widgets.images.formats import (
    COMMON,
    FROM_VISITORS,
    NO_HEIF,
    PHONES,
    format_of,
    has_heif,
)
from serfiq_widgets.images.metadata import Picture, essentials
from serfiq_widgets.images.opencv import fitted, shrunk
from serfiq_widgets.images.read import check_bytes, upright
from serfiq_widgets.images.sandbox import decode

PREVIEW_SIDE = 360


class Photo:
    """A visitor's photo: the bytes that a decoder needs, in memory only.

    Metadata (EXIF, comments, profiles, thumbnails) is dropped at once.

    Parameters
    ----------
    content : bytes
        JPEG, PNG, WebP, AVIF or HEIC, at most 20 MB.
    name : str
        The visitor's file name; messages show a cleaned and shortened form.

    Attributes
    ----------
    name : str
        The cleaned name.
    preview : (h, w, 3) ndarray of uint8 or None
        The photo at no more than 360 pixels a side, after the first call of `pixels`.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        As in `read_image`, for faults that the headers show.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.name = clean_name(name)
        check_bytes(content, self.name)
        self._picture = _without_metadata(content, self.name)
        self.preview: NDArray[np.uint8] | None = None

    @property
    def size(self) -> int:
        """Return how many bytes of the photo are kept."""
        return len(self._picture.content)

    def pixels(self) -> NDArray[np.uint8]:
        """Decode the photo in a separate process to upright RGB (H, W, 3).

        Raises
        ------
        UnreadableImage, ImageTooLarge
            The photo is broken, needs too much, or took too long; the text names it.
        """
        pixels = upright(decode(self._picture.content, self.name), self._picture.orientation)
        if self.preview is None:
            height, width = pixels.shape[:2]
            self.preview = shrunk(pixels, fitted(width, height, PREVIEW_SIDE))
        return pixels


def _without_metadata(content: bytes, name: str) -> Picture:
    """Return the image without metadata; AVIF and HEIC are converted to PNG.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        As in `Photo`.
    """
    kind = format_of(content)
    if kind in COMMON:
        return essentials(content, name)
    if kind not in PHONES:
        raise UnreadableImage(f"'{name}' {FROM_VISITORS}")
    if kind == "HEIF" and not has_heif():
        raise UnreadableImage(f"'{name}' {NO_HEIF}")
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(decode(content, name)).save(file, "PNG", compress_level=1)
    return essentials(file.getvalue(), name)
