"""Teaches a pack one task from a few examples, a description, or both; everything else in it stays as it is.

A head is fitted on the sealed encoding by logistic regression, in numpy, to the examples and, of labels that have few,
to their words and descriptions. Needs no torch. The proof that nothing else moved compares files and answers.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel.calibrate import softmax
from umbel.described import questions_of, words_of
from umbel.errors import InputError, UmbelError, suggest
from umbel.messages import sample_lines
from umbel.pack import MANIFEST, Pack, TaskEntry
from umbel.packing import moved, write_task
from umbel.records import LabelPrediction
from umbel.runtime import Model

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

STRENGTH = 0.03  # of the penalty on weights, for features of variance 1 (docs/log.md)
ENOUGH = 4  # examples of a label, from which its words add nothing
FOLDS = 5
STEPS = 150
PULLS = (300.0, 100.0, 30.0, 10.0)  # that hold a corrected head where it was, the strongest first (docs/log.md)
LEAST_SCALE = 1e-6  # no feature is divided by less
PROBES = (
    "这是一个关于AI的多任务处理案例。",
    "I was charged twice for order 1042, please refund one of them today.",
    "房间很干净，但是服务员态度很差 :(",
    "Book a table for two in Paris tomorrow at 8.",
    "ok",
)


@dataclass(frozen=True)
class Row:
    """One example; `line` is where it stands in its file."""

    text: str
    label: str
    line: int = 0


@dataclass(frozen=True)
class Taught:
    """What teaching gave: accuracy in percent before (None where the task was new) and after, and on what.

    `unchanged` counts the files and the answers of other tasks that were compared, every one the same.
    """

    pack: Pack
    before: float | None
    after: float | None
    scored_on: str
    examples: int
    unchanged: Mapping[str, int]


def entry_for(
    pack: Pack, name: str, instruction: str, labels: Sequence[tuple[str, str]], rows: Sequence[Row]
) -> TaskEntry:
    """Return the task's entry: the pack's own, or a new one with the labels described or found in the rows.

    Raises:
        InputError: the task is of a kind that is not taught, has no labels, or rows name others.
    """
    old = pack.manifest.tasks.get(name)
    if old and (old.kind != "text-classification" or old.multi_label):
        raise InputError(
            f"{name}: a task of kind {old.kind}{' with several labels' * old.multi_label}", "teach one label"
        )
    found = old or TaskEntry(kind="text-classification", metric="accuracy")
    names = tuple(label for label, _ in labels) or found.labels or tuple(sorted({row.label for row in rows}))
    if len(names) < 2:
        raise InputError(
            f"{name}: found {len(names)} labels, expected at least two", 'give --labels "a: what it means | b"'
        )
    faults = [
        f"line {row.line}: {row.label!r} is not a label{suggest(row.label, names)}"
        for row in rows
        if row.label not in names
    ]
    if faults:
        raise InputError("\n  ".join(faults[:20]), f"the labels are {', '.join(names)}")
    update: dict[str, Any] = {"labels": names}
    if instruction:
        update["instruction"] = instruction
    if labels:
        update["descriptions"] = {label: words for label, words in labels if words}
    return found.model_copy(update=update)


def teach(
    model: Model,
    folder: Path,
    name: str,
    entry: TaskEntry,
    rows: Sequence[Row],
    dev: Sequence[Row],
    correcting: bool = False,
) -> Taught:
    """Learn a task from `rows`, if there are any, and write the pack with it to `folder`.

    `correcting` starts from the head that the task has, and moves it no further than `rows` ask.

    Raises:
        InputError: there are neither examples nor an instruction, or a label lacks examples and description, or there
            is no head to correct, or the description alone makes no good question.
        PackError: there are no examples, and the pack cannot be asked.
        UmbelError: the proof failed; the pack at `folder` is as it was.
    """
    from umbel import load

    pack = model.pack
    if not rows and not entry.instruction:
        raise InputError(
            f"{name}: found neither examples nor an instruction", "give --file, or --instruction and --labels"
        )
    if not rows:
        model.reader.checked(questions_of(entry.task(name)))
    before = _accuracy(model, name, dev) if dev and name in model.tasks else None
    head: dict[str, Floats] = {}
    guessed = None
    update: dict[str, Any] = {}
    if correcting:
        head, update = correct(model, name, entry, rows), {"scores": {}}
    elif rows:
        head, guessed = fit(model, entry, rows)
        update = {"temperature": {}, "thresholds": {}, "scores": {}, "ngrams": None}
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.taught")
    try:
        again = load(write_task(pack, draft, name, entry.model_copy(update=update), head).folder)
        unchanged = prove(model, again, name)
        after = _accuracy(again, name, dev) if dev else guessed
        taught = moved(again.pack, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    scored = f"{len(dev)} dev rows" if dev else f"{len(rows)} examples, each left out once" if head and guessed else ""
    return Taught(taught, before, after, scored, len(rows), unchanged)


def fit(model: Model, entry: TaskEntry, rows: Sequence[Row]) -> tuple[dict[str, Floats], float | None]:
    """Return a head `query`, `weight`, `bias`, and the accuracy on rows left out in turn (None for too few).

    Of a label with few examples its words and description are one more.
    """
    counts = Counter(row.label for row in rows)
    scarce = [label for label in entry.labels if counts[label] < ENOUGH]
    described = [f"{words_of(label)} {entry.descriptions.get(label, '')}".strip() for label in scarce]
    features = model.means([row.text for row in rows] + described)
    golds = np.array([entry.labels.index(label) for label in [*(row.label for row in rows), *scarce]])
    centre = features[: len(rows)].mean(axis=0)
    scale = max(float(np.sqrt(((features[: len(rows)] - centre) ** 2).mean())), LEAST_SCALE)
    scaled = (features - centre) / scale
    weight, bias = logistic(scaled, golds, len(entry.labels))
    weight = weight / scale
    return {
        "query": np.zeros(features.shape[1], np.float32),
        "weight": weight.astype(np.float32),
        "bias": (bias - weight @ centre).astype(np.float32),
    }, _left_out(scaled, golds, len(rows), len(entry.labels))


def correct(model: Model, name: str, entry: TaskEntry, rows: Sequence[Row]) -> dict[str, Floats]:
    """Return the task's head `query`, `weight`, `bias`, moved no further than it takes to answer `rows` as they say.

    The difference to the old weights is fitted by logistic regression to the rows and, at texts of all sorts, to the
    old head's own answers; the penalty on it is the strongest under which every row is answered so, or the least.

    Raises:
        InputError: the task has no head, its labels would change, or there is no row.
    """
    head = model.pack.head(name) if name in model.tasks else {}
    if not head or not rows:
        found = "no examples" if head else "no head"
        raise InputError(f"{name}: {found}, corrections need both", "teach it without correcting first")
    if entry.fork:
        raise InputError(f"{name}: it is detached, and corrections read what the tasks share", "teach it anew")
    if entry.labels != model.pack.manifest.tasks[name].labels:
        raise InputError(f"{name}: corrections keep the labels as they are", "teach it anew to change them")
    golds = np.array([entry.labels.index(row.label) for row in rows])
    others = [*PROBES, *(line.decode() for line in sample_lines())]
    features = model.means([*(row.text for row in rows), *others], head["query"]).astype(np.float64)
    logits = features @ head["weight"].T + head["bias"]
    if name in (read := model.pack.ngrams([name])):
        logits = logits + np.stack([read[name].of(text) for text in [*(row.text for row in rows), *others]])
    wanted = np.vstack([np.eye(len(entry.labels))[golds], softmax(logits[len(rows) :])])
    centre = features[len(rows) :].mean(axis=0)
    scaled = features - centre
    scale = max(float(np.sqrt((scaled[len(rows) :] ** 2).mean())), LEAST_SCALE)
    scaled = scaled / scale
    for pull in PULLS:
        moved = _difference(scaled, logits, wanted, pull) / scale
        answers = (logits + (features - centre) @ moved.T)[: len(rows)]
        if (answers.argmax(axis=1) == golds).all():
            break
    weight = head["weight"] + moved
    return head | {"weight": weight.astype(np.float32), "bias": (head["bias"] - moved @ centre).astype(np.float32)}


def _difference(features: Doubles, logits: Doubles, wanted: Doubles, pull: float) -> Doubles:
    """Return what to add to weights `[labels, features]` that gave `logits` `[rows, labels]`."""
    step = 1 / (0.5 * np.linalg.norm(features, 2) ** 2 + pull)
    found: Doubles = np.zeros((wanted.shape[1], features.shape[1]))
    ahead = found
    for number in range(STEPS):
        slope = (softmax(features @ ahead.T + logits) - wanted).T @ features + pull * ahead
        moved = ahead - step * slope
        ahead = moved + number / (number + 3) * (moved - found)
        found = moved
    return found


def _left_out(features: Floats, golds: NDArray[np.int64], rows: int, labels: int) -> float | None:
    """Return the accuracy in percent on rows left out in turn; the labels' words are always learned from."""
    if rows < 2 * FOLDS:
        return None
    folds = np.random.default_rng(0).permutation(rows) % FOLDS
    hits = 0
    for fold in range(FOLDS):
        inside = np.concatenate([np.flatnonzero(folds != fold), np.arange(rows, len(golds))])
        outside = np.flatnonzero(folds == fold)
        weight, bias = logistic(features[inside], golds[inside], labels)
        hits += int(((features[outside] @ weight.T + bias).argmax(axis=1) == golds[outside]).sum())
    return 100 * hits / rows


