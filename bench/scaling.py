"""How do time and memory grow with tasks, with the length of a text and with the size of a batch?

    python bench/scaling.py [--threads 2] [--rounds 9] [--quick] [--write docs/bench/scaling.json]
                            [--plot docs/bench/scaling.svg]

Theory: tasks add heads, microseconds each; length adds tokens, in windows of 512 above that, so time is linear and
memory flat; a batch shares the cost of a call until the processor is full. Random heads on the default backbone. Memory
is what a fresh process holds after the call, its pack of as many heads as are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _common import finish, interleaved, machine, milliseconds, options_of, start

TASKS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CURVES = {  # title, and the operation of each step: texts x tokens, and tasks
    "tasks": ("tasks on one text of 27 tokens", {step: f"1x27 {step}" for step in TASKS}),
    "tokens": ("tokens of one text, 12 tasks", {step: f"1x{step} 12" for step in TOKENS}),
    "batch": ("texts of 27 tokens a call, 12 tasks", {step: f"{step}x27 12" for step in BATCHES}),
}


def times(steps: Mapping[int, str], threads: int, rounds: int, quick: bool) -> dict[int, float]:
    """Return the milliseconds of each step of a curve, all in turn in one process."""
    (worker,) = start({"scaling": ("many",)}, threads).values()
    seconds = interleaved([(worker, list(steps.values()))], rounds, quick)
    worker.close()
    return {step: milliseconds(seconds[worker.name, operation]) for step, operation in steps.items()}


def memory(operation: str, threads: int) -> int:
    """Return the MB of a process that has just done one operation."""
    (worker,) = start({"scaling": ("many", operation.split()[1])}, threads).values()
    worker.time([operation], quick=True)
    held = worker.megabytes()
    worker.close()
    return round(held)


def plot(figures: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path) -> None:
    """Draw time above memory, a column for each curve."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(11, 5.2), layout="constrained", sharex="col")
    for column, (name, (title, _)) in enumerate(CURVES.items()):
        for row, (unit, values) in enumerate(figures[name].items()):
            axis = axes[row, column]
            axis.plot(list(values), list(values.values()), marker="o")
            axis.set(xscale="log", ylim=(0, 1.15 * max(values.values())), ylabel=unit, xlabel=title if row else "")
            axis.set_xticks(list(values), [str(step) for step in values], rotation=60)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, draw and print."""
    options = options_of(__doc__, ("--plot", {"type": Path, "help": "draw the curves in this file"}))
    figures: dict[str, Any] = {}
    for name, (_, steps) in CURVES.items():
        asked = {min(steps): steps[min(steps)], max(steps): steps[max(steps)]} if options.quick else steps
        figures[name] = {
            "milliseconds": times(asked, options.threads, options.rounds, options.quick),
            "megabytes": {step: memory(operation, options.threads) for step, operation in asked.items()},
        }
    if options.plot:
        plot(figures, options.plot)
    for name, found in figures.items():
        for step, value in found["milliseconds"].items():
            print(f"{name:10}{step:6}{value:12.2f} ms{found['megabytes'][step]:8.0f} MB")
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
