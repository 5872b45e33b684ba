"""What `serve.py` compares, each in processes of its own: the runtime itself, and servers under load, by turns.

Beside requests a second, which others on the machine change, a side tells the processor's milliseconds for a request:
those of all its processes, the client's left out.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from _common import HERE

READY_SECONDS = 300
IN_PROCESS = """
import json, sys, time, umbel
model = umbel.load(sys.argv[1], threads=int(sys.argv[2]))
texts, tasks = json.load(open(sys.argv[3])), sys.argv[4:]
calls = [texts[at : at + 32] for at in range(0, len(texts), 32)]
model(calls[0], tasks)
print("ready", flush=True)
for line in sys.stdin:
    began, spent, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < float(line):
        model(calls[done % len(calls)], tasks)
        done += 1
    rate, spent = 32 * done / (time.perf_counter() - began), time.process_time() - spent
    print(json.dumps([rate, 1000 * spent / (32 * done)]), flush=True)
"""


@dataclass(frozen=True)
class Messages:
    """The texts that all sides read, as a list and as bodies of requests, and the tasks that they answer."""

    texts: Sequence[str]
    tasks: Sequence[str]
    listed: Path
    bodies: Path


@dataclass(frozen=True)
class Slice:
    """What was seen in a few seconds of one side; `cpu` are the processor's milliseconds for a request, by process."""

    per_second: float
    cpu: dict[int, float]
    seen: dict[str, Any] = field(default_factory=dict)


class InProcess:
    """Calls of 32 texts each, one after the other."""

    def __init__(self, pack: str, threads: int, messages: Messages) -> None:
        arguments = [pack, str(threads), str(messages.listed), *messages.tasks]
        command = [sys.executable, "-c", IN_PROCESS, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def slice(self, seconds: float) -> Slice:
        """Answer for so long."""
        assert self._process.stdin
        print(seconds, file=self._process.stdin, flush=True)
        rate, spent = json.loads(self._read())
        return Slice(rate, {0: spent})

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the runtime ended with {self._process.wait()}")
        return line

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class Server:
    """A server that answers `/v1/analyze` at a port."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, bodies: Path) -> None:
        self._process, self.port, self._bodies = process, port, bodies

    def slice(self, seconds: float, connections: int, rate: float = 0) -> Slice:
        """Load it for so long, after a fifth of that; with a rate, requests leave at it."""
        with self.loaded(seconds, connections, rate) as load:
            before = self._spent()
            seen = dict(json.loads(load.communicate()[0]))
            count = max(seen["answered"], 1)
            cpu = {pid: 1000 * (spent - before.get(pid, 0.0)) / count for pid, spent in self._spent().items()}
        return Slice(seen["per_second"], cpu, seen)

    @contextmanager
    def loaded(self, seconds: float, connections: int, rate: float = 0) -> Iterator[subprocess.Popen[bytes]]:
        """Run a client beside the block, and end it with the block."""
        told: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "path": "/v1/analyze"}
        told |= {"bodies": str(self._bodies), "seconds": seconds, "connections": connections}
        told |= {"rate": rate} if rate else {}
        command = [sys.executable, str(HERE / "_load.py"), json.dumps(told)]
        load = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            yield load
        finally:
            load.kill()
            load.wait()

    def megabytes(self) -> float:
        """Return the memory of all its processes in MB, what they share counted once."""
        return sum(each.memory_full_info().pss for each in self.processes()) / 1e6

    def own_megabytes(self) -> float:
        """Return the memory that its processes filled themselves: pages of files come and go with other programs."""
        held = [each.memory_info() for each in self.processes()]
        return sum(each.rss - each.shared for each in held) / 1e6

    def processes(self) -> list[psutil.Process]:
        """Return its processes, the first one that was started first."""
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]

    def _spent(self) -> dict[int, float]:
        """Return the processor's seconds by process."""
        spent = {}
        for each in self.processes():
            with suppress(psutil.Error):
                times = each.cpu_times()
                spent[each.pid] = times.user + times.system
        return spent


@contextmanager
def running(command: Sequence[str], port: int, bodies: Path) -> Iterator[Server]:
    """Run a server until the end of the block; it answers when the block begins."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that who ends the benchmark ends its servers, too
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.monotonic() + READY_SECONDS
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise RuntimeError(f"{command[:3]} does not answer:\n{log.read().decode()[-2000:]}")
                time.sleep(0.2)
            yield Server(process, port, bodies)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Tell a server and all that it started to end, and see to it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    """Tell whether a text is answered there."""
    try:
        return bool(ask(port, ["good"], None))
    except OSError:
        return False


def ask(port: int, texts: Sequence[str], tasks: Sequence[str] | None) -> list[Any]:
    """Return the results of one request."""
    body = json.dumps({"texts": texts, "tasks": tasks}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/analyze", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return list(json.load(answer)["results"])


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
