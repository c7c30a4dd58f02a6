"""Download of a model's files: resumed, limited, verified, and from documented hosts only.

url -> <file>.part, continued after an interruption -> size and sha256 of the card -> <file>. Only
files requested by name are downloaded, and none while SERFIQ_OFFLINE is set.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from serfiq_widgets.errors import CorruptModel, DownloadFailed
from serfiq_widgets.models.files import ModelFile, extract, install_verified, is_genuine

OFFLINE_VARIABLE = "SERFIQ_OFFLINE"
# GitHub, and the hosts to which it redirects requests for releases and large files.
HOSTS = frozenset(
    {
        "github.com",
        "media.githubusercontent.com",
        "objects.githubusercontent.com",
        "raw.githubusercontent.com",
        "release-assets.githubusercontent.com",
    }
)
THIS_MACHINE = ("127.0.0.1", "localhost")
BLOCK = 1 << 16
OK, PARTIAL, RANGE_REFUSED, SERVER_TROUBLE = 200, 206, 416, 500
PASSING = (408, 429)

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Rules:
    """Retries and timeouts of a download.

    Attributes
    ----------
    tries : int
        Number of connections for one file.
    pause : float
        Seconds between them.
    stall : float
        Seconds without a byte after which a connection counts as broken.
    local : bool
        Whether plain http to this machine is allowed, as needed by tests.
    """

    tries: int = 4
    pause: float = 1.0
    stall: float = 20.0
    local: bool = False


PATIENT = Rules()


class _Refused(Exception):
    """The server or the file is wrong; another try would not help."""


class _BrokenOff(Exception):
    """The connection failed; another try may continue."""


def download(
    file: ModelFile,
    folder: Path,
    progress: Progress | None = None,
    rules: Rules = PATIENT,
) -> None:
    """Download one file of a model into the model's folder, if it is missing.

    Parameters
    ----------
    file : ModelFile
        The file's name, URL, size and sha256.
    folder : Path
        The model's folder; it is created if needed.
    progress : callable, optional
        Called with the downloaded and the total bytes; the total is None if unknown.
    rules : Rules
        Retries and timeouts.

    Raises
    ------
    DownloadFailed
        The text says why, and how to import the file. No file with the final name exists then; a
        partial download is kept and continued next time.
    """
    if is_genuine(folder / file.name, file):
        return
    try:
        _check_online()
        _check_address(file.url, rules)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _fetch_and_settle(file, folder, progress or (lambda *_: None), rules)
    except (_Refused, _BrokenOff, CorruptModel, OSError) as error:
        raise DownloadFailed(
            f"'{file.name}' was not downloaded. {error}\n"
            f"You can also get {file.url} with a browser, then: "
            f"serfiq models import {folder.name} FILE. Its place is {folder / file.name}."
        ) from error


def _check_online() -> None:
    if os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
        raise _Refused(f"{OFFLINE_VARIABLE} is set, so no connection is opened.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Prevent a second download, which would write to the same partial file."""
    if sys.platform == "win32":  # there, an open file cannot be replaced
        yield
        return
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise _Refused("Another download of this model is running.") from error
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(lock)


def _fetch_and_settle(file: ModelFile, folder: Path, progress: Progress, rules: Rules) -> None:
    part = folder / f"{file.name}{'.zip' if file.member else ''}.part"
    resumed = part.exists()
    _fetch(file, part, progress, rules)
    try:
        _settle(file, part, folder)
    except CorruptModel:
        if not resumed:
            raise
        # the partial file may belong to another file: try once more, from the start
        _fetch(file, part, progress, rules)
        _settle(file, part, folder)


def _settle(file: ModelFile, part: Path, folder: Path) -> None:
    """Rename the file if it matches the card; delete the download in both cases."""
    member = folder / f"{file.name}.part"
    try:
        if file.member:
            extract(part, file, member)
        install_verified(member, file, folder)
    except CorruptModel:
        member.unlink(missing_ok=True)
        _discard(part)
        raise
    _discard(part)


def _fetch(file: ModelFile, part: Path, progress: Progress, rules: Rules) -> None:
    """Complete the partial file, with several connections if they are interrupted."""
    for left in reversed(range(rules.tries)):
        try:
            _connect(file, part, progress, rules)
        except _BrokenOff as error:
            if not left:
                raise _BrokenOff(
                    f"{error} It was tried {rules.tries} times; the same command continues."
                ) from error
            time.sleep(rules.pause)
        else:
            return


