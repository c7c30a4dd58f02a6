"""Fetching a model's files: resumed, bounded, checked, and from documented hosts only.

url -> <file>.part, continued after a break -> size and sha256 of the card -> <file>. Nothing is
fetched that was not asked for by name, and nothing at all while SERFIQ_OFFLINE is set.
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
# GitHub, and the hosts to which it sends those who ask for a release or a large file.
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
    """How patient a download is.

    Attributes
    ----------
    tries : int
        How many connections are opened for one file.
    pause : float
        Seconds between them.
    stall : float
        Seconds without a byte after which a connection counts as broken.
    local : bool
        Whether plain http to this very machine is allowed, as tests need it.
    """

    tries: int = 4
    pause: float = 1.0
    stall: float = 20.0
    local: bool = False


PATIENT = Rules()


class _Refused(Exception):
    """The server or the file is not as it must be; another try would not help."""


class _BrokenOff(Exception):
    """The connection failed; another try may go on where it stopped."""


def download(
    file: ModelFile,
    folder: Path,
    progress: Progress | None = None,
    rules: Rules = PATIENT,
) -> None:
    """Fetch one file of a model into the model's folder, if it is not there.

    Parameters
    ----------
    file : ModelFile
        What is wanted: its name, URL, size and sha256.
    folder : Path
        The model's folder; it is made if needed.
    progress : callable, optional
        Called with the bytes that are here and their number in the end, None if not known.
    rules : Rules
        How patient to be.

    Raises
    ------
    DownloadFailed
        The text says why, and how to place the file by hand. Nothing has the file's name then; a
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
    """Keep a second download out: both would write into the same partial file."""
    if sys.platform == "win32":  # an open file cannot be replaced there anyway
        yield
        return
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise _Refused("Another download of this model is under way.") from error
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
        # what was continued may have been a part of something else: once more, from the start
        _fetch(file, part, progress, rules)
        _settle(file, part, folder)


def _settle(file: ModelFile, part: Path, folder: Path) -> None:
    """Give the file its name if it is the card's; what was fetched has served in either case."""
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
    """Bring the partial file to its full length, over several connections if they break."""
    for left in reversed(range(rules.tries)):
        try:
            _connect(file, part, progress, rules)
        except _BrokenOff as error:
            if not left:
                raise _BrokenOff(
                    f"{error} It was tried {rules.tries} times; the same command goes on from here."
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
        raise _BrokenOff(f"The connection broke off after {done} of {total} bytes.")


def _open(url: str, headers: dict[str, str], rules: Rules) -> HTTPResponse:
    opener = build_opener(_Redirects(rules))  # proxies are those of the environment
    request = Request(url, headers=headers)  # noqa: S310  # its scheme was checked
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
    """Read where the answer starts, and how long the whole is; refuse what does not fit."""
    start, total = 0, response.length
    if have and response.status == PARTIAL:
        span = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", span)
        if not match or int(match[1]) != have or whole not in (None, int(match[2])):
            _discard(part)
            raise _BrokenOff(f"The server continues with something else ({span!r:.60}).")
        start, total = have, int(match[2])
    elif response.status != OK:
        raise _Refused(f"The server answers {response.status} ({response.reason}).")
    if file.member:
        fits = total is None or total <= file.archive_bytes
    else:
        fits = total in (None, file.bytes)
        total = file.bytes
    if not fits:
        raise _Refused(
            f"The server offers {response.length} bytes; "
            f"the card says {file.archive_bytes or file.bytes}."
        )
    return start, total


def _pour(
    response: HTTPResponse,
    out: IO[bytes],
    file: ModelFile,
    progress: Progress,
    done: int,
    total: int | None,
) -> int:
    """Write what comes, never more than the card allows, and return how much is there then."""
    most = total or file.archive_bytes
    while done < most:
        try:
            block = response.read1(min(BLOCK, most - done))
        except (OSError, HTTPException) as error:
            raise _BrokenOff(f"The connection broke off after {done} bytes ({error}).") from error
        if not block:
            break
        out.write(block)
        done += len(block)
        progress(done, total)
    return done


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect only to where the first request might have gone."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Check the address, and keep the headers that ask for a range."""
        try:
            _check_address(newurl, self.rules)
        except _Refused:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str, rules: Rules) -> None:
    """Let only documented hosts pass; the whole authority is compared, so no port or user hides."""
    scheme, host = "", ""
    with suppress(ValueError):  # of an address that is none
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.netloc.lower().removesuffix(":443")
    local = rules.local and scheme == "http" and host.partition(":")[0] in THIS_MACHINE
    if not local and (scheme != "https" or host not in HOSTS):
        raise _Refused(
            f"It would come from '{scheme}://{host}'; "
            f"allowed are, over https, {', '.join(sorted(HOSTS))}."
        )


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, url: str, etag: str, total: int | None) -> None:
    """Write down what the partial file is a part of; a weak ETag cannot hold a range."""
    strong = etag if etag.startswith('"') else ""
    content = {"url": url, "etag": strong, "total": total}
    _note(part).write_text(json.dumps(content), encoding="utf-8")


def _what_is_here(file: ModelFile, part: Path) -> tuple[int, str, int | None]:
    """Return bytes, ETag and full length of the partial file; one of unknown origin is deleted."""
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
