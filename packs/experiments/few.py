"""Measures what a pack learns from a few examples of each label, beside the usual recipe.

    python packs/experiments/few.py --sets DATA [--pack base] [--examples 8] [--draws 5]

Sets that no pack trains on, with labels of intents, domains or topics. Of each label so many train rows are drawn
(all, where there are fewer), several times; all learn from the same rows and are scored on all dev rows, in percent
right, mean over the draws and their standard deviation:

- `recipe`: scikit-learn's logistic regression, as it comes, on the untouched backbone's vectors (with its prefix).
- `recipe, pack`: the same on the pack's own vectors.
- `examples`: `umbel teach` with the examples alone.
- `described`: `umbel teach` with the descriptions of unseen.yaml, too.
- `asked`: the descriptions alone, through the pack's branches, where it has them.

The figures go to few.json beside this file, the table to the terminal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from unseen import HERE, Ask, make, read_asks

import umbel
from umbel.catalogue import load_backbone
from umbel.errors import UmbelError
from umbel.pack import TaskEntry
from umbel.records import LabelPrediction
from umbel.rows import read_rows
from umbel.runtime import Model
from umbel.teach import Row, fit
from umbel.vectors import VectorTeacher

FIGURES = Path(__file__).with_suffix(".json")
ASKS = (("smp_ecdt_nlu_2020", "domain"), ("trec_questions", "question_type"), ("online_shopping_10_cats", "category"))
BATCH = 32

Floats = NDArray[np.float32]


def rows_of(folder: Path, name: str, part: str, column: str) -> list[Row]:
    """Return a set's rows that are labelled."""
    found = (row for _, row in read_rows(folder / name / f"{part}.jsonl.gz"))
    return [Row(str(row["text"]), str(row[column])) for row in found if row.get(column)]


def drawn(rows: Sequence[Row], each: int, seed: int) -> list[Row]:
    """Return so many rows of each label, or all it has."""
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    counts: Counter[str] = Counter()
    found = []
    for place in order:
        row = rows[place]
        if counts[row.label] < each:
            counts[row.label] += 1
            found.append(row)
    return found


class Vectors:
    """Vectors of texts, made once, by the untouched backbone (`teacher`) or by a pack."""

    def __init__(self, model: Model) -> None:
        backbone = load_backbone()
        self.model, self.tokenizer, self.teacher = model, backbone.tokenizer, VectorTeacher(backbone)

    def untouched(self, texts: Sequence[str]) -> Floats:
        """Return the untouched backbone's vectors `[texts, hidden]`."""
        parts = []
        for at in range(0, len(texts), BATCH):
            windows = [cut[0] for cut in self.tokenizer.windows_many(texts[at : at + BATCH])]
            parts.append(self.teacher.vectors(windows).numpy())
        return np.concatenate(parts)

    def own(self, texts: Sequence[str]) -> Floats:
        """Return the pack's vectors `[texts, hidden]`, of length 1."""
        means: Floats = self.model.means(texts)
        unit: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit


def entry_of(ask: Ask, described: bool) -> TaskEntry:
    """Return the task as `umbel teach` declares it."""
    words = {label: text.replace(" | ", ": ") for label, text in ask.options.items()}
    return TaskEntry(
        kind="text-classification",
        labels=tuple(ask.options),
        instruction=ask.choice if described else "",
        descriptions=words if described else {},
    )


def taught(model: Model, entry: TaskEntry, rows: Sequence[Row], dev: Sequence[Row], means: Floats) -> float:
    """Return the accuracy of a head that is taught."""
    head, _ = fit(model, entry, rows)
    said = (means @ head["weight"].T + head["bias"]).argmax(axis=1)
    return accuracy([entry.labels[place] for place in said], dev)


def asked(model: Model, ask: Ask, dev: Sequence[Row]) -> float:
    """Return the accuracy of the description alone."""
    labels = list(ask.options)
    said = []
    for row in dev:
        one = make(ask, {"text": row.text, ask.column: row.label})
        (answer,) = model.ask(row.text, [one.question])
        assert isinstance(answer, LabelPrediction)
        probabilities = list(answer.probabilities.values())
        said.append(labels[int(np.argmax(probabilities))])
    return accuracy(said, dev)


def accuracy(said: Sequence[Any], dev: Sequence[Row]) -> float:
    """Return the percentage that is right."""
    return 100 * float(np.mean([str(found) == row.label for found, row in zip(said, dev, strict=True)]))


def measure(model: Model, folder: Path, name: str, ask: Ask, each: int, draws: int) -> dict[str, Any]:
    """Return the figures of one set."""
    train, dev = (rows_of(folder, name, part, ask.column) for part in ("train", "dev"))
    vectors = Vectors(model)
    texts = [row.text for row in dev]
    dev_untouched, dev_own, means = vectors.untouched(texts), vectors.own(texts), model.means(texts)
    found: dict[str, list[float]] = {}
    for seed in range(draws):
        rows = drawn(train, each, seed)
        few, golds = [row.text for row in rows], [row.label for row in rows]
        for key, inputs, others in (
            ("recipe", vectors.untouched(few), dev_untouched),
            ("recipe, pack", vectors.own(few), dev_own),
        ):
            recipe = LogisticRegression(max_iter=1000).fit(inputs, golds)
            found.setdefault(key, []).append(accuracy(recipe.predict(others).tolist(), dev))
        for key in ("examples", "described"):
            entry = entry_of(ask, key == "described")
            found.setdefault(key, []).append(taught(model, entry, rows, dev, means))
    if model.pack.manifest.branches:
        found["asked"] = [asked(model, ask, dev)]
    figures: dict[str, Any] = {"labels": len(ask.options), "dev": len(dev), "draws": draws}
    return figures | {key: [round(float(f(v)), 1) for f in (np.mean, np.std)] for key, v in found.items()}


def main() -> None:
    """Measure all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--examples", type=int, default=8, help="of each label")
    parser.add_argument("--draws", type=int, default=5, help="of examples")
    options = parser.parse_args()
    asks: Mapping[str, Mapping[str, Ask]] = read_asks(HERE / "unseen.yaml")
    model = umbel.load(options.pack)
    figures = {}
    for name, key in ASKS:
        figures[f"{name}.{key}"] = measure(model, options.sets, name, asks[name][key], options.examples, options.draws)
        print(f"{name}.{key}", json.dumps(figures[f"{name}.{key}"]), flush=True)
    FIGURES.write_text(json.dumps({"examples": options.examples, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
