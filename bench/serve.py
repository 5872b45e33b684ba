"""What does HTTP cost, what happens under load, and how do other ways to serve compare?

    python bench/serve.py [--pack base] [--threads 2] [--seconds 10] [--minutes 0] [--quick] [--write FILE]

Theory: in-process a batch of 32 texts of 32 tokens is tokenised, encoded on all cores, read by 12 heads and decoded, in
turn. Served, the next batch is encoded while the last is decoded, which gains some of what HTTP, JSON and pipes cost.
A queue bounded by work bounds the time in it: at twice the load that can be served, half is refused and the rest waits
no longer than the queue takes.

Messages of 32 tokens, all different, one a request, 12 tasks. The load comes from a process of its own, which has no
core of its own on two. In-process, served, and rivals are measured in turn, each alone, by the same texts; saturation
is what 64 connections get that always ask. At 70 and 200 % of it requests leave at random times. `--minutes` holds
200 % for so long, and looks whether memory grows.

A rival that serves models has 12 fine-tuned transformers models in fp32; LitServe has the same pack and tasks as Umbel.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from _common import HERE, ROOT, finish, machine, options_of

TASKS, TOKENS, TEXTS = 12, 32, 2048
CONNECTIONS, MANY = 64, 512
READY_SECONDS = 300
WORDS = "order parcel refund money card account phone please help today late broken where when why room clean good bad"
HAN = "我昨天在你们店里买的手机充电麻烦帮换一台新或者尽快把钱退给谢谢房间干净但是服务员态度很差"
IN_PROCESS = """
import json, sys, time, umbel
model = umbel.load(sys.argv[1], threads=int(sys.argv[2]))
texts, tasks, seconds = json.load(open(sys.argv[3])), sys.argv[5:], float(sys.argv[4])
calls = [texts[at : at + 32] for at in range(0, len(texts), 32)]
model(calls[0], tasks)
began, done = time.perf_counter(), 0
while time.perf_counter() - began < seconds:
    model(calls[done % len(calls)], tasks)
    done += 1
print(done * 32 / (time.perf_counter() - began))
"""


def messages(pack: str) -> tuple[list[str], list[str]]:
    """Return different texts of exactly `TOKENS` tokens, Chinese and English in turn, and the tasks to answer."""
    import umbel

    model = umbel.load(pack)
    trained = [name for name, task in model.tasks.items() if task.kind not in ("feature-extraction", "asked")]
    tasks = [trained[place * len(trained) // TASKS] for place in range(TASKS)]
    chance, texts = random.Random(0), dict[str, None]()
    while len(texts) < TEXTS:
        english = " ".join(chance.choices(WORDS.split(), k=chance.randint(26, 30)))
        chinese = "".join(chance.choices(HAN, k=chance.randint(26, 34)))
        for text in (english, chinese):
            if len(model.tokenizer.windows(text)[0].ids) == TOKENS:
                texts[text] = None
    return list(texts)[:TEXTS], tasks


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block; it answers when the block begins."""
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
            yield process
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
    body = json.dumps({"texts": ["good"], "tasks": None}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/analyze", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Bench:
    """The measurements, all by the same texts and tasks."""

    def __init__(self, pack: str, threads: int, seconds: float, folder: Path) -> None:
        self.pack, self.threads, self.seconds = pack, threads, seconds
        self.texts, self.tasks = messages(pack)
        self.listed, self.bodies = folder / "texts.json", folder / "bodies.jsonl"
        self.listed.write_text(json.dumps(self.texts))
        lines = [json.dumps({"texts": [text], "tasks": self.tasks}, ensure_ascii=False) for text in self.texts]
        self.bodies.write_text("\n".join(lines) + "\n")

    def in_process(self) -> float:
        """Return texts a second of calls with 32 texts each, in one process."""
        arguments = [self.pack, str(self.threads), str(self.listed), str(self.seconds), *self.tasks]
        done = subprocess.run([sys.executable, "-c", IN_PROCESS, *arguments], stdout=subprocess.PIPE, check=True)
        return float(done.stdout)

    def load(self, port: int, connections: int = CONNECTIONS, rate: float = 0, seconds: float = 0) -> dict[str, Any]:
        """Load a server, and return what a client saw."""
        told: dict[str, Any] = {"host": "127.0.0.1", "port": port, "path": "/v1/analyze", "bodies": str(self.bodies)}
        told |= {"seconds": seconds or self.seconds, "connections": connections} | ({"rate": rate} if rate else {})
        command = [sys.executable, str(HERE / "_load.py"), json.dumps(told)]
        return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))

    def rival(self, name: str, connections: int = CONNECTIONS) -> float:
        """Return the requests a second that a rival answers."""
        port = free_port()
        arguments = [str(port), str(self.threads), self.pack, *self.tasks]
        with running([sys.executable, str(HERE / "_servers.py"), name, *arguments], port):
            return float(self.load(port, connections)["per_second"])

    def served(self, port: int) -> list[str]:
        """Return the command that serves the pack."""
        arguments = ["serve", self.pack, "--port", str(port), "--threads", str(self.threads)]
        return [sys.executable, "-m", "umbel", *arguments]

    def difference(self, port: int) -> float:
        """Return by how much a probability of a text differs, alone and sent together with 63 others."""
        found = 0.0
        together = _ask(port, self.texts[:64], self.tasks)
        for text, among in zip(self.texts[:64:8], together[::8], strict=True):
            (alone,) = _ask(port, [text], self.tasks)
            pairs = zip(_numbers(alone), _numbers(among), strict=True)
            found = max(found, *(abs(one - other) for one, other in pairs))
        return found


