"""Fits temperatures and thresholds on dev logits (Guo et al. 2017), in numpy; knows nothing of packs and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from umbel.records import ANY_LANGUAGE

Floats = NDArray[np.floating]

MIN_ROWS = 50  # a language with fewer dev rows takes the general temperature
MIN_POSITIVES = 10  # a label with fewer positives takes the task's common threshold
_LOW, _HIGH = 0.1, 10.0


def softmax(logits: Floats) -> Floats:
    """Return probabilities over the last axis."""
    shifted: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def sigmoid(logits: Floats) -> Floats:
    """Return independent probabilities."""
    probabilities: Floats = 0.5 * (np.tanh(0.5 * logits) + 1)
    return probabilities


def cross_entropy(logits: Floats, golds: NDArray[np.integer]) -> float:
    """Return the mean negative log likelihood of gold indices `[rows]` under logits `[rows, labels]`."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1))
    return float((log_sum - shifted[np.arange(len(golds)), golds]).mean())


def binary_cross_entropy(logits: Floats, golds: Floats) -> float:
    """Return the mean negative log likelihood of 0/1 golds under logits, both `[rows, labels]`."""
    return float((np.logaddexp(0, logits) - logits * golds).mean())


def fit_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature that minimises `loss`, by golden-section search over its logarithm."""
    low, high, ratio = float(np.log(_LOW)), float(np.log(_HIGH)), (5**0.5 - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    losses = [loss(float(np.exp(place))) for place in inner]
    for _ in range(30):  # each time one of the two inner places is kept
        if losses[0] < losses[1]:
            high, inner[1], losses[1] = inner[1], inner[0], losses[0]
            inner[0] = high - ratio * (high - low)
            losses[0] = loss(float(np.exp(inner[0])))
        else:
            low, inner[0], losses[0] = inner[0], inner[1], losses[1]
            inner[1] = low + ratio * (high - low)
            losses[1] = loss(float(np.exp(inner[1])))
    return round(float(np.exp((low + high) / 2)), 4)


def fit_temperatures(
    logits: Floats, golds: NDArray[np.generic], languages: Sequence[str], loss: Callable[..., float]
) -> Mapping[str, float]:
    """Return a temperature for all rows (`*`) and one for each language with enough of them."""
    groups = {ANY_LANGUAGE: np.ones(len(logits), bool)}
    names = np.array(languages)
    groups |= {name: names == name for name in sorted(set(languages))}
    return {
        name: fit_temperature(lambda t, rows=rows: loss(logits[rows] / t, golds[rows]))  # type: ignore[misc]
        for name, rows in groups.items()
        if name == ANY_LANGUAGE or rows.sum() >= MIN_ROWS
    }


def fit_thresholds(probabilities: Floats, golds: Floats) -> NDArray[np.float64]:
    """Return for each label the probability from which it is given, the one with the best F1 on dev `[labels]`.

    Labels with few positives share the threshold that is best over all labels together.
    """
    common = _best_threshold(probabilities.ravel(), golds.ravel())
    return np.array(
        [
            _best_threshold(probabilities[:, label], golds[:, label])
            if golds[:, label].sum() >= MIN_POSITIVES
            else common
            for label in range(golds.shape[1])
        ]
    )


def _best_threshold(probabilities: Floats, golds: Floats) -> float:
    """Return the middle one of the thresholds with the best F1: furthest from both sides, and 0.5 without positives."""
    candidates = np.linspace(0.05, 0.95, 91).round(4)
    given = probabilities[:, None] >= candidates  # [rows, candidates]
    hits = (given & (golds[:, None] > 0)).sum(axis=0)
    scores = 2 * hits / np.maximum(given.sum(axis=0) + golds.sum(), 1)
    best = np.flatnonzero(scores == scores.max())
    return float(candidates[best[len(best) // 2]])
