"""Where the cache is, how files get into it whole, and what is said when they cannot."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from umbel.cache import atomic_write, cache_folder, cache_root, delete, exclusive, guard, sizes, sole
from umbel.errors import CacheError, InputError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_variable_names_the_cache_and_nothing_is_made(root: Path) -> None:
    assert cache_root() == root
    assert not root.exists()


def test_a_blank_variable_counts_as_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_CACHE", " ")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_root() == root / "umbel"


def test_a_relative_cache_and_a_home_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", "here")
    assert cache_root() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UMBEL_CACHE", "~/there")
    assert cache_root() == tmp_path / "there"


def test_folders_are_made_and_sizes_counted(root: Path) -> None:
    assert sizes() == {"models": 0, "compiled": 0, "parts": 0}
    (cache_folder("models", "a") / "weights").write_bytes(b"12345")
    (cache_folder("parts") / "b").write_bytes(b"1")
    assert sizes() == {"models": 5, "compiled": 0, "parts": 1}


def test_a_file_where_the_cache_should_be_is_told(root: Path) -> None:
    root.write_text("a file")
    for attempt in (cache_root, sizes, lambda: cache_folder("models")):
        with pytest.raises(CacheError, match="cache") as caught:
            attempt()
        assert str(root) in caught.value.message
        assert "move it away" in caught.value.hint


def test_a_file_where_a_folder_should_be_is_told(root: Path) -> None:
    root.mkdir()
    (root / "models").write_text("a file")
    with pytest.raises(CacheError, match="models") as caught:
        cache_folder("models", "e5-small")
    assert "move it away" in caught.value.hint


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses folders")
def test_a_cache_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_CACHE", "/proc/umbel")
    with pytest.raises(CacheError, match=r"/proc/umbel.*the cache cannot be used here"):
        cache_folder("models")


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "make it writable"), (errno.EACCES, "readable and writable")],
)
def test_each_fault_says_what_to_do(root: Path, code: int, hint: str) -> None:
    with pytest.raises(CacheError, match=os.strerror(code)) as caught, guard(root):
        raise OSError(code, os.strerror(code))
    assert hint in caught.value.hint
    assert "UMBEL_CACHE" in caught.value.hint


def test_a_written_file_appears_whole(root: Path) -> None:
    path = root / "models" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_failed_write_leaves_what_was_there(root: Path, error: BaseException) -> None:
    path = cache_folder("models") / "file"
    path.write_text("old")
    expected = CacheError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), atomic_write(path) as temporary:  # noqa: PT012 - the block is what fails
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_delete_takes_files_and_folders(root: Path) -> None:
    folder = cache_folder("models", "a")
    (folder / "file").write_text("x")
    assert delete(folder / "file")
    assert not delete(folder / "file")
    assert delete(folder)
    assert not folder.exists()


def test_a_lock_is_waited_for_and_freed_when_its_holder_dies(root: Path) -> None:
    lock = root / "parts" / "a.lock"
    script = (
        "import sys, time; from pathlib import Path; from umbel.cache import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        start = time.monotonic()
        waiter = subprocess.Popen(
            [sys.executable, "-c", script.replace("time.sleep(60)", "pass"), str(lock)], stdout=subprocess.PIPE
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(timeout=1.0)
        holder.kill()
        assert waiter.communicate(timeout=30)[0] == b"held\n"
        assert time.monotonic() - start >= 1.0
    with exclusive(lock):
        assert lock.exists()


def test_a_folder_in_which_another_process_is_at_work_is_refused(root: Path) -> None:
    folder = root / "runs" / "a"
    script = (
        "import sys, time; from pathlib import Path; from umbel.cache import sole\n"
        "with sole(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another training is at work there") as raised, sole(folder):
            pass
        assert raised.value.hint == "wait for its end, or name another folder"
        holder.kill()
    with sole(folder):
        assert folder.exists()


def test_a_training_that_cannot_be_saved_is_refused(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"), sole(root / "file"):
        pass
