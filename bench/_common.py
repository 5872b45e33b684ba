"""What the benchmarks share: workers in processes of their own, medians over interleaved rounds, the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Worker:
    """A rival in a process of its own: told one operation a line, it answers with its seconds."""

    def __init__(self, name: str, threads: int, *arguments: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, str(HERE / "_workers.py"), name, str(threads), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.problem = self._read().get("problem", "")

    def ask(self, operation: str) -> dict[str, Any]:
        """Run one operation and return what the worker says of it."""
        assert self.process.stdin
        print(operation, file=self.process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args}: ended with {self.process.wait()}")
        return dict(json.loads(line))


def interleaved(asked: Sequence[tuple[Worker, str]], rounds: int) -> dict[tuple[str, str], float]:
    """Return the median seconds of each operation, all of them in turn in every round, so that drift cancels."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for worker, operation in asked:
            found = worker.ask(operation)["seconds"]
            if number:  # the first round warms up
                seconds.setdefault((str(worker.process.args[2]), operation), []).append(found)  # type: ignore[index]
    return {key: statistics.median(values) for key, values in seconds.items()}


def machine() -> str:
    """Describe the machine in a line."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0))
    return f"{name}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def ratio(first: float | None, second: float | None) -> float | None:
    """Return first over second, None where one was not measured."""
    return None if first is None or second is None else round(first / second, 3)


def finish(figures: Mapping[str, Any], write: Path | None) -> None:
    """Print a table, then the figures as the last line, and keep them where asked."""
    for key, value in figures.items():
        print(f"{key:32}{value}")
    if write:
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(json.dumps(dict(figures), indent=1) + "\n")
    print(json.dumps(dict(figures)))
