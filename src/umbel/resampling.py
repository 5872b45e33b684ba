"""Scores of resampled dev rows, fast: each metric as sums over rows, so that a thousand draws cost one pass each.

Equal to what a kind's `score` gives on the same rows (tests/unit/test_resampling.py). Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel import metrics
from umbel.intervals import DRAWS, Interval, resampled
from umbel.kinds.base import kind_of
from umbel.records import LabelPrediction, LabelsPrediction, Prediction, ScorePrediction, SpansPrediction, Task

Floats = NDArray[np.float64]
Figure = Callable[[NDArray[np.intp]], float]
SLOW_DRAWS = 100  # of metrics that are not sums over rows


def score_interval(task: Task, golds: Sequence[Any], predictions: Sequence[Prediction], draws: int = 1000) -> Interval:
    """Return the task's own metric on these rows, with its 95 % interval over resampled rows."""
    figure, most = _any_figure(task, golds, predictions)
    return resampled(figure, len(golds), min(draws, most))


def gain_interval(
    task: Task, golds: Sequence[Any], before: Sequence[Prediction], after: Sequence[Prediction], draws: int = 1000
) -> Interval:
    """Return by how much the later answers to the same rows score better, with its 95 % interval over resampled rows.

    Both are counted on the same draws, so that what is hard for both does not count as noise.
    """
    first, most = _any_figure(task, golds, before)
    second, _ = _any_figure(task, golds, after)
    sign = -1 if task.metric in metrics.LOWER_IS_BETTER else 1
    return resampled(lambda rows: sign * (second(rows) - first(rows)), len(golds), min(draws, most))


def _any_figure(task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> tuple[Figure, int]:
    """Return what scores chosen rows, and how many draws of it are affordable."""
    figure = _figure(task, golds, predictions)
    if figure is not None:
        return figure, DRAWS

    def slow(rows: NDArray[np.intp]) -> float:
        places = rows.tolist()
        chosen = [golds[row] for row in places], [predictions[row] for row in places]
        return kind_of(task.kind).score(task, *chosen)[task.metric]

    return slow, SLOW_DRAWS


def gold_set(gold: Any) -> frozenset[Any]:
    """Return a gold answer as the set of what is right: labels, or spans `(start, end, label)`."""
    return frozenset(gold) if isinstance(gold, frozenset | tuple) else frozenset([gold])


def given_set(prediction: Prediction) -> frozenset[Any]:
    """Return an answer as the set of what was given; an abstaining one counts by its likeliest label."""
    match prediction:
        case LabelPrediction(label=label, probabilities=probabilities):
            return frozenset([label or max(probabilities, key=probabilities.__getitem__)])
        case LabelsPrediction(labels=labels):
            return frozenset(labels)
        case SpansPrediction():
            return frozenset((span.start, span.end, span.label) for span in prediction)
    raise TypeError(type(prediction).__name__)


def _figure(task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> Figure | None:
    if all(isinstance(prediction, ScorePrediction) for prediction in predictions):
        return _of_numbers(task.metric, golds, predictions)
    if not all(isinstance(p, LabelPrediction | LabelsPrediction | SpansPrediction) for p in predictions):
        return None
    wanted, given = [gold_set(gold) for gold in golds], [given_set(prediction) for prediction in predictions]
    if task.metric == "accuracy":
        right = np.array([gold == found for gold, found in zip(wanted, given, strict=True)], float)
        return lambda rows: 100 * float(right[rows].mean())
    if task.metric in ("f1", "micro-f1"):
        counts = np.array([(len(g & f), len(f), len(g)) for g, f in zip(wanted, given, strict=True)], float)
        return lambda rows: metrics.f1(*counts[rows].sum(axis=0).tolist())
    if task.metric == "macro-f1":
        return _of_labels(task, wanted, given)
    return None


def _of_numbers(metric: str, golds: Sequence[Any], predictions: Sequence[Prediction]) -> Figure | None:
    wanted = np.array(golds, float)
    found = np.array([prediction.score for prediction in predictions if isinstance(prediction, ScorePrediction)])
    known: dict[str, Figure] = {
        "pearson": lambda rows: metrics.pearson(wanted[rows], found[rows]),
        "spearman": lambda rows: metrics.spearman(wanted[rows], found[rows]),
        "mean-absolute-error": lambda rows: float(np.abs(wanted - found)[rows].mean()),
    }
    return known.get(metric)


def _of_labels(task: Task, wanted: Sequence[frozenset[Any]], given: Sequence[frozenset[Any]]) -> Figure:
    golds, found = _marks(task, wanted), _marks(task, given)
    hits = golds * found

    def figure(rows: NDArray[np.intp]) -> float:
        weights = np.bincount(rows, minlength=len(golds)).astype(np.float32)
        right, both = weights @ hits, weights @ golds + weights @ found
        return 100 * float(np.mean(2 * right / np.maximum(both, 1)))

    return figure


def _marks(task: Task, sets: Sequence[frozenset[Any]]) -> NDArray[np.float32]:
    """Return which labels each row holds `[rows, labels]`."""
    return np.array([[label in each for label in task.labels] for each in sets], np.float32)
