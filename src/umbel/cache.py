"""The folder where Umbel keeps what it fetched or built, and how files get there whole.

Knows nothing of backbones, packs or downloads. Nothing is created until something is written, so a cache that can
only be read serves what it holds.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from umbel.errors import CacheError, InputError, UmbelError

VARIABLE = "UMBEL_CACHE"
FOLDERS = ("models", "compiled", "parts")
POLL_SECONDS = 0.1
LOCK = ".lock"  # in the folder of a training
_ELSEWHERE = f"set {VARIABLE} to a folder"
_HINTS = {
    errno.ENOSPC: f"free some space there, or {_ELSEWHERE} on another disk",
    errno.EDQUOT: f"free some space there, or {_ELSEWHERE} on another disk",
    errno.EROFS: f"make it writable, or {_ELSEWHERE} that is",
    errno.EACCES: f"make it readable and writable, or {_ELSEWHERE} that is",
    errno.EPERM: f"make it readable and writable, or {_ELSEWHERE} that is",
    errno.EEXIST: f"a file stands where a folder is needed: move it away, or {_ELSEWHERE}",
    errno.ENOTDIR: f"a file stands where a folder is needed: move it away, or {_ELSEWHERE}",
    errno.ENOLCK: f"its file system cannot lock files: {_ELSEWHERE} on a local disk",
}


def cache_root() -> Path:
    """Return the cache's folder, there or not: `UMBEL_CACHE`, else the platform's place for caches.

    Raises:
        CacheError: a file stands there, it may not be looked at, or this user has no home.
    """
    root = _chosen_root()
    with guard(root):
        if root.exists() and not root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return root


def _chosen_root() -> Path:
    try:
        if chosen := os.environ.get(VARIABLE, "").strip():
            return Path(chosen).expanduser().absolute()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "umbel" / "cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "umbel"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "umbel"
    except RuntimeError as error:
        raise CacheError(f"this user has no home folder to put a cache in ({error})", _ELSEWHERE) from error


def cache_folder(*parts: str) -> Path:
    """Return a folder inside the cache, made if need be.

    Raises:
        CacheError: it cannot be made.
    """
    folder = cache_root().joinpath(*parts)
    with guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def sizes() -> dict[str, int]:
    """Return the bytes held by each folder of the cache; 0 for one that is not there.

    Raises:
        CacheError: the cache cannot be read.
    """
    root = cache_root()
    return {name: _size(root / name) for name in FOLDERS}


def _size(folder: Path) -> int:
    with guard(folder):
        return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def delete(path: Path) -> bool:
    """Delete a file or a whole folder; return whether there was one.

    Raises:
        CacheError: it cannot be deleted.
    """
    with guard(path):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        else:
            return False
    return True


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it becomes `path` at the end, or vanishes on any error.

    The file reaches the disk before it takes its name, so a reader sees the old file, the whole new one, or none.
    Any operating-system error in the block counts as the cache's: read from elsewhere outside of it.

    Raises:
        CacheError: it cannot be written, for instance because the disk is full.

    >>> with atomic_write(cache_folder("models") / "note.txt") as temporary:
    ...     temporary.write_text("whole")
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        with guard(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turn an operating-system error on the cache's `path` into a CacheError that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, f"check the disk, or {_ELSEWHERE} elsewhere")
        raise CacheError(f"{path}: the cache cannot be used here ({reason})", hint) from error


@contextmanager
def exclusive(path: Path, held: UmbelError | None = None) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it if this process dies. While another holds it, wait for that.

    The file stays: deleting it would let two processes lock two files of one name.

    Raises:
        CacheError: the file cannot be made or locked.
        UmbelError: `held`, if given, where another process holds it.
    """
    with guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with guard(path):
            while not _try_lock(descriptor):
                if held:
                    raise held
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)  # frees the lock


def sole(folder: Path) -> AbstractContextManager[None]:
    """Keep a training's folder to this process, which would mix its state with that of another.

    Raises:
        InputError: another process is at work there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})", "name another folder") from error
    busy = InputError(f"{folder}: another training is at work there", "wait for its end, or name another folder")
    return exclusive(folder / LOCK, busy)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True
