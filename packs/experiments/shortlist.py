"""Measures what a choice of very many options loses by reading only the likeliest of them closely.

    python packs/experiments/shortlist.py --sets DATA [--pack base] [--rows 200]

Of more than 32 options the 16 whose vectors are nearest to the text's are read as branches (`umbel.reader`); `exact`
reads all. Both are asked of the same dev rows, evenly spread: of smp_ecdt_nlu_2020 the domains (45 options, not trained
on), of clinc150 the intents (150, trained on), and these among 255 options, the others being labels of the pack's own
tasks. Told are the percentages that are right, how often the right option is among those read, and how often both ways
give the same answer. The figures go to shortlist.json beside this file, the table to the terminal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from unseen import HERE, Asked, make, read_asks, spread

import umbel
from umbel.described import words_of
from umbel.errors import UmbelError
from umbel.questions import MOST_OPTIONS, Choice, Option
from umbel.reader import SHORTLIST
from umbel.records import LabelPrediction
from umbel.rows import read_rows
from umbel.runtime import Model

FIGURES = Path(__file__).with_suffix(".json")
ROWS = 200  # of a set
INTENT = "What does the user want?"


def domains(folder: Path, rows: int) -> list[Asked]:
    """Return the questions about domains of smp_ecdt_nlu_2020."""
    ask = read_asks(HERE / "unseen.yaml")["smp_ecdt_nlu_2020"]["domain"]
    found = [row for _, row in read_rows(folder / "smp_ecdt_nlu_2020" / "dev.jsonl.gz") if row.get(ask.column)]
    return [make(ask, row) for row in spread(found, rows)]


def intents(folder: Path, rows: int, others: Sequence[str]) -> list[Asked]:
    """Return the questions about intents of clinc150, among `others` as further options."""
    found = [row for _, row in read_rows(folder / "clinc150" / "dev.jsonl.gz") if row["intent"] != "out_of_scope"]
    labels = sorted({str(row["intent"]) for row in found})
    names = list(dict.fromkeys([*map(words_of, labels), *others]))[:MOST_OPTIONS]
    question = Choice(INTENT, tuple(map(Option, names)))
    return [Asked(str(row["text"]), question, labels.index(row["intent"])) for row in spread(found, rows)]


def measure(model: Model, asked: Sequence[Asked]) -> dict[str, float]:
    """Return the figures of one set, in percent."""
    hits: dict[str, list[bool]] = {"fast": [], "full": [], "among those read": [], "same": []}
    for each in asked:
        question = each.question
        assert isinstance(question, Choice)
        encoding = model.keep(each.text)
        given = [model.ask(encoding, [question], exact)[0] for exact in (False, True)]
        names = [answer.label for answer in given if isinstance(answer, LabelPrediction)]
        right = question.options[each.gold].name
        cosines = model.reader.vectors([option.words for option in question.options]) @ encoding.vector
        nearer = (cosines > cosines[each.gold]).sum()
        for key, hit in zip(
            hits, (names[0] == right, names[1] == right, nearer < SHORTLIST, names[0] == names[1]), strict=True
        ):
            hits[key].append(bool(hit))
    options = len(asked[0].question.options) if isinstance(asked[0].question, Choice) else 0
    return {"options": options, "rows": len(asked)} | {
        key: round(100 * float(np.mean(values)), 1) for key, values in hits.items()
    }


def main() -> None:
    """Measure all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a set, at most")
    options = parser.parse_args()
    model = umbel.load(options.pack)
    others = [words_of(label) for task in model.tasks.values() for label in task.labels]
    sets = {
        "smp_ecdt_nlu_2020.domain": domains(options.sets, options.rows),
        "clinc150.intent": intents(options.sets, options.rows, ()),
        "clinc150.intent among 255": intents(options.sets, options.rows, others),
    }
    figures: dict[str, Any] = {}
    for name, asked in sets.items():
        figures[name] = measure(model, asked)
        print(f"{name:<28}" + "".join(f"  {key} {value:g}" for key, value in figures[name].items()), flush=True)
    print(json.dumps(figures))
    if options.rows == ROWS:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
