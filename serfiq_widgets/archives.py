"""Arrays with a description in one ``.npz`` file, which may come from an untrusted source."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 2**31  # for all arrays of a file
UNSOUND = (  # errors of the readers of zip, arrays and JSON
    *(OSError, LookupError, ValueError, TypeError, EOFError, RecursionError, MemoryError),
    zipfile.BadZipFile,
)


def pack_arrays(arrays: Mapping[str, NDArray[Any]], about: Any, *, key: str = "about") -> bytes:
    """Return the bytes of a file with these arrays, and with ``about`` under ``key``."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays, **{key: np.array(json.dumps(about))})
    return file.getvalue()


def unpack_arrays(
    source: Path | bytes, *, key: str = "about", most: int = MAX_BYTES
) -> tuple[dict[str, NDArray[Any]], Any]:
    """Read a file of `pack_arrays`, or another ``.npz`` file, which has no description.

    Parameters
    ----------
    source : Path or bytes
        The file, or its content.
    key : str
        The key of the description.
    most : int
        Largest total size of the arrays in bytes; larger files are not unpacked.

    Returns
    -------
    arrays : dict of str to ndarray
        Arrays of objects are refused: they could run code.
    about : object
        The description; an empty dict if there is none.

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
