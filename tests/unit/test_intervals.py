"""Intervals against scipy, and rank correlation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from umbel.intervals import Interval, over_seeds, rank_correlation, resampled, rounded

values = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=16)


@given(values)
def test_the_interval_over_seeds_is_students(found):
    mean, low, high = over_seeds(found)
    spread = np.std(found, ddof=1) / len(found) ** 0.5
    wanted = stats.t.interval(0.95, len(found) - 1, loc=np.mean(found), scale=spread) if spread else (mean, mean)
    assert (low, high) == pytest.approx(wanted, abs=1e-3 + 0.001 * spread)


def test_one_seed_tells_nothing_of_its_spread():
    assert over_seeds([3.0]) == Interval(3.0, 3.0, 3.0)


def test_resampling_a_mean_gives_about_the_usual_interval():
    sample = np.random.default_rng(3).normal(10, 4, 400)
    mean, low, high = resampled(lambda rows: float(sample[rows].mean()), len(sample))
    assert mean == pytest.approx(sample.mean())
    assert high - low == pytest.approx(2 * 1.96 * sample.std() / 20, rel=0.15)
    assert low < mean < high


def test_resampling_is_the_same_each_time():
    sample = np.arange(30.0)

    def figure(rows):
        return float(sample[rows].mean())

    assert resampled(figure, 30) == resampled(figure, 30)
    assert resampled(lambda rows: 5.0, 1) == Interval(5.0, 5.0, 5.0)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=5, max_size=30))
def test_rank_correlation_is_scipys(pairs):
    first, second = zip(*pairs, strict=True)
    found = rank_correlation(first, second)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert found.value == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-6)
    assert found.low <= found.high


def test_plain_values_are_rounded_and_nan_is_nothing():
    assert rounded({"a": [1.23456, float("nan")], "b": Interval(1.0, 2.00001, 3.0)}) == {
        "a": [1.2346, None],
        "b": [1.0, 2.0, 3.0],
    }
