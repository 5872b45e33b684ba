"""Downloads against a web server on this machine that breaks off, lies and refuses."""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serve

from umbel import download
from umbel.download import Client, Remote, fetch, redact
from umbel.errors import CacheError, DownloadError

BODY = random.Random(1).randbytes(1_000_003)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serve() as server:
        server.files["/file"] = BODY
        yield server


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "file.part"


def remote_of(server: FileServer, path: str = "/file", body: bytes = BODY) -> Remote:
    return Remote(server.url + path, len(body), hashlib.sha256(body).hexdigest())


def test_a_file_is_fetched_with_progress_to_its_end(server: FileServer, part: Path) -> None:
    steps: list[tuple[int, int]] = []
    fetch(remote_of(server), part, Client(), lambda done, total: steps.append((done, total)))
    assert part.read_bytes() == BODY
    assert steps[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_a_partial_file_is_gone_on_with(server: FileServer, part: Path) -> None:
    part.write_bytes(BODY[:400_000])
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY
    assert [headers.get("Range") for headers in server.headers_of("/file")] == ["bytes=400000-"]


def test_a_whole_partial_file_needs_no_network(part: Path) -> None:
    part.write_bytes(BODY)
    fetch(Remote("http://127.0.0.1:9/file", len(BODY), hashlib.sha256(BODY).hexdigest()), part, Client())
    assert part.read_bytes() == BODY


def test_cut_connections_are_taken_up_where_they_broke(server: FileServer, part: Path) -> None:
    server.cuts = [300_000, 1, 0, 200_000]
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY
    ranges = [headers.get("Range") for headers in server.headers_of("/file")]
    assert ranges == [None, "bytes=300000-", "bytes=300001-", "bytes=300001-", "bytes=500001-"]


def test_a_connection_that_brings_nothing_again_and_again_keeps_what_came(server: FileServer, part: Path) -> None:
    server.cuts = [300_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="300000 of 1000003 bytes are kept") as caught:
        fetch(remote_of(server), part, Client())
    assert caught.value.retry
    assert part.read_bytes() == BODY[:300_000]


def test_a_server_without_ranges_sends_the_whole_file_anew(server: FileServer, part: Path) -> None:
    server.ranges = False
    part.write_bytes(b"x" * 1000)
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY


def test_a_server_that_sends_another_stretch_is_asked_for_the_whole(server: FileServer, part: Path) -> None:
    server.shift = 7
    part.write_bytes(BODY[:400_000])
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY


def test_a_damaged_partial_file_is_fetched_anew_once(server: FileServer, part: Path) -> None:
    part.write_bytes(b"x" * 400_000)
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_wrong_hash_is_refused_and_the_file_deleted(server: FileServer, part: Path) -> None:
    server.files["/file"] = b"y" + BODY[1:]
    with pytest.raises(DownloadError, match=f"expected {hashlib.sha256(BODY).hexdigest()}"):
        fetch(remote_of(server), part, Client())
    assert not part.exists()


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"!", b"<html>please log in</html>"])
def test_a_file_of_another_length_is_refused_unread(server: FileServer, part: Path, body: bytes) -> None:
    server.files["/file"] = body
    with pytest.raises(DownloadError, match=f"found {len(body)} bytes, expected {len(BODY)}"):
        fetch(remote_of(server), part, Client())
    assert not part.exists()


def test_a_partial_file_longer_than_the_file_is_fetched_anew(server: FileServer, part: Path) -> None:
    part.write_bytes(BODY + b"!")
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY


def test_a_server_that_sends_without_end_is_stopped(server: FileServer, part: Path) -> None:
    server.lengths = False
    server.files["/file"] = BODY * 20
    with pytest.raises(DownloadError, match=f"expected {len(BODY)}"):
        fetch(remote_of(server), part, Client())
    assert not part.exists()


def test_redirects_are_followed_with_the_range(server: FileServer, part: Path) -> None:
    server.redirects["/moved"] = "/file"
    part.write_bytes(BODY[:10])
    fetch(remote_of(server, "/moved"), part, Client())
    assert part.read_bytes() == BODY
    assert server.headers_of("/file")[0]["Range"] == "bytes=10-"


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_told_at_once(server: FileServer, part: Path, status: int) -> None:
    server.statuses = [status] * 5
    with pytest.raises(DownloadError, match=f"/file: the server answered {status}"):
        fetch(remote_of(server), part, Client())
    assert len(server.asked) == 1


def test_a_passing_fault_of_the_server_is_tried_again(server: FileServer, part: Path) -> None:
    server.statuses = [503, 429]
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY


def test_a_refused_range_starts_over(server: FileServer, part: Path) -> None:
    server.statuses = [416]
    part.write_bytes(BODY[:5])
    fetch(remote_of(server), part, Client())
    assert part.read_bytes() == BODY


def test_no_network_is_told_with_what_to_do(server: FileServer, part: Path) -> None:
    remote = remote_of(server)
    server.server_close()  # nobody listens at this port any more
    with pytest.raises(DownloadError, match="cannot be fetched") as caught:
        fetch(remote, part, Client())
    assert "check the network" in caught.value.hint
    assert caught.value.retry


def test_a_full_disk_is_an_error_of_the_cache(server: FileServer, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part.symlink_to("/dev/full")
    monkeypatch.setattr(download, "_held", lambda part: 0)
    with pytest.raises(CacheError, match=r"file\.part") as caught:
        fetch(remote_of(server), part, Client())
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert "UMBEL_CACHE" in caught.value.hint


def test_a_login_goes_to_its_own_host_only_and_into_no_message(server: FileServer, part: Path) -> None:
    url = server.url.replace("http://", "http://user:p%40ss@")
    with serve() as other:
        other.files["/file"] = BODY
        server.redirects["/moved"] = f"{other.url}/file"
        fetch(Remote(f"{url}/moved", len(BODY), hashlib.sha256(BODY).hexdigest()), part, Client())
        assert "Authorization" not in other.headers_of("/file")[0]
    assert server.headers_of("/moved")[0]["Authorization"] == "Basic dXNlcjpwQHNz"
    with pytest.raises(DownloadError) as caught:
        fetch(Remote(f"{url}/none", 5, ""), part.with_name("other"), Client())
    assert "p%40ss" not in str(caught.value)


def test_what_is_no_url_is_told(part: Path) -> None:
    with pytest.raises(DownloadError, match="'somewhere' is not a URL"):
        fetch(Remote("somewhere", 5, ""), part, Client())


def test_redact_leaves_other_urls_alone() -> None:
    assert redact("https://user:secret@host:8/a?b=c") == "https://host:8/a?b=c"
    assert redact("file:///a/b") == "file:///a/b"
