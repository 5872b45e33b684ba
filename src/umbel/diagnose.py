"""Looks at a pack's answers to dev rows, task by task: intervals, calibration, risk, confusions, worst mistakes.

Takes any predictor; knows nothing of engines, files and plots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel import metrics
from umbel.calibrate import sigmoid, softmax
from umbel.evaluate import LIMIT, Predictor, answered
from umbel.intervals import rounded
from umbel.kinds.base import kind_of
from umbel.records import Example, LabelPrediction, LabelsPrediction, Prediction, SpansPrediction, Task
from umbel.resampling import given_set, gold_set, score_interval

Floats = NDArray[np.floating[Any]]
BINS = 10
MISTAKES = 5  # shown of each task
SHOWN = 240  # characters of a text
MATRIX_LABELS = 32  # up to so many labels a confusion matrix is given
CONFUSED = 8  # pairs of labels that are listed


@dataclass
class Seen:
    """The rows of one task and its answers to them."""

    examples: list[Example] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)

    def golds(self, task: Task) -> list[Any]:
        """Return the gold answers."""
        return [example.golds[task.name] for example in self.examples]


def diagnose(
    predictor: Predictor,
    tasks: Mapping[str, Task],
    dev: Mapping[str, Sequence[Example]],
    limit: int = LIMIT,
    told: Callable[[int], None] = lambda rows: None,
    texts: bool = True,
) -> dict[str, dict[str, Any]]:
    """Return what is found of each task, as plain values; each dev file is read once, at most `limit` rows of it.

    Without `texts` the mistakes are left out, which hold texts of the data.
    """
    seen: dict[str, Seen] = {}
    for examples in dev.values():
        for example, predictions in answered(predictor, examples, tasks, limit):
            for name, prediction in predictions.items():
                kept = seen.setdefault(name, Seen())
                kept.examples.append(example)
                kept.predictions.append(prediction)
        told(min(len(examples), limit))
    return {name: of_task(task, seen[name], texts) for name, task in tasks.items() if name in seen}


def of_task(task: Task, seen: Seen, texts: bool = True) -> dict[str, Any]:
    """Return all that is found of one task."""
    golds = seen.golds(task)
    found: dict[str, Any] = {
        "rows": len(golds),
        "metric": task.metric,
        "score": score_interval(task, golds, seen.predictions),
        "scores": kind_of(task.kind).score(task, golds, seen.predictions),
        "languages": _languages(task, seen),
        "calibration": calibration(task, seen),
        "risk": risk(task, seen),
        "confusions": confusions(task, seen),
        "mistakes": mistakes(task, seen) if texts else [],
    }
    return rounded(found)  # type: ignore[no-any-return]


def _languages(task: Task, seen: Seen) -> dict[str, Any]:
    found = {}
    for language in sorted({example.language for example in seen.examples}):
        places = [place for place, example in enumerate(seen.examples) if example.language == language]
        golds = [seen.examples[place].golds[task.name] for place in places]
        interval = score_interval(task, golds, [seen.predictions[place] for place in places], draws=300)
        found[language] = {"rows": len(places), "score": interval}
    return found


def calibration(task: Task, seen: Seen) -> dict[str, Any] | None:
    """Return the curves of confidence against the share that is right, before and after calibrating, and both ECEs.

    Of one label: its probability; of several: each label's own; of spans: each given span's, after calibrating alone,
    for a span's probability before is not kept. None for numbers and vectors.
    """
    after = _confidences(task, seen, calibrated=True)
    if after is None or not len(after[0]):
        return None
    before = _confidences(task, seen, calibrated=False)
    curves = {"after": _curve(*after)} | ({"before": _curve(*before)} if before is not None else {})
    return curves


def _curve(confidence: Floats, right: NDArray[np.bool_]) -> dict[str, Any]:
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    points = [
        {"confidence": float(confidence[bins == b].mean()), "right": float(right[bins == b].mean()), "rows": int(n)}
        for b, n in enumerate(np.bincount(bins, minlength=BINS))
        if n
    ]
    return {"ece": metrics.calibration_error(confidence, right), "points": points}


def _confidences(task: Task, seen: Seen, calibrated: bool) -> tuple[Floats, NDArray[np.bool_]] | None:
    """Return probabilities and whether each was right; before calibrating they are raised to the temperature again."""
    golds = [gold_set(gold) for gold in seen.golds(task)] if not _is_number(seen) else []
    if all(isinstance(prediction, SpansPrediction) for prediction in seen.predictions):
        if not calibrated:
            return None
        pairs = [
            (span.probability, (span.start, span.end, span.label) in gold)
            for gold, prediction in zip(golds, seen.predictions, strict=True)
            if isinstance(prediction, SpansPrediction)
            for span in prediction
        ]
        return np.array([p for p, _ in pairs]), np.array([right for _, right in pairs], bool)
    if not all(isinstance(prediction, LabelPrediction | LabelsPrediction) for prediction in seen.predictions):
        return None
    confidence: list[Floats] = []
    right: list[NDArray[np.bool_]] = []
    for example, gold, prediction in zip(seen.examples, golds, seen.predictions, strict=True):
        assert isinstance(prediction, LabelPrediction | LabelsPrediction)
        temperature = 1.0 if calibrated else task.temperature_for(example.language)
        values = np.clip(list(prediction.probabilities.values()), 1e-12, 1 - 1e-12)
        marks = np.array([label in gold for label in prediction.probabilities])
        if isinstance(prediction, LabelsPrediction):
            confidence.append(sigmoid(temperature * np.log(values / (1 - values))))
            right.append(marks)
        else:
            probabilities = softmax(temperature * np.log(values))
            confidence.append(probabilities[[probabilities.argmax()]])
            right.append(marks[[probabilities.argmax()]])
    return np.concatenate(confidence), np.concatenate(right)


def _is_number(seen: Seen) -> bool:
    return not all(isinstance(p, LabelPrediction | LabelsPrediction | SpansPrediction) for p in seen.predictions)


def _sureness(prediction: Prediction) -> float:
    """Return how sure an answer is as a whole: of several labels or spans that of the least sure."""
    match prediction:
        case LabelPrediction(probabilities=probabilities):
            return max(probabilities.values())
        case LabelsPrediction(probabilities=probabilities):
            return min((max(p, 1 - p) for p in probabilities.values()), default=1.0)
        case SpansPrediction(spans=spans):
            return min((span.probability for span in spans), default=1.0)
    return 1.0


def risk(task: Task, seen: Seen) -> list[dict[str, float]] | None:
    """Return the share of wrong answers among the surest 10, 20, ... 100 % of rows; None for numbers and vectors.

    Of several labels or spans an answer is right when all of it is.
    """
    if _is_number(seen):
        return None
    wrong = np.array([gold_set(g) != given_set(p) for g, p in zip(seen.golds(task), seen.predictions, strict=True)])
    sure = np.array([_sureness(prediction) for prediction in seen.predictions])
    order = np.argsort(-sure, kind="stable")
    found = []
    for tenth in range(1, 11):
        kept = order[: max(len(order) * tenth // 10, 1)]
        least = float(sure[kept[-1]])
        found.append({"coverage": tenth / 10, "risk": float(wrong[kept].mean()), "least_sure": least})
    return found


def confusions(task: Task, seen: Seen) -> dict[str, Any] | None:
    """Return the pairs of labels that are mistaken most often, and of few labels the matrix `[gold, given]`."""
    if not all(isinstance(prediction, LabelPrediction) for prediction in seen.predictions):
        return None
    pairs = Counter(
        (gold, next(iter(given_set(prediction))))
        for gold, prediction in zip(seen.golds(task), seen.predictions, strict=True)
    )
    wrong = sorted(((n, g, f) for (g, f), n in pairs.items() if g != f), key=lambda each: (-each[0], each[1:]))
    matrix = [[pairs[gold, found] for found in task.labels] for gold in task.labels]
    return {
        "labels": list(task.labels),
        "matrix": matrix if len(task.labels) <= MATRIX_LABELS else None,
        "pairs": [{"gold": g, "given": f, "rows": n} for n, g, f in wrong[:CONFUSED]],
    }


def mistakes(task: Task, seen: Seen) -> list[dict[str, Any]]:
    """Return the mistakes the pack was surest of, with their texts; of numbers the largest errors."""
    found: list[tuple[float, dict[str, Any]]] = []
    for example, prediction in zip(seen.examples, seen.predictions, strict=True):
        gold = example.golds[task.name]
        said = getattr(prediction, "score", None)
        if said is not None:
            found.append((abs(said - gold), _mistake(example, gold, said, None)))
        elif not _is_number(Seen([example], [prediction])) and gold_set(gold) != given_set(prediction):
            sure = _sureness(prediction)
            found.append((sure, _mistake(example, _shown(gold_set(gold)), _shown(given_set(prediction)), sure)))
    found.sort(key=lambda each: -each[0])
    unique = {each["text"]: each for _, each in reversed(found)}  # a text that stands in several rows is shown once
    return list(unique.values())[::-1][:MISTAKES]


def _mistake(example: Example, gold: Any, given: Any, probability: float | None) -> dict[str, Any]:
    text = example.text if len(example.text) <= SHOWN else example.text[: SHOWN - 1] + "…"
    return {"text": text, "gold": gold, "given": given, "probability": probability, "row": example.source}


def _shown(items: frozenset[Any]) -> list[Any]:
    return [list(item) if isinstance(item, tuple) else item for item in sorted(items)]
