"""The design's invariants as named assertions over anything that answers texts: `answer(texts, tasks)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from umbel.records import LabelPrediction, LabelsPrediction, ScorePrediction, SpansPrediction, VectorPrediction

Answers = Sequence[Mapping[str, Any]]
Predictor = Callable[[list[str], list[str]], Answers]


def numbers_of(prediction: Any) -> np.ndarray:
    """Return a prediction as numbers: what it gave, and how sure it was."""
    match prediction:
        case LabelPrediction() | LabelsPrediction():
            return np.array(list(prediction.probabilities.values()))
        case ScorePrediction():
            return np.array([prediction.score])
        case VectorPrediction():
            return np.asarray(prediction.vector)
        case SpansPrediction():
            return np.array([[s.start, s.end, s.probability] for s in prediction]).ravel()
    raise TypeError(type(prediction))


def assert_same(first: Any, second: Any, within: float = 0.0) -> None:
    """Two predictions give the same answer, their numbers at most `within` apart; 0 asks for the same bits."""
    left, right = numbers_of(first), numbers_of(second)
    assert left.shape == right.shape
    if within == 0:
        assert np.array_equal(left, right)
    else:
        assert np.allclose(left, right, rtol=0, atol=within)
    if isinstance(first, LabelPrediction):
        assert first.label == second.label
    if isinstance(first, SpansPrediction):
        assert [s.label for s in first] == [s.label for s in second]


def assert_isolated(answer: Predictor, texts: list[str], tasks: list[str]) -> None:
    """A task answers with the same bits alone and beside any others."""
    together = answer(texts, tasks)
    for task in tasks:
        for alone, beside in zip(answer(texts, [task]), together, strict=True):
            assert_same(alone[task], beside[task])


def assert_order_of_tasks(answer: Predictor, texts: list[str], tasks: list[str], permuted: list[str]) -> None:
    """Permuting tasks permutes the answers and changes nothing else."""
    for first, second in zip(answer(texts, tasks), answer(texts, permuted), strict=True):
        assert list(second) == permuted
        for task in tasks:
            assert_same(first[task], second[task])


def assert_batch_free(answer: Predictor, texts: list[str], tasks: list[str], within: float = 0.0) -> None:
    """Each text alone, and all of them reversed, give what all of them together give."""
    together = answer(texts, tasks)
    turned = list(reversed(answer(list(reversed(texts)), tasks)))
    for text, first, second in zip(texts, together, turned, strict=True):
        alone = answer([text], tasks)[0]
        for task in tasks:
            assert_same(first[task], second[task], within)
            assert_same(first[task], alone[task], within)
