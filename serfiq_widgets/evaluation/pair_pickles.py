"""InsightFace's ``.bin`` files: encoded images and whether each pair is genuine.

Such a file (LFW, CFP-FP, AgeDB-30 ...) is a pickle of ``(images, same)``: 2P encoded images as
bytes, and P booleans. A pickle is a program that may call anything, so it is not loaded: its
opcodes are only parsed (`pickletools.genops`), and those that build lists, bytes and numbers are
followed here. Any other opcode is refused, and nothing of the file is ever called.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadTable, one_line

MAX_BYTES = 2**30
MARK, ENCODE = object(), object()
ENCODERS = ("_codecs encode", ["_codecs", "encode"])  # how Python 3 writes bytes for Python 2
IGNORED = {"PROTO", "FRAME", "STOP"}
EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": list}  # tuples are read as lists
VALUES = {"NEWTRUE": True, "NEWFALSE": False}
WITH_VALUE = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pair_images(file: Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Read the images and pairs of a ``.bin`` file of InsightFace.

    Returns
    -------
    list of bytes
        2P encoded images (JPEG or PNG); pair i has the images 2i and 2i + 1.
    (P,) ndarray of bool
        Whether each pair is genuine.

    Raises
    ------
    BadTable
        The file is missing, broken, above 1 GB or contains something else; the text names it.
    """
    try:
        images, same = _checked(_parsed(_bytes(file)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadTable(
            f"'{file.name}' is not a .bin file of images and pairs: {one_line(error)}"
        ) from error
    return images, same


def _bytes(file: Path) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return file.read_bytes()


def _checked(found: Any) -> tuple[list[bytes], NDArray[np.bool_]]:
    if not isinstance(found, list) or [type(part) for part in found] != [list, list]:
        raise ValueError("it does not hold two lists")
    images, same = found
    if not same:
        raise ValueError("it has no pair")
    if len(images) != 2 * len(same):
        raise ValueError(f"it has {len(images)} images for {len(same)} pairs")
    images = [image.encode("latin-1") if isinstance(image, str) else image for image in images]
    for place, image in enumerate(images):
        if not isinstance(image, bytes) or not image:
            raise ValueError(f"its image {place} is no bytes")
    if not all(isinstance(mark, int) and mark in (0, 1) for mark in same):
        raise ValueError("its pairs are not marked with true or false")
    return images, np.array(same, bool)


def _parsed(data: bytes) -> Any:
    """Return what a pickle of lists, tuples, bytes, text and whole numbers describes."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, place in pickletools.genops(data):
        value: Any = argument
        name = opcode.name
        if name in IGNORED:
            continue
        if name in WITH_VALUE or name in VALUES:
            stack.append(VALUES.get(name, value))
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name == "MARK":
            stack.append(MARK)
        elif name in PUTS or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else int(value)] = stack[-1]
        elif name in GETS:
            stack.append(memo[int(value)])
        else:
            _build(stack, name, value, place)
    if len(stack) != 1:
        raise ValueError("it does not end with one value")
    return stack[0]


def _build(stack: list[Any], name: str, value: Any, place: int | None) -> None:
    """Follow an opcode that joins values of the stack."""
    if name in TUPLES:
        if len(stack) < TUPLES[name]:
            raise ValueError(f"values are missing at byte {place}")
        parts = stack[-TUPLES[name] :]
        stack[-TUPLES[name] :] = [parts]
    elif name in ("LIST", "TUPLE", "APPENDS"):
        begin = len(stack) - 1 - stack[::-1].index(MARK)
        parts = stack[begin + 1 :]
        del stack[begin:]
        if name == "APPENDS":
            _own_list(stack).extend(parts)
        else:
            stack.append(parts)
    elif name == "APPEND":
        part = stack.pop()
        _own_list(stack).append(part)
    elif name == "GLOBAL" and value == ENCODERS[0]:
        stack.append(ENCODE)
    elif name == "STACK_GLOBAL" and stack[-2:] == ENCODERS[1]:
        stack[-2:] = [ENCODE]
    elif name == "REDUCE" and stack[-2] is ENCODE:
        text, _ = stack[-1]
        stack[-2:] = [text.encode("latin-1")]
    else:
        raise ValueError(f"its byte {place} asks for {name}, which is not followed")


def _own_list(stack: list[Any]) -> list[Any]:
    if not isinstance(stack[-1], list):
        raise TypeError("something is appended to what is no list")
    return stack[-1]
