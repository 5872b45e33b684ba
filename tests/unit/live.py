"""A server in a process of its own on a free loopback port, for tests; it is always stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

import umbel

SECONDS = 120  # to be ready, on a busy machine
SAID = re.compile(r"served at (http://\S+)")


@dataclass
class Live:
    """A server that runs: its address, its process, and where its log goes."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, **more: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=SECONDS, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        return self.send("POST", path, json=body, **more)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.send("GET", path, **more)

    def send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return httpx2.request(method, self.url + path, timeout=SECONDS, **more)

    def workers(self) -> list[int]:
        """The process ids of the workers: the children that are not Python's tracker of resources."""
        found = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                with suppress(OSError):
                    if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(int(pid))
        return found

    def terminate(self) -> int:
        """Tell it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def live_server(
    folder: Path,
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Iterator[Live]:
    """Run `umbel serve` with these arguments in `folder`; give it when it is ready. `before` runs in its process."""
    log = folder / "server.log"
    found = os.environ | {"PYTHONPATH": str(Path(umbel.__file__).parents[1])} | (environment or {})
    command = [sys.executable, "-m", "umbel", "serve", *map(str, arguments), "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, env=found, start_new_session=True, preexec_fn=before
        )
    try:
        until = time.monotonic() + SECONDS
        while not (said := SAID.search(log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < until, log.read_text("utf-8")
            time.sleep(0.05)
        yield Live(said[1], process, log)
    finally:
        process.kill()  # its workers end with it
        process.wait()