def _ask(port: int, texts: Sequence[str], tasks: Sequence[str]) -> list[Any]:
    body = json.dumps({"texts": texts, "tasks": tasks}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/analyze", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return list(json.load(answer)["results"])


def _numbers(value: Any) -> list[float]:
    """Return all numbers in JSON, in an order of their own."""
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in _numbers(value[name])]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def megabytes(process: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process and all under it, in MB."""
    import psutil

    top = psutil.Process(process.pid)
    return float(sum(each.memory_info().rss for each in [top, *top.children(recursive=True)])) / 1e6


def _over(one: float | None, other: float | None) -> float | None:
    """Return a ratio, None where nothing was answered."""
    return round(one / other, 2) if one and other else None


def umbel_figures(bench: Bench, minutes: float) -> dict[str, Any]:
    """Return the figures of Umbel's own server."""
    before = bench.in_process()
    port = free_port()
    with running(bench.served(port), port) as process:
        bench.load(port)  # warms up
        full = bench.load(port)
        calm = bench.load(port, MANY, 0.7 * full["per_second"])
        held = megabytes(process)
        over = bench.load(port, MANY, 2 * full["per_second"], 60 * minutes)
        grown = megabytes(process) - held
        difference = bench.difference(port)
    inside = (before + bench.in_process()) / 2
    for name, found in (("saturated", full), ("at 70 %", calm), ("at 200 %", over)):
        print(f"{name:12}{json.dumps(found)}")
    return {
        "http_over_inprocess": round(full["per_second"] / inside, 3),
        "p99_over_p50_at_70": _over(calm["p99"], calm["p50"]),
        "overload_p99_over_p50": _over(over["p99"], over["p50"]),
        "max_difference_alone_vs_batched": difference,
        "in_process_per_second": round(inside, 1),
        "http_per_second": round(full["per_second"], 1),
        "overload_p50_over_p50_at_70": _over(over["p50"], calm["p50"]),
        "overload_statuses": over["statuses"],
        "overload_lost": over["lost"],
        "overload_grown_mb": round(grown, 1),
        "resident_mb": round(held),
    }


def main() -> None:
    """Measure and print."""
    more = (
        ("--pack", {"default": "base", "help": "a shipped pack or a folder"}),
        ("--seconds", {"type": float, "default": 10.0, "help": "of each measurement"}),
        ("--minutes", {"type": float, "default": 0.0, "help": "hold 200 %% for so long"}),
        ("--without", {"nargs": "*", "default": [], "choices": ["models", "litserve"], "help": "leave rivals out"}),
    )
    options = options_of(__doc__, *more)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.pack, options.threads, 3.0 if options.quick else options.seconds, Path(folder))
        figures = umbel_figures(bench, options.minutes)
        for name, connections in (("models", 8), ("litserve", CONNECTIONS)):
            rival = None if name in options.without else bench.rival(name, connections)
            figure = "models_server_speedup" if name == "models" else f"{name}_speedup"
            figures[figure] = _over(figures["http_per_second"], rival)
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
