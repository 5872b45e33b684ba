"""Fetches a file over HTTP into a partial file that a later try goes on from, and checks its hash.

Knows nothing of backbones or package indexes. A connection that breaks is taken up again where it broke; only when
several tries in a row bring nothing is it an error.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPSHandler, OpenerDirector, Request, build_opener
from urllib.response import addinfourl

from umbel.cache import delete, guard
from umbel.errors import DownloadError

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

CHUNK = 1 << 18
TRIES = 3
PAUSE_SECONDS = 0.5  # doubled after each try that brought nothing
TIMEOUT_SECONDS = 60.0
RANGE_REFUSED = 416
_PASSING = {408, RANGE_REFUSED, 425, 429, 500, 502, 503, 504}
_BROKEN = (URLError, TimeoutError, ConnectionError, HTTPException, ssl.SSLError)
OFFLINE_HINT = "check the network (and HTTPS_PROXY, PIP_INDEX_URL where you need them), then try again"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A file to fetch: where it is, how long it is, and the SHA-256 that decides."""

    url: str
    size: int
    sha256: str


class Client:
    """Opens URLs, with the environment's proxies, the given certificates, and the user and password of a URL."""

    def __init__(self, certificates: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        context = ssl.create_default_context(cafile=certificates)
        self._opener: OpenerDirector = build_opener(HTTPSHandler(context=context))
        self._timeout = timeout
        self._logins: dict[str, str] = {}

    def open(self, url: str, headers: dict[str, str]) -> addinfourl:
        """Open `url`; the caller closes what it gets. A login met once serves later URLs of the same host."""
        parts = urlsplit(url)
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._logins[_host(url)] = "Basic " + base64.b64encode(login.encode()).decode()
        try:
            request = Request(redact(url), headers=headers)
        except ValueError as error:
            raise DownloadError(f"{redact(url)!r} is not a URL", "check PIP_INDEX_URL and pip's settings") from error
        if _host(url) in self._logins:
            request.add_unredirected_header("Authorization", self._logins[_host(url)])
        response: addinfourl = self._opener.open(request, timeout=self._timeout)
        return response


def redact(url: str) -> str:
    """Return `url` without the user and password it may carry."""
    return urlunsplit(urlsplit(url)._replace(netloc=_host(url)))


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(remote: Remote, part: Path, client: Client, progress: Progress | None = None) -> None:
    """Make `part` hold the whole of `remote`, going on from the bytes it has; a finished one needs no network.

    Raises:
        DownloadError: it cannot be reached, is not there, breaks off again and again, or is not the expected file, in
            which case `part` is deleted.
        CacheError: `part` cannot be written.
    """
    if _held(part) > remote.size:  # not a beginning of this file
        delete(part)
    resumed = _held(part) > 0
    _complete(remote, part, client, progress)
    if not _is_right(remote, part) and resumed:  # what an earlier run left may be what is wrong
        log.info("%s: the resumed file is damaged; fetching it anew", redact(remote.url))
        delete(part)
        _complete(remote, part, client, progress)
    if not _is_right(remote, part):
        with guard(part):
            found = sha256_of(part)
        delete(part)
        raise DownloadError(
            f"{redact(remote.url)}: found SHA-256 {found}, expected {remote.sha256}; the file was deleted",
            "another file is served under this name: try again, or from another index",
        )


def _is_right(remote: Remote, part: Path) -> bool:
    with guard(part):
        return sha256_of(part) == remote.sha256


def _held(part: Path) -> int:
    with guard(part):
        return part.stat().st_size if part.exists() else 0


def _complete(remote: Remote, part: Path, client: Client, progress: Progress | None) -> None:
    fruitless = 0
    while (held := _held(part)) < remote.size:
        try:
            _go_on(remote, part, client, progress)
            error: Exception | None = None
        except _BROKEN as problem:
            refuse_if_final(remote.url, problem)
            error = problem
            if getattr(problem, "code", 0) == RANGE_REFUSED:
                delete(part)
        fruitless = 0 if _held(part) > held else fruitless + 1
        if fruitless == TRIES:
            raise _unreachable(remote, _held(part), error) from error
        if error or fruitless:
            log.info("%s: broken off at %d bytes (%s)", redact(remote.url), _held(part), error)
            time.sleep(PAUSE_SECONDS * 2**fruitless)
    if held > remote.size:
        delete(part)
        raise _wrong_size(remote, held)


def refuse_if_final(url: str, problem: Exception) -> None:
    """Raise a DownloadError for a problem that another try would not mend."""
    name = redact(url)
    if isinstance(problem, HTTPError):
        problem.close()
        if problem.code in _PASSING:
            return
        raise DownloadError(f"{name}: the server answered {problem.code} {problem.reason}", OFFLINE_HINT) from problem
    if isinstance(getattr(problem, "reason", None), ssl.SSLCertVerificationError):
        hint = "name your network's certificates in SSL_CERT_FILE or pip's `cert` setting"
        raise DownloadError(f"{name}: its certificate is not trusted ({problem})", hint) from problem


def _unreachable(remote: Remote, held: int, error: Exception | None) -> DownloadError:
    reason = getattr(error, "reason", None) or error or "the connection breaks off"
    kept = f"; {held} of {remote.size} bytes are kept for the next try" if held else ""
    return DownloadError(f"{redact(remote.url)}: cannot be fetched ({reason}){kept}", OFFLINE_HINT)


def _wrong_size(remote: Remote, found: int) -> DownloadError:
    return DownloadError(
        f"{redact(remote.url)}: found {found} bytes, expected {remote.size}",
        "another file is served under this name: try again, or from another index",
    )


def _go_on(remote: Remote, part: Path, client: Client, progress: Progress | None) -> None:
    """Ask for the bytes that are missing and append what comes; start over when the server sends all of them."""
    held = _held(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with closing(client.open(remote.url, headers)) as response:
        done = held if response.status == 206 else 0
        if not response.headers.get("Content-Range", f"bytes {done}-").startswith(f"bytes {done}-"):
            delete(part)  # the server sent another stretch than the one asked for
            return
        length = response.headers.get("Content-Length")
        if length and done + int(length) != remote.size:
            raise _wrong_size(remote, done + int(length))
        with guard(part):
            file = part.open("ab" if done else "wb")
        with file:
            for chunk in _chunks(response):
                _append(file, chunk, part)
                done += len(chunk)
                if progress:
                    progress(done, remote.size)
                if done > remote.size:  # checked here, for a server may send without end
                    return


def _chunks(response: addinfourl) -> Iterator[bytes]:
    while chunk := response.read(CHUNK):
        yield chunk


def _append(file: BinaryIO, chunk: bytes, part: Path) -> None:
    with guard(part):
        file.write(chunk)
        file.flush()
