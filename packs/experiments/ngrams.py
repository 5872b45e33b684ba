"""Tries character n-grams on each classification task of a pack, over its head as it is.

    python packs/experiments/ngrams.py [--pack base] [--tasks a,b] [--longest 3] [--strength 0.05]

Learnt and judged as `umbel ngrams` does, without writing a pack: `alone` is the score of n-grams by themselves,
`without` that of the head, `score` that of both, each half of the dev rows with what the other half fitted. The figures
go to ngrams.json beside this file, by task and setting.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import umbel
from umbel import ngram_training
from umbel.data import load
from umbel.detachment import declared_alone
from umbel.errors import UmbelError
from umbel.ngram_adding import head_logits, rows_of
from umbel.ngram_training import LONGEST, STRENGTH, fit, judge
from umbel.runtime import Model
from umbel.spec import load_spec

FIGURES = Path(__file__).with_suffix(".json")
DECLARATION = Path(__file__).parent.parent / "base" / "base.yaml"


def tried(model: Model, name: str, longest: int) -> dict[str, float]:
    """Return how a task does without n-grams, with them, and by them alone."""
    task = model.tasks[name]
    data = load(declared_alone(load_spec(DECLARATION), model.pack, name))
    train, dev = (rows_of(model, name, list(examples)) for examples in (data.train_of(name), data.dev_of(name)))
    logits = head_logits(model, name, [example.text for example in dev.examples])
    began = time.perf_counter()
    ngrams = fit(task, [example.text for example in train.examples], train.targets, longest)
    seconds = time.perf_counter() - began
    added = np.stack([ngrams.of(example.text) for example in dev.examples])
    judged = judge(task, logits, added, dev)
    return {
        "train": len(train.examples),
        "dev": len(dev.examples),
        "ngrams": len(ngrams.vocabulary.keys),
        "alone": round(judge(task, np.zeros_like(logits), added, dev).score, 2),
        "without": round(judged.without, 2),
        "score": round(judged.score, 2),
        "share": round(judged.share, 1),
        "seconds": round(seconds),
    }


def main() -> None:
    """Try, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--tasks", default="", help="names, all of text-classification by default")
    parser.add_argument("--longest", type=int, default=LONGEST, help="n-grams, in characters")
    parser.add_argument("--strength", type=float, default=STRENGTH, help="of the penalty")
    options = parser.parse_args()
    ngram_training.STRENGTH = options.strength
    model = umbel.load(options.pack)
    names = options.tasks.split(",") if options.tasks else list(model.tasks)
    for name in names:
        if model.tasks[name].kind == "text-classification":
            found = tried(model, name, options.longest)
            print(f"{name:<20}" + "".join(f"  {part} {value:g}" for part, value in found.items()), flush=True)
            kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
            kept.setdefault(name, {})[f"{options.longest}, {options.strength:g}"] = found
            FIGURES.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
