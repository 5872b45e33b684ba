"""What goes wrong on the other side of a connection, or under the server: the others are still answered."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from live import SECONDS, Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

LONG = "good to Paris " * 1500
IDLE = 10_000
BODY_SECONDS = 3.0
SAME = 1e-5
TINY_DISK = 16 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_pack(folder / "tiny", write_tiny_backbone(folder / "backbone"), branches=True)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    arguments = ["tiny", "--threads", "1", "--workers", "0", "--timeout", str(BODY_SECONDS), "--queue", "1000000"]
    with live_server(folder, *arguments, "--max-wait", "1000") as found:
        yield found


@contextlib.contextmanager
def opened(live: Live) -> Iterator[socket.socket]:
    address = httpx2.URL(live.url)
    with socket.create_connection((address.host, address.port), SECONDS) as found:
        yield found


def received(connection: socket.socket, until: bytes) -> bytes:
    """Read until what came ends so, or nothing comes any more: head and body may come in parts."""
    found = b""
    while not found.rstrip().endswith(until) and (part := connection.recv(65536)):
        found += part
    return found


def request(body: bytes, length: int | None = None) -> bytes:
    head = "POST /v1/analyze HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
    return f"{head}{len(body) if length is None else length}\r\n\r\n".encode() + body


def numbers(value: object) -> list[float]:
    """Return all numbers in JSON, in the order of their names."""
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in numbers(value[name])]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def is_answered(live: Live) -> bool:
    return live.post("/v1/analyze", {"texts": ["good"], "tasks": ["sentiment"]}).status_code == 200


def metric(live: Live, beginning: str) -> float:
    lines = live.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(beginning))


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_work_of_a_client_that_hangs_up_leaves_the_queue(live: Live) -> None:
    before = metric(live, 'umbel_requests_total{method="POST",route="/v1/analyze",status="499"}')
    body = json.dumps({"texts": [f"{number} {LONG}" for number in range(40)]}).encode()
    with opened(live) as connection:
        connection.sendall(request(body))
        wait_for(lambda: metric(live, "umbel_queue_jobs") > 0)
    wait_for(lambda: metric(live, "umbel_queue_jobs") == 0)
    wait_for(lambda: metric(live, 'umbel_requests_total{method="POST",route="/v1/analyze",status="499"}') > before)
    assert metric(live, "umbel_queue_tokens") == 0
    assert is_answered(live)


def test_a_slow_reader_holds_up_nobody(live: Live) -> None:
    body = json.dumps({"texts": ["good to Paris"] * 250, "tasks": ["vector", "topics", "entities"]}).encode()
    with opened(live) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(4):
            connection.sendall(request(body))
        time.sleep(0.5)
        assert all(is_answered(live) for _ in range(5))
    assert is_answered(live)


def test_half_a_body_is_waited_for_a_while_and_holds_up_nobody(live: Live) -> None:
    with opened(live) as connection:
        connection.sendall(request(b'{"texts": ["go', length=1000))
        assert is_answered(live)
        answer = received(connection, b"}")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"timeout"' in answer


@pytest.mark.parametrize("sent", [b"", b"POST /v1/an", b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_what_is_no_request_harms_nothing(live: Live, sent: bytes) -> None:
    with opened(live) as connection:
        connection.sendall(sent)
        assert is_answered(live)
    assert is_answered(live)


def test_an_answer_is_the_same_alone_and_among_63_others(live: Live) -> None:
    texts = [f"good {'to Paris ' * (number % 9)}{'bad ' * (number % 4)}{number}" for number in range(64)]
    tasks = ["sentiment", "topics", "urgency", "entities", "vector"]
    together = live.post("/v1/analyze", {"texts": texts, "tasks": tasks}).json()["results"]
    for text, among in list(zip(texts, together, strict=True))[::7]:
        (alone,) = live.post("/v1/analyze", {"texts": [text], "tasks": tasks}).json()["results"]
        assert len(numbers(alone)) > 32  # those of a vector, and more
        assert numbers(alone) == pytest.approx(numbers(among), abs=SAME)


def test_requests_of_one_connection_are_answered_in_their_order(live: Live) -> None:
    """All are sent before the first is answered; long ones come before short ones."""
    bodies = [json.dumps({"texts": ["good " * (400 - 30 * number)]}).encode() for number in range(12)]
    with opened(live) as connection:
        sent = (
            request(body).replace(b"\r\n", f"\r\nx-request-id: r{number}\r\n".encode(), 1)
            for number, body in enumerate(bodies)
        )
        connection.sendall(b"".join(sent))
        received, seen = b"", []
        while len(seen) < len(bodies):
            received += connection.recv(65536)
            seen = [line.partition(b": ")[2] for line in received.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert seen == [f"r{number}".encode() for number in range(len(bodies))]
    assert received.count(b"HTTP/1.1 200") >= len(bodies) - 1  # the last one's head may be all that has come
    assert received.startswith(b"HTTP/1.1 200")


def test_a_worker_killed_in_the_middle_of_requests_fails_none(folder: Path) -> None:
    """One of two workers stops and holds what it was given; the other answers the rest, and those once it is killed."""
    with live_server(folder, "tiny", "--threads", "1", "--workers", "2", "--max-wait", "1000") as found:
        first, second = found.workers()
        os.kill(first, signal.SIGSTOP)
        statuses: list[int] = []
        threads = [
            threading.Thread(
                target=lambda number=number: statuses.append(
                    found.post("/v1/analyze", {"texts": [f"good {number}"]}).status_code
                )
            )
            for number in range(12)
        ]
        for thread in threads:
            thread.start()
            time.sleep(0.05)  # a batch each, so that every lane has some
        wait_for(lambda: metric(found, "umbel_batches_running") == 2 and metric(found, "umbel_queue_jobs") == 0)
        assert 0 < statuses.count(200) < len(threads)  # two lanes hold what the stopped one was given
        os.kill(first, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert statuses == [200] * len(threads)
        wait_for(lambda: metric(found, "umbel_worker_restarts") == 1)
        assert second in found.workers()
        assert first not in found.workers()


BOMBS = {
    "deep": b'{"texts": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "wide": b'{"texts": [' + b'"a",' * 300_000 + b'"a"]}',
    "number": b'{"texts": ["a"], "top": 1' + b"0" * 100_000 + b"}",
    "exponent": b'{"texts": ["a"], "top": 1e400}',
    "names": b"{" + b",".join(b'"%d": 1' % number for number in range(100_000)) + b"}",
    "escapes": b'{"texts": ["' + b"\\u0000" * 200_000 + b'"]}',
    "nul": b'{"texts": ["\\u0000\\u0000"]}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_json_is_answered_like_any_fault(live: Live, name: str) -> None:
    headers = {"content-type": "application/json"}
    response = live.send("POST", "/v1/analyze", content=BOMBS[name], headers=headers)
    assert response.status_code in (200, 400, 413, 422, 503)
    assert is_answered(live)


def test_a_body_that_is_too_large_is_not_read(live: Live) -> None:
    with opened(live) as connection:
        connection.sendall(request(b"", length=1 << 40))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    content = (b"a" * 65536 for _ in range(200))  # chunked, without a length
    with contextlib.suppress(httpx2.WriteError, httpx2.RemoteProtocolError):
        assert live.send("POST", "/v1/analyze", content=content).status_code == 413
    assert is_answered(live)


def test_many_idle_connections_keep_nobody_out(live: Live) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address = httpx2.URL(live.url)
    with contextlib.ExitStack() as stack:
        for _ in range(min(IDLE, most - 500)):
            stack.enter_context(socket.create_connection((address.host, address.port), SECONDS))
        assert all(is_answered(live) for _ in range(5))
    assert is_answered(live)


def test_a_full_disk_for_the_cache_leaves_the_pack_in_memory(folder: Path, tmp_path: Path) -> None:
    """A limit to the size of files stands for a disk without space: both fail the write."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    environment = {"UMBEL_CACHE": str(tmp_path / "cache")}
    packs = [f"tiny={folder / 'tiny'}", "--threads", "1"]
    with live_server(tmp_path, *packs, environment=environment, before=limited) as found:
        assert is_answered(found)
        examples = [{"text": "good", "label": "fine"}, {"text": "bad", "label": "sad"}] * 3
        response = found.post("/v1/teach", {"task": "mood", "examples": examples})
        assert response.status_code >= 400
        assert response.json()["error"]["message"]
        assert is_answered(found)
        assert found.get("/v1/tasks").json()["pack"] == "tiny"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for next to nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TINY_DISK}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here; a limit to the size of files stands for it above")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_cache_on_a_disk_that_is_full_costs_no_answer(folder: Path, tmp_path: Path, small_disk: Path) -> None:
    packs = [f"tiny={folder / 'tiny'}", "--threads", "1", "--workers", "1"]
    with live_server(tmp_path, *packs, environment={"UMBEL_CACHE": str(small_disk)}) as found:
        assert is_answered(found)
        (small_disk / "rest").write_bytes(b"a" * shutil.disk_usage(small_disk).free)
        assert shutil.disk_usage(small_disk).free == 0
        assert is_answered(found)
        response = found.send("PUT", "/v1/packs/again", json={"source": str(folder / "tiny")})
        assert response.status_code == 200, response.text
        answer = found.post("/v1/analyze", {"texts": ["good"], "tasks": ["sentiment"], "pack": "again"})
        assert answer.status_code == 200
        os.kill(found.workers()[0], signal.SIGKILL)  # the next one finds no cache either
        wait_for(lambda: metric(found, "umbel_worker_restarts") == 1)
        assert is_answered(found)


def test_a_full_queue_refuses_and_those_taken_are_answered(folder: Path) -> None:
    with live_server(folder, "tiny", "--threads", "1", "--queue", "3000") as found:
        statuses: list[int] = []
        after: list[str] = []

        def ask(number: int) -> None:
            response = found.post("/v1/analyze", {"texts": [f"{number} " + "good to Paris " * 300]})
            statuses.append(response.status_code)
            after.append(response.headers.get("retry-after", ""))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert all(seconds.isdigit() for seconds, status in zip(after, statuses, strict=True) if status == 429)
        assert metric(found, "umbel_rejections_total") == statuses.count(429)
