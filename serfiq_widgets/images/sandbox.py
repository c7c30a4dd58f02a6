"""Decoding apart: what visitors send, and rarer formats, are decoded in a child with limits.

A decoder that crashes, hangs or eats memory on a hostile file takes only that process with it; the
next photo starts another. The process is small (Pillow, no NumPy), gives up all that decoding does
not need (see `confinement`), and goes away when no photo came for a minute. On Windows, which knows
no such limits, time is limited alone.
"""

from __future__ import annotations

import atexit
import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import EngineUnavailable, UnreadableImage
from serfiq_widgets.images.memory import give_back
from serfiq_widgets.images.metadata import MAX_PIXELS
from serfiq_widgets.images.sandbox_worker import ANSWER, DECODED, ERRORS, LIMITED, READY, REQUEST

MEMORY = 300_000_000  # bytes above what the process has when it starts
SECONDS = 2  # of computing, for one photo
PATIENCE_S = 15  # for its answer: a busy machine may be slow
START_S = 20  # for the process itself; a busy machine may be slow
IDLE_S = 60
MAX_TEXT = 2000  # bytes of a refusal's text
KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "LANG")  # none holds a secret
CHILD = """\
import sys
sys.path.insert(0, {!r})
from serfiq_widgets.images.sandbox_worker import serve
serve({}, {}, {})
"""
NO_PROCESS = (
    "Photos are decoded in a program of their own, and this machine starts no further one just "
    "now. Try again in a moment."
)


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a file in the confined process; one that `images.metadata` has not read comes upright.

    Parameters
    ----------
    content : bytes
        Of any format of `formats`.
    name : str
        What errors call it.

    Returns
    -------
    (H, W, 3) ndarray of uint8
        RGB.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        It is broken, asks for too much, or took too long; the text names it.
    """
    return _child.decode(content, name)


def is_confined() -> bool:
    """Whether system calls are filtered where photos are decoded; if not, there are limits alone.

    Raises
    ------
    EngineUnavailable
        The process does not start.
    """
    return _child.is_confined()


def forget() -> None:
    """End the child, and give back to the system what is no longer used, with what stood there."""
    _child.stop()
    gc.collect()
    give_back()


class _Child:
    """The process that decodes; it is started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._confined = False
        self._lock = threading.Lock()

    def decode(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Send a file and read its pixels, as they are stored."""
        with self._lock:
            process = self._running()
            patience = threading.Timer(PATIENCE_S, process.kill)
            patience.start()
            try:
                return _ask(process, content, name)
            except (OSError, EOFError) as error:
                self.stop()
                raise UnreadableImage(
                    f"'{name}' could not be decoded safely and was dropped: the file is broken, "
                    "or made to do harm. Save the photo anew, or try another one."
                ) from error
            finally:
                patience.cancel()

    def is_confined(self) -> bool:
        """Whether its system calls are filtered."""
        with self._lock:
            self._running()
        return self._confined

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process, self._confined = _start()
        return self._process


def _start() -> tuple[subprocess.Popen[bytes], bool]:
    """Start a child, and return it and whether its system calls are filtered.

    It finds this package where it lies, and inherits nothing of ours.
    """
    code = CHILD.format(str(Path(__file__).parents[2]), MEMORY, SECONDS, IDLE_S)
    try:
        process = subprocess.Popen(  # noqa: S603  # this Python, and code of ours
            [sys.executable, "-I", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
            start_new_session=True,  # an interrupted kernel does not interrupt it
        )
    except OSError as error:
        raise EngineUnavailable(NO_PROCESS) from error
    patience = threading.Timer(START_S, process.kill)
    patience.start()
    ready = cast("IO[bytes]", process.stdout).read(len(READY))
    patience.cancel()
    if ready not in (READY, LIMITED):
        _end(process)
        raise EngineUnavailable(NO_PROCESS)
    return process, ready == READY


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # bytes that it never took
            cast("IO[bytes]", pipe).close()
    process.wait()


def _ask(process: subprocess.Popen[bytes], content: bytes, name: str) -> NDArray[np.uint8]:
    """Send a request and read its answer, of which nothing is believed unchecked.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        The child refuses the file.
    OSError, EOFError
        The child died, was killed, or talks nonsense.
    """
    target, source = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    called = name.encode()
    target.write(REQUEST.pack(len(called), len(content)) + called)
    target.write(content)
    target.flush()
    kind, width, height = ANSWER.unpack(_read(source, ANSWER.size))
    if kind != DECODED:
        if kind > len(ERRORS) or width > MAX_TEXT:
            raise EOFError
        raise ERRORS[kind - 1](_read(source, width).decode(errors="replace"))
    if not 0 < width * height <= MAX_PIXELS:
        raise EOFError
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    _fill(source, pixels.data.cast("B"))
    return pixels


def _fill(source: IO[bytes], target: memoryview) -> None:
    """Fill a buffer from a pipe."""
    if source.readinto(target) < len(target):  # type: ignore[attr-defined]  # pipes have it
        raise EOFError


def _read(source: IO[bytes], size: int) -> bytes:
    """Read as many bytes from a pipe."""
    content = source.read(size)
    if len(content) < size:
        raise EOFError
    return content


_child = _Child()
atexit.register(_child.stop)
