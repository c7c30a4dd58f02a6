"""Read many images as aligned faces, in order, ahead of the network.

Photos are read in threads, because decoder and detector release the global interpreter lock (GIL).
Aligned crops need so little work that threads would wait for the lock: one thread reads them. With
many files and several cores, processes read them, which do not share the lock.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from serfiq_widgets.errors import SerfiqError, UnreadableImage, drop_traceback, one_line
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.images.read import name_of, read_bytes

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource

CHUNK = 64  # images that are read, scored and kept together
PIECE = 8  # images of a chunk that one thread or process reads at a time
AHEAD = 2  # chunks that are read while one is scored, if the engine takes no more at once
MIN_FOR_PROCESSES = 1024  # images from which starting processes (a second) pays off


@dataclass(frozen=True, eq=False)
class ReadFace:
    """One image before the network gets it.

    Attributes
    ----------
    source : path, bytes, file object, PIL image, array or AlignedFace
        The image as given.
    face : AlignedFace or None
        Its face, if there is one.
    error : SerfiqError or None
        Why there is no face.
    sha256 : str or None
        Hash of the file, if the image is a file that could be read.
    ms : float
        Time to read it, in milliseconds.
    """

    source: ImageSource | AlignedFace
    face: AlignedFace | None
    error: SerfiqError | None = None
    sha256: str | None = None
    ms: float = 0.0


def read_face(
    source: ImageSource | AlignedFace, *, aligned: bool = False, detector: str = "centerface"
) -> ReadFace:
    """Read one image and find its face; exceptions become its ``error``.

    Parameters
    ----------
    source : path, bytes, file object, PIL image, array or AlignedFace
        As for `find_face`; an aligned face is not changed.
    aligned, detector
        As for `find_face`.
    """
    if isinstance(source, AlignedFace):
        return ReadFace(source, source)
    start = perf_counter()
    face = digest = error = None
    try:
        name = name_of(source)
        if isinstance(source, str | Path) or hasattr(source, "read"):
            content = read_bytes(source, name)
            digest = hashlib.sha256(content).hexdigest()
            face = find_face(content, aligned=aligned, name=name, detector=detector)
        else:
            face = find_face(source, aligned=aligned, name=name, detector=detector)
    except SerfiqError as what:
        error = drop_traceback(what)
    except Exception as what:  # noqa: BLE001  # one bad image does not stop the others
        why = f"{type(what).__name__}: {one_line(what)}"
        error = UnreadableImage(f"'{name_of(source)}' cannot be handled ({why}).")
    return ReadFace(source, face, error, digest, 1e3 * (perf_counter() - start))


def chunked(images: Iterable[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    """Yield chunks of fixed size: a network's rounding depends on the batch."""
    stream = iter(images)
    while chunk := list(islice(stream, size)):
        yield chunk


def read_faces(
    chunks: Iterable[Sequence[ImageSource | AlignedFace]],
    *,
    aligned: bool = False,
    detector: str = "centerface",
    ahead: int = AHEAD,
) -> Iterator[list[ReadFace]]:
    """Read images chunk by chunk, some chunks ahead of the one that is yielded.

    Parameters
    ----------
    chunks : iterable of sequences of images
        From `chunked`; consumed lazily.
    aligned, detector
        As for `find_face`.
    ahead : int
        Chunks to read ahead, at least.

    Yields
    ------
    list of ReadFace
        One per image of a chunk, in order.
    """
    read = partial(_read_piece, aligned=aligned, detector=detector)
    readers = _Readers(read, 1 if aligned else cores(), ahead)
    waiting: deque[list[_Piece]] = deque()
    try:
        for chunk in chunks:
            waiting.append(readers.submit(chunk))
            if len(waiting) > readers.ahead:
                yield readers.collect(waiting.popleft())
        while waiting:
            yield readers.collect(waiting.popleft())
    finally:
        readers.close()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_Piece = tuple[Sequence[Any], Future[list[ReadFace]]]


class _Readers:
    """The threads that read images, and the processes that replace them for many files."""

    def __init__(
        self, read: Callable[[Sequence[Any]], list[ReadFace]], threads: int, ahead: int
    ) -> None:
        self.ahead = ahead
        self._read = read
        self._threads = ThreadPoolExecutor(threads)
        self._processes: Any = None
        self._given = 0
        self._may_fork = cores() > 1

    def submit(self, chunk: Sequence[Any]) -> list[_Piece]:
        """Start to read a chunk."""
        self._given += len(chunk)
        executor = self._executor(chunk)
        pieces = (chunk[first : first + PIECE] for first in range(0, len(chunk), PIECE))
        return [(piece, executor.submit(self._read, piece)) for piece in pieces]

    def collect(self, pieces: list[_Piece]) -> list[ReadFace]:
        """Wait for a chunk. If a process died, read its images and all others in this process."""
        read: list[ReadFace] = []
        for piece, future in pieces:
            try:
                read.extend(future.result())
            except BrokenProcessPool:
                self._may_fork = False
                read.extend(self._read(piece))
        return read

    def close(self) -> None:
        """End the threads and processes; cancel pieces that are not started."""
        self._threads.shutdown(cancel_futures=True)
        if self._processes is not None:
            self._processes.shutdown(kill_workers=True)

    def _executor(self, chunk: Sequence[Any]) -> Executor:
        files = self._may_fork and all(isinstance(image, str | Path) for image in chunk)
        if not files or self._given <= MIN_FOR_PROCESSES:
            return self._threads
        if self._processes is None:
            import loky

            count = cores()
            self._processes = loky.ProcessPoolExecutor(
                count, initializer=_one_thread, env={"OPENBLAS_NUM_THREADS": "1"}
            )
            self.ahead = max(self.ahead, -(-2 * count * PIECE // CHUNK))
        executor: Executor = self._processes
        return executor


def _one_thread() -> None:
    """Limit OpenCV to one thread: several such processes share the cores."""
    from serfiq_widgets.images.opencv import import_cv2

    import_cv2().setNumThreads(1)


def _read_piece(images: Sequence[Any], *, aligned: bool, detector: str) -> list[ReadFace]:
    return [read_face(image, aligned=aligned, detector=detector) for image in images]
