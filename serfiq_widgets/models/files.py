"""Where downloaded models lie on this machine, and how a file gets there: checked, then whole.

A file gets its final name only after its bytes were found to be those of its card. Until then it
has another name, and nothing opens it.
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
    """One file of a model, as its card describes it.

    Attributes
    ----------
    part : str
        "symbol" or "params" of an MXNet checkpoint, "model" of an ONNX file.
    name : str
        What it is called in the model's folder.
    sha256 : str
        Of the file itself, also where it comes in an archive.
    bytes : int
        Its exact size.
    url : str
        Where it is fetched from; empty if the user places it.
    member : str
        What it is called in the zip archive behind the URL; empty if the URL is the file.
    archive_bytes : int
        Most bytes that the archive may have.
    """

    part: str
    name: str
    sha256: str
    bytes: int
    url: str = ""
    member: str = ""
    archive_bytes: int = 0


def models_folder() -> Path:
    """Return the folder of downloaded models: SERFIQ_MODELS, else in the user's cache folder."""
    own = os.environ.get(FOLDER_VARIABLE)
    if own:
        return Path(own).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("serfiq_widgets", appauthor=False) / "models"


def has(folder: Path, file: ModelFile, *, exact: bool = True) -> bool:
    """Whether a file lies in its model's folder; by its size, or by its name alone."""
    try:
        size = (folder / file.name).stat().st_size
    except OSError:
        return False
    return not exact or size == file.bytes


def is_genuine(path: Path, file: ModelFile) -> bool:
    """Whether a path holds the bytes that the card names; it is read whole."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def accept(folder: Path, licence: str) -> None:
    """Remember, beside a model, that its licence was accepted."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ACCEPTED, licence)


def is_accepted(folder: Path, licence: str) -> bool:
    """Whether this very licence was accepted before."""
    try:
        return (folder / ACCEPTED).read_text(encoding="utf-8") == licence
    except (OSError, UnicodeDecodeError):
        return False


def install_verified(path: Path, file: ModelFile, folder: Path) -> None:
    """Give a file its final name if it is the one of the card, else delete it.

    Raises
    ------
    CorruptModel
        It is not: the size or the sha256 differs.
    """
    if not is_genuine(path, file):
        error = _not_genuine(path, file)
        path.unlink()
        raise error
    path.replace(folder / file.name)


def _not_genuine(path: Path, file: ModelFile) -> CorruptModel:
    return CorruptModel(
        f"The bytes are not those of '{file.name}': {path.stat().st_size} of them where the card "
        f"says {file.bytes}, or another sha256."
    )


def import_file(source: Path, file: ModelFile, folder: Path, *, exact: bool = True) -> bool:
    """Copy the user's own file, or the zip archive that holds it, to its place.

    Returns
    -------
    bool
        Whether it is the file of the card; always true if that is asked for (`exact`).

    Raises
    ------
    CorruptModel
        It is not, although it must be; it is no regular file (a pipe, a device); or the archive is
        broken.
    """
    if not source.is_file():
        raise CorruptModel(f"'{source}' is no regular file.")
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
    """Take one member out of a zip archive, and write no more than its card allows.

    Raises
    ------
    CorruptModel
        It is no sound archive, a member's name leads out of it, or the member is absent or larger
        than the card says.
    """
    try:
        with (
            zipfile.ZipFile(archive) as opened,
            opened.open(_member(opened.infolist(), file)) as content,
            target.open("wb") as out,
        ):
            # a member never gives more than its stated size, which is the card's
            shutil.copyfileobj(content, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # the last: a compression that is not known, or a member that is encrypted
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
