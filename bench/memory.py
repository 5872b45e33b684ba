"""Whose is the memory of a server, and what do workers share?

    python bench/memory.py [--pack base] [--workers 1 2] [--quick] [--write FILE]

Theory: what is mapped from files (libraries, the graph's weights, the table of words) is there once for all workers.
Their own are the vocabulary, Python's objects, room for what a batch computes, and the weights as oneDNN lays them out
for the processor, once for the branches and twice for the encoder: 21.2 million of 16 bits, 42 MB each. A process that
is forked after the vocabulary was read shares that with its siblings; the engine's layout is made later, by threads
that no fork survives.

`steps` are one process's own megabytes as it loads; `forked` those of each of two processes forked from one that has
read the vocabulary, with what that one needs itself; `workers` are those of `umbel serve` after texts and questions.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from _common import ROOT, finish, machine, options_of
from _sides import ask, free_port, running

TEXTS = [f"I was charged twice for order {number} and want my money back, please help me today" for number in range(64)]
READ = """
import json, sys
sys.path.insert(0, sys.argv[2])
from memory import TEXTS, own
steps = {"python": own()}
import umbel.catalogue
steps["libraries"] = own()
from umbel.pack import read_pack
named = read_pack(sys.argv[1]).manifest.backbone
kept = umbel.catalogue.load_backbone(umbel.catalogue.locate(named.name, named.sha256)).tokenizer
steps["vocabulary"] = own()
"""
LOAD = """
import umbel
from umbel.inquiries import Inquiry
from umbel.questions import Predicate
umbel.catalogue._tokenizer = lambda *given: kept
def load():
    model = umbel.load(sys.argv[1], threads=2)
    yield "graphs"
    model.inquire([Inquiry("good")])
    yield "first answer"
    if model.pack.manifest.branches:
        model.inquire([Inquiry("good", [], [Predicate("It is good")])])
    yield "first question"
    for at in range(0, 64, 16):
        model.inquire([Inquiry(text) for text in TEXTS[at : at + 16]])
    yield "batches of 16"
"""
ALONE = """
for step in load():
    steps[step] = own()
print(json.dumps(steps))
"""
FORK = """
import gc, os
gc.collect()
gc.freeze()
ready, told = os.pipe()
pids = []
for _ in range(2):
    pids.append(os.fork())
    if not pids[-1]:
        exec(LOAD)
        for step in load():
            pass
        os.write(told, b".")
        os.read(os.pipe()[0], 1)  # until it is ended
    os.read(ready, 1)
print(json.dumps({"each": own(pids[0]), "their_parent": own()}))
for pid in pids:
    os.kill(pid, 9)
"""


def own(pid: int | str = "self") -> float:
    """Return the megabytes that are a process's own."""
    return sizes(pid)["own"]


def sizes(pid: int | str) -> dict[str, float]:
    """Return a process's megabytes: resident, its share, its own, and those it shares by what they are."""
    found: Counter[str] = Counter()
    kind = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            path = line.split(maxsplit=5)[5:]
            kind = "libraries" if path and ".so" in path[0] else "files" if path and path[0][0] == "/" else "memory"
        elif name in ("Rss", "Pss"):
            found[{"Rss": "resident", "Pss": "share"}[name]] += int(value.split()[0])
        elif name in ("Private_Clean", "Private_Dirty"):
            found["own"] += int(value.split()[0])
        elif name in ("Shared_Clean", "Shared_Dirty"):
            found[f"shared_{kind}"] += int(value.split()[0])
    return {name: round(value * 1024 / 1e6, 1) for name, value in found.items()}


def run(pack: str, code: str) -> Any:
    """Return what a program printed as JSON."""
    command = [sys.executable, "-c", code, pack, str(Path(__file__).parent)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def served(pack: str, workers: int) -> dict[str, Any]:
    """Return the memory of a server and of its workers, after texts and questions."""
    port = free_port()
    arguments = ["serve", pack, "--port", str(port), "--workers", str(workers), "--threads", "2"]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(running([sys.executable, "-m", "umbel", *arguments], port, Path(folder)))
        for _ in range(4):
            ask(port, TEXTS, None)
        each = [process for process in server.processes() if "spawn_main" in " ".join(process.cmdline())]
        found = {"server": sizes(server.processes()[0].pid), "each_worker": sizes(max(each, key=_resident).pid)}
        return found | {"all_mb": round(server.megabytes())}


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def main() -> None:
    """Measure and print."""
    more = (
        ("--pack", {"default": "base", "help": "a shipped pack or a folder"}),
        ("--workers", {"type": int, "nargs": "+", "default": [1, 2], "help": "how many to serve with, in turn"}),
    )
    options = options_of(__doc__, *more)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    figures = {
        "steps": run(options.pack, READ + LOAD + ALONE),
        "forked": run(options.pack, READ + f"LOAD = {LOAD!r}\n" + FORK),
        "workers": {count: served(options.pack, count) for count in options.workers},
    }
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
