"""How sure a figure is: intervals over seeds and by resampling, rank correlation; in numpy, knows nothing of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from umbel.metrics import spearman

LEVEL = 0.95
DRAWS = 1000
# Student's 97.5th percentile by degrees of freedom; beyond the table the normal one is within 2 %.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_NORMAL = 1.96


class Interval(NamedTuple):
    """A figure and the ends of its 95 % interval; the ends are the figure itself where nothing is known."""

    value: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Interval:
    """Return the mean of one figure's values under several seeds, with Student's interval.

    >>> over_seeds([1.0, 2.0, 3.0]).value
    2.0
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, mean, mean)
    freedom = len(values) - 1
    factor = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL
    half = factor * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half)


def resampled(figure: Callable[[NDArray[np.intp]], float], rows: int, draws: int = DRAWS, seed: int = 1) -> Interval:
    """Return a figure of all rows with its percentile interval over resampled ones (Efron 1979).

    `figure` is given the places of the rows to count, each as often as it was drawn.
    """
    value = figure(np.arange(rows))
    if rows < 2:
        return Interval(value, value, value)
    rng = np.random.default_rng(seed)
    found = [figure(rng.integers(rows, size=rows)) for _ in range(draws)]
    low, high = np.percentile(found, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(value, float(low), float(high))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return Spearman's correlation between -1 and 1, with its interval over resampled pairs."""
    left, right = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return resampled(lambda rows: spearman(left[rows], right[rows]) / 100, len(left))


def rounded(value: Any, digits: int = 4) -> Any:
    """Return plain values with their floats rounded; what is not a number becomes None."""
    if isinstance(value, float):
        return round(value, digits) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each, digits) for each in value]
    return value
