"""Folders with temporary files that a killed server leaves and the next server removes.

A server holds a lock on a file in each of its folders for as long as it runs. The system releases
the lock when the process ends, however it ends.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LOCK = "serfiq.lock"
PREFIXES = ("serfiq_", "voila_")  # this package's, and Voila's with connection files and keys
_held: list[int] = []


def claim(folder: Path) -> None:
    """Mark a folder as used until this process ends."""
    if sys.platform == "win32":
        return
    new = folder / f"{LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(folder / LOCK)  # it is locked before it gets its name
    _held.append(lock)


def remove_abandoned(roots: Iterable[Path]) -> None:
    """Remove the folders directly below ``roots`` that ended processes had claimed.

    Only folders of this user with one of `PREFIXES` and a lock file are removed.
    """
    if sys.platform == "win32":
        return
    for root in roots:
        for folder in root.iterdir():
            if folder.name.startswith(PREFIXES) and _is_own_folder(folder):
                _remove_if_abandoned(folder)


def _is_own_folder(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # no lock file: the folder of another program
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:  # its process runs
        pass
    finally:
        os.close(lock)
