"""What the benchmarks share: rivals in processes of their own, timed in turn; ratios of one run; the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
SLICE_SECONDS = 0.2  # how long a worker repeats an operation before the next rival has its turn

Seconds = dict[tuple[str, str], list[float]]  # by worker and operation, one a round


class Worker:
    """A rival in a process of its own. `problem` says why it cannot run, `note` what it says of itself."""

    def __init__(self, rival: str, threads: int, *arguments: str, name: str = "") -> None:
        self.name = name or rival
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, a pipe that nobody reads would fill
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "_workers.py"), rival, str(threads), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
        )
        ready = self._read()
        self.problem, self.note = str(ready.get("problem", "")), str(ready.get("note", ""))

    def time(self, operations: Sequence[str], quick: bool = False) -> dict[str, float]:
        """Return the median seconds of a call of each operation, called in turn."""
        told = {"time": list(operations), "seconds": 0 if quick else SLICE_SECONDS, "least": 1 if quick else 3}
        return dict(self._ask(told))

    def save(self, operation: str, path: Path) -> None:
        """Run an operation that returns arrays, and keep them in an .npz file."""
        self._ask({"save": operation, "path": str(path)})

    def megabytes(self) -> float:
        """Return the resident memory of the process in MB."""
        return float(self._ask({"memory": True}))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, told: Mapping[str, Any]) -> Any:
        assert self._process.stdin
        print(json.dumps(told), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} ended with {code}:\n{self._errors.read()[-2000:]}")
        return json.loads(line)


def start(workers: Mapping[str, tuple[str, ...]], threads: int) -> dict[str, Worker]:
    """Start workers by name, given the rival and its arguments; tell on stderr which are left out, and why."""
    started = {name: Worker(rival, threads, *rest, name=name) for name, (rival, *rest) in workers.items()}
    for name, worker in started.items():
        for said in (worker.note, worker.problem and f"left out ({worker.problem})"):
            if said:
                print(f"{name}: {said}", file=sys.stderr)
    return {name: worker for name, worker in started.items() if not worker.problem}


def interleaved(asked: Sequence[tuple[Worker, Sequence[str]]], rounds: int, quick: bool) -> Seconds:
    """Time each worker's operations, all workers in turn in every round, so that all meet the same drift."""
    seconds: Seconds = {}
    for number in range(rounds + 1):
        for worker, operations in asked:
            found = worker.time(operations, quick)
            for operation in operations if number else ():  # the first round warms up
                seconds.setdefault((worker.name, operation), []).append(found[operation])
    return seconds


def ratio(seconds: Seconds, first: tuple[str, str], second: tuple[str, str]) -> float | None:
    """Return the median over rounds of first over second, None where one is missing.

    Both sides of a round are near in time, so what slows the machine for a while slows both.
    """
    pairs = zip(seconds.get(first, ()), seconds.get(second, ()), strict=False)
    found = [one / other for one, other in pairs]
    return round(statistics.median(found), 3) if found else None


def milliseconds(values: Sequence[float]) -> float:
    """Return the median over rounds, in milliseconds."""
    return round(1000 * statistics.median(values), 2)


def machine() -> str:
    """Describe the machine in a line."""
    name, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        said = dict(line.partition("\t: ")[::2] for line in info.read_text().replace("\t\t", "\t").splitlines())
        name, flags = said.get("model name", name), said.get("flags", "")
    known = (("avx512f", "AVX-512"), ("avx512_bf16", "bfloat16"), ("amx_bf16", "AMX"))
    sets = [text for flag, text in known if flag in flags.split()]
    if limit := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        sets.append(f"held to {limit}")
    about = [name, f"{len(os.sched_getaffinity(0))} cores", *sets, platform.system()]
    return ", ".join([*about, f"Python {platform.python_version()}"])


def options_of(about: str | None, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Read the options that all benchmarks have, and `more`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="every part once: proves it runs; no figures")
    parser.add_argument("--write", type=Path, help="keep the figures in this file")
    for name, settings in more:
        parser.add_argument(name, **settings)
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("--write keeps figures, and those of --quick mean nothing")
    if options.quick:
        options.rounds = 1
        print("quick: these figures mean nothing", file=sys.stderr)
    elif os.getloadavg()[0] > 0.5:
        print("other programs are running: close them for figures that can be compared", file=sys.stderr)
    return options


def finish(figures: Mapping[str, Any], write: Path | None) -> None:
    """Print the figures as the last line, and keep them where asked."""
    if write:
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(json.dumps(dict(figures), indent=1) + "\n")
    print(json.dumps(dict(figures)))