def logistic(
    features: Floats, golds: NDArray[np.int64], labels: int, strength: float = STRENGTH
) -> tuple[Doubles, Doubles]:
    """Return weights `[labels, features]` and biases `[labels]` of a logistic regression with a squared penalty.

    Nesterov's accelerated gradient, with the step that the features' size allows.
    """
    rows = len(features)
    wanted = np.eye(labels, dtype=np.float64)[golds]
    inputs = np.hstack([features, np.ones((rows, 1))]).astype(np.float64)
    step = 1 / (0.5 * np.linalg.norm(inputs, 2) ** 2 / rows + strength)
    found: Doubles = np.zeros((labels, inputs.shape[1]))
    ahead = found
    for number in range(STEPS):
        slope = (softmax(inputs @ ahead.T) - wanted).T @ inputs / rows
        slope[:, :-1] += strength * ahead[:, :-1]
        moved = ahead - step * slope
        ahead = moved + number / (number + 3) * (moved - found)
        found = moved
    return found[:, :-1], found[:, -1]


def prove(before: Model, after: Model, *names: str) -> dict[str, int]:
    """Compare all files but the named tasks' own, and the answers of all others; return how many were compared.

    Raises:
        UmbelError: one differs.
    """
    hashes = [_hashes(model.pack, names) for model in (before, after)]
    others = [task for task in before.tasks if task not in names]
    answers = [model(list(PROBES), others) for model in (before, after)]
    differing = [key for key in hashes[0] if hashes[0][key] != hashes[1].get(key)]
    differing += [
        f"the answer of {task} to {one.text!r:.30}"
        for one, other in zip(*answers, strict=True)
        for task in others
        if not _same(one[task], other[task])
    ]
    if differing:
        found = f"changing {', '.join(names)} moved {', '.join(differing[:5])}"
        raise UmbelError(found, "nothing was written; please report this")
    return {"files": len(hashes[0]), "answers": len(others) * len(PROBES)}


def _hashes(pack: Pack, names: Collection[str]) -> dict[str, str]:
    """Return the hash of every file that is not the named tasks' own, and of the manifest's entries of other tasks."""
    manifest = pack.manifest
    others = {task: entry for task, entry in manifest.tasks.items() if task not in names}
    files = [
        manifest.adapter,
        manifest.branches,
        manifest.reading,
        manifest.roundings,
        *(e.head for e in others.values()),
        *(e.fork for e in others.values()),
        *(e.ngrams for e in others.values()),
    ]
    entries = {f"{MANIFEST}: {task}": entry.model_dump_json() for task, entry in others.items()}
    return {each.file: each.sha256 for each in files if each} | entries


def _same(one: object, other: object) -> bool:
    if hasattr(one, "vector") and hasattr(other, "vector"):
        return bool(np.array_equal(one.vector, other.vector))
    return one == other


def _accuracy(model: Model, name: str, rows: Sequence[Row]) -> float:
    results = model([row.text for row in rows], [name])
    hits = 0
    for row, result in zip(rows, results, strict=True):
        found = result[name]
        assert isinstance(found, LabelPrediction)
        hits += max(found.probabilities, key=found.probabilities.__getitem__) == row.label
    return 100 * hits / len(rows)
