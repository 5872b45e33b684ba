"""How much does writing slow the answers of the same server, and answers the writing?

    python bench/writing.py [--pack base] [--decoder smollm2-135m-instruct] [--threads 2] [--rounds 5] [--seconds 6]

Theory: writing has a process of its own at a lower priority (5 steps of niceness are a third of the weight), so at
saturation of two processors by answers, one text that is written at a time should take a quarter of them at most, and
at half the load nearly nothing but the wait for a processor.

`answers_beside_writing`: requests a second at saturation while one text is always being written, over those without;
`p99_beside_writing`: the 99th percentile at half of the saturation, likewise; `writing_beside_answers`: tokens a second
written at that saturation, over those without. Medians of the rounds' ratios.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _common import ROOT, finish, machine, options_of
from _sides import Server, free_port, running
from serve import CONNECTIONS, MANY, Round, median_of, messages_of, ratios_of

TOKENS = 16
STORY = "Tell a long story about a lighthouse keeper."


class Writing:
    """A client that always has one text written."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/generate"
        self.tokens = 0
        self._ended = threading.Event()

    def one(self, number: int) -> int:
        """Have a text written, and return its tokens."""
        said = {"messages": [{"role": "user", "content": f"{STORY} ({number})"}], "max_tokens": TOKENS}
        request = urllib.request.Request(self._url, json.dumps(said).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return int(json.load(answer)["usage"]["completion_tokens"])

    def _go(self) -> None:
        number = 0
        while not self._ended.is_set():
            self.tokens += self.one(number)
            number += 1

    @contextmanager
    def on(self) -> Iterator[None]:
        """Write until the block ends."""
        self.tokens = 0
        self._ended.clear()
        thread = threading.Thread(target=self._go)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()


def rounds_of(server: Server, writing: Writing, count: int, seconds: float) -> tuple[list[Round], list[float]]:
    """Return what clients saw with and without writing, and what of the speed of writing was left, by round."""
    turns, left = [], []
    for _ in range(count):
        alone = _speed(writing, seconds)
        turn = {"without": server.slice(seconds, CONNECTIONS)}
        rate = turn["without"].per_second / 2
        turn["half"] = server.slice(seconds, MANY, rate)
        began = time.perf_counter()
        with writing.on():
            turn["beside"] = server.slice(seconds, CONNECTIONS)
            left.append(writing.tokens / (time.perf_counter() - began) / alone)
            turn["half beside"] = server.slice(seconds, MANY, rate)
        turns.append(turn)
        print(*(f"{name} {each.per_second:.1f}/s" for name, each in turn.items()), file=sys.stderr)
    return turns, left


def _speed(writing: Writing, seconds: float) -> float:
    began, tokens, number = time.perf_counter(), 0, 0
    while time.perf_counter() - began < seconds:
        tokens += writing.one(number)
        number += 1
    return tokens / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    more = (
        ("--pack", {"default": "base", "help": "a shipped pack or a folder"}),
        ("--decoder", {"default": "smollm2-135m-instruct", "help": "what writes"}),
        ("--seconds", {"type": float, "default": 6.0, "help": "of each turn"}),
    )
    options = options_of(__doc__, *more)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    port = free_port()
    command = [sys.executable, "-m", "umbel", "serve", options.pack, "--decoder", options.decoder]
    command += ["--port", str(port), "--threads", str(options.threads)]
    with tempfile.TemporaryDirectory() as folder:
        messages = messages_of(options.pack, Path(folder))
        with running(command, port, messages.bodies) as server:
            writing = Writing(port)
            writing.one(0)
            count, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
            turns, left = rounds_of(server, writing, count, seconds)
    figures = {
        "answers_beside_writing": ratios_of(turns, ("beside", "per_second"), ("without", "per_second")),
        "p99_beside_writing": ratios_of(turns, ("half beside", "p99"), ("half", "p99")),
        "writing_beside_answers": median_of(left),
        "machine": machine(),
    }
    finish(figures, options.write)


if __name__ == "__main__":
    main()
