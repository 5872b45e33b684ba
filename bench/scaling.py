"""How do time and memory grow with tasks, with the length of a text and with the size of a batch?

    python bench/scaling.py [--threads 2] [--rounds 7] [--write docs/bench/scaling.json] [--plot docs/bench/scaling.svg]

Theory: tasks add heads, microseconds each; length adds tokens, in windows of 512 above that, so time is linear; a batch
shares the cost of a call until the processor is full. One process, random heads on the shipped backbone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import finish, machine
from _workers import TEXT, _memory, write_many

import umbel

TASKS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
WORD = "parcel "  # one token


def milliseconds(run: Callable[[], Any], rounds: int) -> float:
    """Return the median milliseconds of a call."""
    run()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return round(1000 * statistics.median(seconds), 2)


def measure(model: Any, rounds: int) -> dict[str, dict[int, float]]:
    """Return milliseconds by tasks, by tokens and by batch, and MB resident after each length."""
    names = list(model.tasks)
    tasks = {n: milliseconds(lambda n=n: model(TEXT, names[:n]), rounds) for n in TASKS}
    batches = {n: milliseconds(lambda n=n: model([TEXT] * n, names[:12]), rounds) for n in BATCHES}
    tokens, memory = {}, {}
    for length in TOKENS:
        text = WORD * (length - 2)
        tokens[length] = milliseconds(lambda text=text: model(text, names[:12]), min(rounds, 3))
        memory[length] = round(_memory())
    return {"tasks": tasks, "tokens": tokens, "batch": batches, "memory_mb_by_tokens": memory}


def plot(figures: dict[str, dict[int, float]], path: Path) -> None:
    """Draw the three curves of time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for axis, (key, title) in zip(
        axes,
        (("tasks", "tasks on one text"), ("tokens", "tokens, 12 tasks"), ("batch", "texts a call, 12 tasks")),
        strict=True,
    ):
        values = figures[key]
        axis.plot(list(values), list(values.values()), marker="o")
        axis.set(xlabel=title, ylabel="milliseconds", xscale="log", ylim=0)
        axis.set_xticks(list(values), [str(n) for n in values], rotation=60)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = umbel.load(write_many(Path(folder)), threads=options.threads)
        figures = measure(model, options.rounds)
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        plot(figures, options.plot)
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
