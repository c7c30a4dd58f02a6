"""Image files in folders: which are listed, which are skipped and why, and which are the same."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from serfiq_widgets.images.formats import SUFFIXES

HIDDEN, OF_PROGRAMS = "hidden", "made by programs"
NAMES = {"thumbs.db", "desktop.ini"}
FOLDERS = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
}


def find_images(paths: Iterable[str | Path], skipped: Counter[str] | None = None) -> list[Path]:
    """Return a list of image files: given files, and the sorted contents of folders; see `walk`."""
    return list(walk(paths, skipped))


def drawn(images: list[Path], sample: int | None) -> list[Path]:
    """Return a fixed random sample of the images, sorted; all images if ``sample`` is None."""
    if sample is None or sample >= len(images):
        return images
    return sorted(random.Random(0).sample(images, sample))  # noqa: S311  # needs no security


def walk(paths: Iterable[str | Path], skipped: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the files that `find_images` lists, with only one folder's names in memory.

    In folders, files count as images by their suffix (`formats.SUFFIXES`). Hidden files and
    folders, and those that programs create, are skipped. Links to folders are followed, unless
    they lead back into a folder that is being walked.

    Parameters
    ----------
    paths : iterable of str or Path
        Files and folders. A folder that cannot be listed is yielded itself, so that reading it
        raises an error with the reason.
    skipped : Counter, optional
        Counts the skipped files by suffix, as ``"hidden"`` or as ``"made by programs"``.
    """
    counted: Counter[str] = Counter() if skipped is None else skipped
    for path in map(Path, paths):
        if path.is_dir():
            yield from _inside(path, (), counted)
        else:
            yield path


def _inside(folder: Path, above: tuple[Path, ...], skipped: Counter[str]) -> Iterator[Path]:
    try:
        here = folder.resolve()
        if here in above:
            return
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        yield folder
        return
    for name, is_folder in found:
        if reason := _reason(name, is_folder):
            skipped[reason] += 1
        elif is_folder:
            yield from _inside(folder / name, (*above, here), skipped)
        elif (folder / name).is_file():
            yield folder / name


def _reason(name: str, is_folder: bool) -> str:
    """Return why a file or folder is skipped; empty if it is not skipped."""
    if name.lower() in (FOLDERS if is_folder else NAMES):
        return OF_PROGRAMS
    if name.startswith("."):
        return HIDDEN
    if is_folder or name.lower().endswith(SUFFIXES):
        return ""
    return Path(name).suffix.lower() or "without a suffix"


def describe_skipped(skipped: Counter[str]) -> str:
    """Return a sentence about the skipped files; empty if none was skipped."""
    if not skipped:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    return f"Skipped in the folders, not images: {kinds}."


def same_in_two_folders(images: Iterable[str | Path]) -> list[tuple[Path, Path]]:
    """Find files with the same content (by SHA-256) in different folders.

    Where each folder is one person, the same photo under two people spoils the results: a genuine
    comparison counts as an impostor comparison.

    Returns
    -------
    list of (Path, Path)
        The first file with some content, and each file with the same content in another folder.
    """
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in map(Path, images):
        with suppress(OSError):  # reading the image reports the error
            by_size[path.stat().st_size].append(path)
    pairs: list[tuple[Path, Path]] = []
    for paths in by_size.values():
        first: dict[bytes, Path] = {}
        for path in paths if len(paths) > 1 else ():
            with suppress(OSError), path.open("rb") as file:
                known = first.setdefault(hashlib.file_digest(file, "sha256").digest(), path)
                if known.parent != path.parent:
                    pairs.append((known, path))
    return pairs
