"""Writes the declaration by which base 1.7.0 goes on from 1.6.4 and a part of its tasks: base.yaml, weighed otherwise.

    python packs/base/again.py PACK [--average-with PACK] [--out packs/base/again.yaml]
    umbel train packs/base/again.yaml --out runs/base-again

PACK is the pack to begin with; half of the parts that its tasks have of their own goes into the encoder. The end is the
mean of the trained weights and those of `--average-with`, the pack without the part. base.yaml gives all tasks the same
weight, so that a step is mostly that of tasks with large losses. WEIGHTS are about one over the root of a task's loss
over a frozen encoder times that of 1.3.0, half as much again for those that had lost most by sharing, and up to twice
as much again for three that still do. 1.6.0 had gone on from 1.4.0 in the same way, for half as long; 1.4.0 from 1.3.0,
at six times the rate, which takes away what was folded in (docs/log.md).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from umbel.cache import atomic_write
from umbel.errors import InputError, UmbelError

HERE = Path(__file__).parent
WEIGHTS = {
    "news-topic": 3.0, "offensive": 2.0, "offensive-target": 3.0, "hate": 2.2, "sentiment": 0.9,
    "sentiment-intensity": 1.7, "emotion-zh": 0.3, "emotions": 0.3, "dialogue-act": 0.5, "request-domain": 1.6,
    "request-intent": 1.2, "request-slots": 4.0, "assistant-domain": 3.0, "assistant-intent": 2.4,
    "service-category": 3.0, "service-intent": 3.0, "service-entities": 3.0, "command-intent": 4.0,
    "command-slots": 2.1, "entities": 6.0, "entities-social-zh": 6.0, "entities-emerging-en": 6.0,
    "aspect-terms": 4.0, "aspect-categories": 0.4,
}  # fmt: skip
SETTINGS = {
    "epochs": 0.36,
    "learning-rate": 2.5e-5,
    "head-learning-rate": 6.0e-4,
    "evaluate-every": 0.12,
    "questions-per-row": 0.25,
}


def place(pack: str) -> str:
    """Return a pack's name as it is, or its folder's full path in quotes."""
    folder = Path(pack)
    return json.dumps(str(folder.resolve()) if folder.is_dir() else pack)


def again(declaration: str, pack: str, mean_with: str = "") -> str:
    """Return the declaration's text with the weights and settings in it, beginning with a pack.

    Raises:
        InputError: it lacks a task, or a setting.
    """
    changes = [(rf"^  {task}:\n    kind: .*\n", rf"\g<0>    weight: {weight}\n") for task, weight in WEIGHTS.items()]
    changes += [(rf"^  {key}: .*\n", f"  {key}: {value}\n") for key, value in SETTINGS.items()]
    packs = f"  start: {place(pack)}\n" + (f"  average-with: {place(mean_with)}\n" if mean_with else "")
    changes += [(r"^  teachers: .*\n", ""), (r"^train:\n", f"train:\n{packs}")]
    for pattern, put in changes:
        declaration, count = re.subn(pattern, put, declaration, flags=re.MULTILINE)
        if count != 1:
            raise InputError(f"base.yaml: found {count} places like {pattern!r}, expected one")
    return declaration


def main() -> None:
    """Write the declaration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", help="to begin with: a name or a folder")
    parser.add_argument("--average-with", default="", help="to end half of the way to: a name or a folder")
    parser.add_argument("--out", type=Path, default=HERE / "again.yaml", help="beside base.yaml, for its data")
    options = parser.parse_args()
    text = again((HERE / "base.yaml").read_text("utf-8"), options.pack, options.average_with)
    with atomic_write(options.out) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"umbel train {options.out} --out runs/base-again")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
