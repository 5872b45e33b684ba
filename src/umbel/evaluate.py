"""Scores any predictor on dev rows: the training engine, the compiled runtime or a server; knows nothing of engines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from umbel import metrics
from umbel.kinds.base import kind_of
from umbel.records import ANY_LANGUAGE, Example, LabelPrediction, Prediction, Task

LIMIT = 1_000_000


class Predictor(Protocol):
    """Answers the named tasks for each text, in order."""

    def __call__(self, texts: list[str], tasks: Sequence[str]) -> Sequence[Mapping[str, Prediction]]:
        """Return one mapping of task to prediction for each text."""


@dataclass
class _Answers:
    golds: list[Any] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)


def evaluate(
    predictor: Predictor,
    tasks: Mapping[str, Task],
    dev: Mapping[str, Sequence[Example]],
    only: Collection[str] = (),
    limit: int = LIMIT,
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, dict[str, Any]]:
    """Return each task's report: `rows`, `metric`, `score`, all `scores`, `languages` and, for one label, `ece`.

    `only` are the names of the tasks to score, all of `tasks` by default.
    Every dev file is read once for all its tasks, at most `limit` rows of it, evenly spread; `progress` is told how
    many rows are done.
    """
    answers: dict[tuple[str, str], _Answers] = {}
    for file in dev.values():
        for example, predictions in answered(predictor, file, only or tasks, limit):
            for name, prediction in predictions.items():
                for language in (ANY_LANGUAGE, example.language):
                    kept = answers.setdefault((name, language), _Answers())
                    kept.golds.append(example.golds[name])
                    kept.predictions.append(prediction)
        progress(min(len(file), limit))
    return {name: _report(task, answers) for name, task in tasks.items() if (name, ANY_LANGUAGE) in answers}


def answered(
    predictor: Predictor, file: Sequence[Example], only: Collection[str], limit: int = LIMIT
) -> list[tuple[Example, dict[str, Prediction]]]:
    """Return the rows of one file, at most `limit`, each with the answers of those tasks that it has golds for."""
    examples = spread(file, limit)
    names = sorted({name for example in examples for name in example.golds if name in only})
    if not names:
        return []
    results = predictor([example.text for example in examples], names)
    return [
        (example, {name: result[name] for name in names if name in example.golds})
        for example, result in zip(examples, results, strict=True)
    ]


def _report(task: Task, answers: Mapping[tuple[str, str], _Answers]) -> dict[str, Any]:
    kind = kind_of(task.kind)
    everything = answers[task.name, ANY_LANGUAGE]
    scores = kind.score(task, everything.golds, everything.predictions)
    languages = {
        language: kind.score(task, kept.golds, kept.predictions)[task.metric]
        for (name, language), kept in sorted(answers.items())
        if name == task.name and language != ANY_LANGUAGE
    }
    report = {
        "rows": len(everything.golds),
        "metric": task.metric,
        "score": scores[task.metric],
        "scores": scores,
        "languages": languages,
    }
    return report | _calibration(everything)


def _calibration(answers: _Answers) -> dict[str, float]:
    pairs = [
        (max(prediction.probabilities, key=prediction.probabilities.__getitem__), prediction.probabilities, gold)
        for prediction, gold in zip(answers.predictions, answers.golds, strict=True)
        if isinstance(prediction, LabelPrediction)
    ]
    if not pairs:
        return {}
    confidence = np.array([probabilities[label] for label, probabilities, _ in pairs])
    right = np.array([label == gold for label, _, gold in pairs], bool)
    return {"ece": metrics.calibration_error(confidence, right)}


def spread(examples: Sequence[Example], limit: int) -> Sequence[Example]:
    """Return at most `limit` examples, evenly spread over the file."""
    if len(examples) <= limit:
        return examples
    return [examples[place * len(examples) // limit] for place in range(limit)]
