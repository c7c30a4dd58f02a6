"""Reader of MXNet's ``.params`` files (NDArray list format), without mxnet.

The file is a header, a count of arrays, the arrays, a count of names, the names. Every size is
compared with the rest of the file before memory is allocated, so a hostile file needs no more
memory than its own length.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.checkpoints import read_file
from serfiq_widgets.errors import CorruptModel

LIST_MAGIC = 0x112
MAGIC_V1, MAGIC_V2, MAGIC_V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 0
MAX_DIMENSIONS, MAX_NAME = 32, 4096
DTYPES: dict[int, str] = {0: "f4", 1: "f8", 2: "f2", 3: "u1", 4: "i4", 5: "i1", 6: "i8", 7: "?"}


class _Cursor:
    """Reads a buffer from its start, and refuses to read past its end."""

    def __init__(self, content: memoryview, name: str) -> None:
        self.content, self.name, self.at = content, name, 0

    def fail(self, why: str) -> CorruptModel:
        return CorruptModel(
            f"'{self.name}' is not a sound MXNet parameter file: {why}. Copy it again."
        )

    @property
    def left(self) -> int:
        return len(self.content) - self.at

    def take(self, size: int, what: str) -> memoryview:
        if size > self.left:
            raise self.fail(f"it ends inside {what} (byte {self.at} of {len(self.content)})")
        self.at += size
        return self.content[self.at - size : self.at]

    def numbers(self, form: str, what: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}"), what))

    def number(self, form: str, what: str) -> int:
        return int(self.numbers(form, what)[0])

    def count(self, least_size: int, what: str) -> int:
        count = self.number("Q", what)
        if count * least_size > self.left:
            raise self.fail(
                f"it claims {count} {what}, more than its {len(self.content)} bytes hold"
            )
        return count


def read_params(source: bytes | Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a parameter file.

    Parameters
    ----------
    source : bytes or Path
        The file or its content.

    Returns
    -------
    dict of str to ndarray
        Names as in the file (``arg:...``, ``aux:...``), read-only arrays in the file's own types.

    Raises
    ------
    CorruptModel
        The file is inconsistent; the text names the file and the place.
    """
    name = source.name if isinstance(source, Path) else "the parameters"
    content = read_file(source) if isinstance(source, Path) else source
    cursor = _Cursor(memoryview(content), name)
    if cursor.number("Q", "its header") != LIST_MAGIC:
        raise cursor.fail("its header is wrong")
    cursor.take(8, "its header")
    arrays = [_array(cursor) for _ in range(cursor.count(8, "arrays"))]
    names = [_name(cursor) for _ in range(cursor.count(8, "names"))]
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise cursor.fail(f"{len(arrays)} arrays do not match {len(set(names))} names")
    if cursor.left:
        raise cursor.fail(f"{cursor.left} bytes follow its end")
    return dict(zip(names, arrays, strict=True))


def _array(cursor: _Cursor) -> NDArray[Any]:
    magic = cursor.number("I", "an array")
    if magic in (MAGIC_V2, MAGIC_V3):
        if cursor.number("i", "an array") != DENSE:
            raise cursor.fail("it holds a sparse array")
        shape = _shape(cursor, cursor.number("i", "a shape"), "q")
    elif magic == MAGIC_V1:
        shape = _shape(cursor, cursor.number("I", "a shape"), "q")
    else:  # the oldest format begins with the number of dimensions
        shape = _shape(cursor, magic, "I")
    cursor.take(8, "an array's device")
    code = cursor.number("i", "an array's type")
    if code not in DTYPES:
        raise cursor.fail(f"an array has the unknown type {code}")
    dtype = np.dtype(DTYPES[code]).newbyteorder("<")
    data = cursor.take(math.prod(shape) * dtype.itemsize, f"an array of shape {shape}")
    return np.frombuffer(data, dtype).reshape(shape)


def _shape(cursor: _Cursor, dimensions: int, form: str) -> tuple[int, ...]:
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise cursor.fail(f"an array has {dimensions} dimensions")
    shape = tuple(int(size) for size in cursor.numbers(f"{dimensions}{form}", "a shape"))
    if min(shape) < 1:
        raise cursor.fail(f"an array has the shape {shape}")
    return shape


def _name(cursor: _Cursor) -> str:
    size = cursor.number("Q", "a name")
    if size > MAX_NAME:
        raise cursor.fail(f"a name is {size} bytes long")
    try:
        return bytes(cursor.take(size, "a name")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise cursor.fail("a name is not text") from error