def _connect(file: ModelFile, part: Path, progress: Progress, rules: Rules) -> None:
    have, etag, whole = _what_is_here(file, part)
    if have == whole:
        return
    headers = {"User-Agent": "serfiq_widgets", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag:
            headers["If-Range"] = etag
    try:
        response = _open(file.url, headers, rules)
    except HTTPError as error:
        with error:
            if error.code == RANGE_REFUSED and have:
                _discard(part)
            elif error.code < SERVER_TROUBLE and error.code not in PASSING:
                raise _Refused(f"The server answers {error.code} ({error.reason}).") from error
            raise _BrokenOff(f"The server answers {error.code} ({error.reason}).") from error
    with response:
        start, total = _read_head(response, file, part, have, whole)
        _write_note(part, file.url, response.headers.get("ETag", ""), total)
        with part.open("ab" if start else "wb") as out:
            done = _pour(response, out, file, progress, start, total)
    if total is not None and done < total:
        raise _BrokenOff(f"The connection was interrupted after {done} of {total} bytes.")


def _open(url: str, headers: dict[str, str], rules: Rules) -> HTTPResponse:
    opener = build_opener(_Redirects(rules))  # uses the proxies of the environment
    request = Request(url, headers=headers)  # noqa: S310  # its scheme is checked
    try:
        response: HTTPResponse = opener.open(request, timeout=rules.stall)
    except HTTPError:
        raise
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _Refused(f"The server's certificate is not trusted ({reason}).") from error
        raise _BrokenOff(f"{urlsplit(url).hostname} cannot be reached ({reason}).") from error
    return response


def _read_head(
    response: HTTPResponse, file: ModelFile, part: Path, have: int, whole: int | None
) -> tuple[int, int | None]:
    """Return the start of the answer and the total length; refuse wrong answers."""
    start, total = 0, response.length
    if have and response.status == PARTIAL:
        span = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", span)
        if not match or int(match[1]) != have or whole not in (None, int(match[2])):
            _discard(part)
            raise _BrokenOff(f"The server sent a wrong range ({span!r:.60}).")
        start, total = have, int(match[2])
    elif response.status != OK:
        raise _Refused(f"The server answers {response.status} ({response.reason}).")
    stated = file.archive_bytes if file.member else file.bytes
    if total is not None and (total > stated if file.member else total != stated):
        raise _Refused(f"The server offers {total} bytes; the card says {stated}.")
    return start, total if file.member else stated


def _pour(
    response: HTTPResponse,
    out: IO[bytes],
    file: ModelFile,
    progress: Progress,
    done: int,
    total: int | None,
) -> int:
    """Write the received bytes, at most as many as the card allows; return the file's size."""
    most = total or file.archive_bytes
    while done < most:
        try:
            block = response.read1(min(BLOCK, most - done))
        except (OSError, HTTPException) as error:
            raise _BrokenOff(f"The connection failed after {done} bytes ({error}).") from error
        if not block:
            break
        out.write(block)
        done += len(block)
        progress(done, total)
    return done


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect only to an allowed address."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Check the address, and keep the range headers."""
        try:
            _check_address(newurl, self.rules)
        except _Refused:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str, rules: Rules) -> None:
    """Refuse undocumented hosts; the whole authority is compared, including port and user."""
    scheme, host = "", ""
    with suppress(ValueError):  # for an invalid address
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.netloc.lower().removesuffix(":443")
    local = rules.local and scheme == "http" and host.partition(":")[0] in THIS_MACHINE
    if not local and (scheme != "https" or host not in HOSTS):
        raise _Refused(
            f"The address is '{scheme}://{host}'; "
            f"allowed are, over https, {', '.join(sorted(HOSTS))}."
        )


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, url: str, etag: str, total: int | None) -> None:
    """Record the source of the partial file; a weak ETag is useless for ranges."""
    strong = etag if etag.startswith('"') else ""
    content = {"url": url, "etag": strong, "total": total}
    _note(part).write_text(json.dumps(content), encoding="utf-8")


def _what_is_here(file: ModelFile, part: Path) -> tuple[int, str, int | None]:
    """Return bytes, ETag and total length of the partial file; delete one of unknown origin."""
    whole = None if file.member else file.bytes
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        have, url, etag, total = part.stat().st_size, note["url"], note["etag"], note["total"]
    except (OSError, ValueError, KeyError, TypeError):
        have, url, etag, total = 0, "", "", None
    whole = whole or total
    if url != file.url or (whole is not None and have > whole):
        _discard(part)
        return 0, "", None if file.member else file.bytes
    return have, etag, whole


def _discard(part: Path) -> None:
    for path in (part, _note(part)):
        path.unlink(missing_ok=True)
