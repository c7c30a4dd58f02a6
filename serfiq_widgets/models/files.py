"""The folder of downloaded models, and the verified installation of their files.

A file gets its final name only after its bytes were verified with its card. Until then it has
another name, and no other code opens it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from serfiq_widgets.atomic import replacing, write_text
from serfiq_widgets.errors import CorruptModel

FOLDER_VARIABLE = "SERFIQ_MODELS"
ACCEPTED = "licence-accepted.txt"


@dataclass(frozen=True)
class ModelFile:
    """One file of a model, as described by its card.

    Attributes
    ----------
    part : str
        "symbol" or "params" of an MXNet checkpoint, "model" of an ONNX file.
    name : str
        Its name in the model's folder.
    sha256 : str
        Hash of the file itself, even if it is in an archive.
    bytes : int
        Its exact size.
    url : str
        Its download address; empty if the user imports it.
    member : str
        Its name in the zip archive at the URL; empty if the URL is the file.
    archive_bytes : int
        Largest allowed size of the archive.
    """

    part: str
    name: str
    sha256: str
    bytes: int
    url: str = ""
    member: str = ""
    archive_bytes: int = 0


def models_folder() -> Path:
    """Return the folder of downloaded models: SERFIQ_MODELS, else one in the user's cache."""
    own = os.environ.get(FOLDER_VARIABLE)
    if own:
        return Path(own).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("serfiq_widgets", appauthor=False) / "models"


def has(folder: Path, file: ModelFile, *, exact: bool = True) -> bool:
    """Return whether a file is in its model's folder, by its size or only by its name."""
    try:
        size = (folder / file.name).stat().st_size
    except OSError:
        return False
    return not exact or size == file.bytes


def is_genuine(path: Path, file: ModelFile) -> bool:
    """Return whether a file has the card's size and hash; it is read completely."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def accept(folder: Path, licence: str) -> None:
    """Record in a model's folder that its licence was accepted."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ACCEPTED, licence)


def is_accepted(folder: Path, licence: str) -> bool:
    """Return whether exactly this licence was accepted before."""
    try:
        return (folder / ACCEPTED).read_text(encoding="utf-8") == licence
    except (OSError, UnicodeDecodeError):
        return False


def install_verified(path: Path, file: ModelFile, folder: Path) -> None:
    """Rename a file to its final name if it matches the card, else delete it.

    Raises
    ------
    CorruptModel
        The size or the sha256 differs.
    """
    if not is_genuine(path, file):
        error = _not_genuine(path, file)
        path.unlink()
        raise error
    path.replace(folder / file.name)


def _not_genuine(path: Path, file: ModelFile) -> CorruptModel:
    return CorruptModel(
        f"The file is not the expected '{file.name}': its size ({path.stat().st_size} bytes, card: "
        f"{file.bytes}) or its sha256 is wrong."
    )


def import_file(source: Path, file: ModelFile, folder: Path, *, exact: bool = True) -> bool:
    """Install the user's own file, or extract it from a zip archive.

    Returns
    -------
    bool
        Whether it matches the card; always true with ``exact``.

    Raises
    ------
    CorruptModel
        It does not match although ``exact`` is true, it is not a regular file (a pipe, a device),
        or the archive is broken.
    """
    if not source.is_file():
        raise CorruptModel(f"'{source}' is not a regular file.")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / file.name) as new:
        if file.member and zipfile.is_zipfile(source):
            extract(source, file, new)
        else:
            shutil.copyfile(source, new)
        genuine = is_genuine(new, file)
        if exact and not genuine:
            raise _not_genuine(new, file)
    return genuine


def extract(archive: Path, file: ModelFile, target: Path) -> None:
    """Extract one member of a zip archive, with at most the bytes that its card allows.

    Raises
    ------
    CorruptModel
        The archive is broken, a member's name leads out of it, or the member is missing or larger
        than the card says.
    """
    try:
        with (
            zipfile.ZipFile(archive) as opened,
            opened.open(_member(opened.infolist(), file)) as content,
            target.open("wb") as out,
        ):
            # a member has at most its stated size, which equals the card's
            shutil.copyfileobj(content, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: an unknown compression, or an encrypted member
        raise CorruptModel(f"It is not a sound zip archive ({error}).") from error


def _member(infos: list[zipfile.ZipInfo], file: ModelFile) -> zipfile.ZipInfo:
    for info in infos:
        name = info.orig_filename
        link = stat.S_ISLNK(info.external_attr >> 16)
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/") or link:
            raise CorruptModel(f"Its member {name!r:.80} would lead out of the archive.")
    found = [i for i in infos if i.filename.rpartition("/")[2] == file.member]
    if len(found) != 1:
        raise CorruptModel(f"It holds {len(found)} members '{file.member}', one was expected.")
    if found[0].file_size != file.bytes:
        raise CorruptModel(
            f"'{file.member}' has {found[0].file_size} bytes in it; the card says {file.bytes}."
        )
    return found[0]
