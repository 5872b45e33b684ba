"""Scores of predictions against gold answers, in numpy: shares and F1 in percent, correlations times 100.

Knows nothing of tasks and texts. Equal to scikit-learn, scipy and seqeval on the same input
(tests/unit/test_metrics.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LOWER_IS_BETTER = frozenset({"mean-absolute-error"})


def better(metric: str, score: float, than: float) -> bool:
    """Tell whether a score of `metric` is better than another: higher, or lower where it measures an error."""
    return score < than if metric in LOWER_IS_BETTER else score > than


def accuracy(golds: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """Return the share of equal pairs in percent; 0 for no pairs."""
    return 100 * sum(map(_same, golds, predicted)) / max(len(golds), 1)


def _same(gold: Hashable, predicted: Hashable) -> bool:
    return gold == predicted


def f1(hits: float, predicted: float, golds: float) -> float:
    """Return F1 in percent from counts; 0 where nothing was right."""
    return 200 * hits / (predicted + golds) if hits else 0.0


def macro_f1(golds: Sequence[AbstractSet[str]], predicted: Sequence[AbstractSet[str]], labels: Sequence[str]) -> float:
    """Return the mean over `labels` of each label's F1, in percent; a label never seen nor given counts 0."""
    return float(np.mean([_label_f1(golds, predicted, label) for label in labels])) if labels else 0.0


def _label_f1(golds: Sequence[AbstractSet[str]], predicted: Sequence[AbstractSet[str]], label: str) -> float:
    hits = sum(label in gold and label in found for gold, found in zip(golds, predicted, strict=True))
    return f1(hits, sum(label in found for found in predicted), sum(label in gold for gold in golds))


def micro(golds: Sequence[AbstractSet[Hashable]], predicted: Sequence[AbstractSet[Hashable]]) -> dict[str, float]:
    """Return precision, recall and F1 in percent over all items of all sets; for spans, exact matches."""
    hits = sum(len(gold & found) for gold, found in zip(golds, predicted, strict=True))
    given, wanted = sum(map(len, predicted)), sum(map(len, golds))
    return {
        "f1": f1(hits, given, wanted),
        "precision": 100 * hits / given if given else 0.0,
        "recall": 100 * hits / wanted if wanted else 0.0,
    }


def pearson(golds: Floats, predicted: Floats) -> float:
    """Return Pearson's correlation times 100; 0 where one side is constant."""
    if len(golds) < 2 or np.ptp(golds) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(np.clip(100 * _direction(golds) @ _direction(predicted), -100, 100))


def _direction(values: Floats) -> NDArray[np.float64]:
    """Return the distances from the mean as a vector of length 1; scaled first, for squares of tiny ones vanish."""
    scaled = np.asarray(values, np.float64) / np.abs(values).max()
    distances = scaled - scaled.mean()
    distances /= max(float(np.abs(distances).max()), np.finfo(float).tiny)
    direction: NDArray[np.float64] = distances / max(float(np.linalg.norm(distances)), 1.0)
    return direction


def spearman(golds: Floats, predicted: Floats) -> float:
    """Return Spearman's rank correlation times 100, ties sharing their mean rank."""
    return pearson(_ranks(golds), _ranks(predicted))


def _ranks(values: Floats) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017) over equal-width bins, between 0 and 1."""
    if not len(confidence):
        return 0.0
    bucket = np.minimum((confidence * bins).astype(int), bins - 1)
    weight = np.bincount(bucket, minlength=bins)
    gap = np.bincount(bucket, confidence, bins) - np.bincount(bucket, right.astype(float), bins)
    return float(np.abs(gap).sum() / weight.sum())
