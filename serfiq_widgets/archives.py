"""Arrays, and a few words about them, as one ``.npz`` file, which is read without trust."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 2**31  # of all arrays of a file
UNSOUND = (  # what the readers of zip, arrays and JSON raise
    *(OSError, LookupError, ValueError, TypeError, EOFError, RecursionError, MemoryError),
    zipfile.BadZipFile,
)


def pack_arrays(arrays: Mapping[str, NDArray[Any]], about: Any, *, key: str = "about") -> bytes:
    """Return the file of these arrays, and of what is to be said of them under ``key``."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays, **{key: np.array(json.dumps(about))})
    return file.getvalue()


def unpack_arrays(
    source: Path | bytes, *, key: str = "about", most: int = MAX_BYTES
) -> tuple[dict[str, NDArray[Any]], Any]:
    """Read what `pack_arrays` made, or another ``.npz`` file, which says nothing of itself.

    Parameters
    ----------
    source : Path or bytes
        The file, or what stands in it.
    key : str
        Where the words are.
    most : int
        Bytes that all arrays may take; nothing is unpacked if they state more.

    Returns
    -------
    arrays : dict of str to ndarray
        No array of objects is read: those could run code.
    about : object
        What was said of them; an empty dict if nothing was.

    Raises
    ------
    One of `UNSOUND`
        The file is missing, broken, too large or something else.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > most:
        raise ValueError(f"its arrays are too large: {size} bytes")
    with np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    about = arrays.pop(key, None)
    return arrays, {} if about is None else json.loads(str(about))
