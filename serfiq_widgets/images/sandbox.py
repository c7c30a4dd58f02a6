"""Decoding of visitors' files and of rare formats in a child process with limits.

If a decoder crashes, hangs or uses too much memory on a hostile file, only that process ends; the
next photo starts another one. The process is small (Pillow, no NumPy), has only the permissions
that decoding needs (see `confinement`), and ends after a minute without a photo. Windows has no
such limits; there only the time is limited.
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
from serfiq_widgets.images.metadata import MAX_PIXELS, too_large
from serfiq_widgets.images.sandbox_worker import ANSWER, DECODED, ERRORS, LIMITED, READY, REQUEST

MEMORY = 300_000_000  # bytes, in addition to those at its start
SECONDS = 2  # of CPU time, for one photo
PATIENCE_S = 15  # until the answer: a busy machine may be slow
START_S = 20  # until the process is ready; a busy machine may be slow
IDLE_S = 60
MAX_TEXT = 2000  # bytes of an error text
KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "LANG")  # no secrets
CHILD = """\
import sys
sys.path.insert(0, {!r})
from serfiq_widgets.images.sandbox_worker import serve
serve({}, {}, {})
"""
NO_PROCESS = (
    "Photos are decoded in a separate process, and this machine cannot start another process just "
    "now. Try again in a moment."
)


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a file in the confined process; `formats.APART` files are turned upright.

    Parameters
    ----------
    content : bytes
        A file of any format in `formats`.
    name : str
        The file's name in error messages.

    Returns
    -------
    (H, W, 3) ndarray of uint8
        RGB.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        The file is broken, needs too much, or took too long; the text names it.
    """
    return _child.decode(content, name)


def is_confined() -> bool:
    """Return whether system calls are filtered in the decoder process; else it has limits only.

    Raises
    ------
    EngineUnavailable
        The process cannot be started.
    """
    return _child.is_confined()


def forget() -> None:
    """End the child process, and return freed memory to the system."""
    _child.stop()
    gc.collect()
    give_back()


class _Child:
    """The decoder process, started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._confined = False
        self._lock = threading.Lock()

    def decode(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Send a file to the process and read its pixels."""
        with self._lock:
            process = self._running()
            patience = threading.Timer(PATIENCE_S, process.kill)
            patience.start()
            try:
                return _ask(process, content, name)
            except MemoryError as error:  # of this process
                self.stop()
                raise too_large(name, "needs too much memory to decode") from error
            except (OSError, EOFError) as error:
                self.stop()
                raise UnreadableImage(
                    f"'{name}' could not be decoded safely and was dropped: the file is broken, "
                    "or made to do harm. Save the photo again, or try another one."
                ) from error
            finally:
                patience.cancel()

    def is_confined(self) -> bool:
        """Return whether its system calls are filtered."""
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
    """Start a child process; return it, and whether its system calls are filtered.

    It imports this package by its path, and inherits no files and few environment variables.
    """
    code = CHILD.format(str(Path(__file__).parents[2]), MEMORY, SECONDS, IDLE_S)
    try:
        process = subprocess.Popen(  # noqa: S603  # this Python with fixed code
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
        with suppress(OSError):  # unsent bytes
            cast("IO[bytes]", pipe).close()
    process.wait()


def _ask(process: subprocess.Popen[bytes], content: bytes, name: str) -> NDArray[np.uint8]:
    """Send a request, then read and check its answer.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        The child refuses the file.
    OSError, EOFError
        The child crashed, was killed, or sent an invalid answer.
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
    """Read ``size`` bytes from a pipe."""
    content = source.read(size)
    if len(content) < size:
        raise EOFError
    return content


_child = _Child()
atexit.register(_child.stop)
