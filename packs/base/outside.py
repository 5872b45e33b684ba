"""Fits how readily spans are found on dev rows, through the runtime, and writes it into a pack's manifest and card.

    python packs/base/outside.py src/umbel/packs/base [--version 1.10.0]

A training does so when it publishes a pack (`umbel.tagging.fit_outside`); this is for one that was trained before. How
sure an answer has to be (`abstain-below`) is taken from base.yaml, too. No weights change, nor temperatures; scores are
made anew by `rescore.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rescore import write

import umbel
from umbel.errors import UmbelError
from umbel.kinds.base import kind_of
from umbel.pack import format_of, read_pack
from umbel.records import Example
from umbel.runtime import Model
from umbel.scoring import dev_data
from umbel.spec import load_spec

DECLARATION = Path(__file__).parent / "base.yaml"
KIND = "token-classification"


def bias_of(model: Model, name: str, rows: list[Example]) -> float:
    """Return a task's bias by its dev rows, each read as its first window."""
    task, kind = model.tasks[name], kind_of(KIND)
    windows = [cut[0] for cut in model.tokenizer.windows_many([row.text for row in rows])]
    targets = [kind.target(task, row.golds[name], cut)[1:-1] for row, cut in zip(rows, windows, strict=True)]
    logits = [
        found[: len(target)]
        for found, target in zip(model.head_logits([row.text for row in rows], name), targets, strict=True)
    ]
    return kind.calibrate(task, logits, targets, [row.language for row in rows])[0].outside_bias


def main() -> None:
    """Fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="folder")
    parser.add_argument("--version", default="", help="of the pack from now on")
    options = parser.parse_args()
    model, manifest, spec = umbel.load(options.pack), read_pack(options.pack).manifest, load_spec(DECLARATION)
    named = {name: task for name, task in model.tasks.items() if task.kind == KIND}
    rows = [row for some in dev_data(spec, named)[1].values() for row in some]
    bounds = {task.name: task.abstain_below for task in spec.tasks}
    entries = dict(manifest.tasks)
    for name in named:
        bias = bias_of(model, name, [row for row in rows if name in row.golds])
        print(f"{name:<24}{bias:>8.2f}{bounds[name]:>8.2f}", flush=True)
        entries[name] = entries[name].model_copy(update={"outside_bias": bias, "abstain_below": bounds[name]})
    update = {"tasks": entries, "version": options.version or manifest.version}
    changed = manifest.model_copy(update=update)
    write(options.pack, changed.model_copy(update={"format": format_of(changed)}))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
