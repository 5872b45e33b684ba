"""Regression: what a cell may hold, how the head is trained, merged and scored."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from umbel.kinds.regress import Regression
from umbel.records import ScorePrediction, Task, Window

KIND = Regression()
TASK = Task("mood", "regression", metric="pearson")


def window(tokens, first=0):
    return Window(np.zeros(tokens, np.int32), np.zeros((tokens, 2), np.int32), first)


@pytest.mark.parametrize(("cell", "number"), [(3, 3.0), ("-2.5", -2.5), (0.25, 0.25), ("1e-3", 0.001)])
def test_numbers_are_read(cell, number):
    assert KIND.parse(TASK, cell, "text") == number


@pytest.mark.parametrize("cell", ["high", None, "", [1], {"a": 1}, "nan", "inf", float("nan")])
def test_what_is_no_number_is_refused_by_name(cell):
    with pytest.raises(ValueError, match=r"expected a (finite )?number") as caught:
        KIND.parse(TASK, cell, "text")
    assert repr(cell) in str(caught.value)


def test_there_are_no_labels_and_one_logit():
    assert KIND.labels_in(4) == ()
    assert KIND.width(TASK) == 1
    assert KIND.target(TASK, 2.5, window(4)).tolist() == [2.5]


def test_loss_is_of_each_row():
    logits, target = torch.tensor([[0.5], [3.0]]), torch.tensor([[0.0], [1.0]])
    losses = KIND.loss(TASK, logits, target)
    assert losses.tolist() == pytest.approx([0.125, 1.5])
    assert losses.mean() == functional.smooth_l1_loss(logits, target)


@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.integers(2, 50)), min_size=1, max_size=6))
def test_windows_merge_by_their_mean_weighted_by_tokens(parts):
    windows = [window(tokens) for _, tokens in parts]
    merged = KIND.merge(TASK, [np.array([value], np.float32) for value, _ in parts], windows)
    expected = np.average([value for value, _ in parts], weights=[tokens for _, tokens in parts])
    assert merged == pytest.approx([expected], abs=1e-5)
    assert KIND.predict(TASK, merged, "text", windows[0].offsets, "en") == ScorePrediction(float(merged[0]))


def test_scores_are_both_correlations_and_the_error():
    scores = KIND.score(TASK, [1.0, 2.0, 4.0], [ScorePrediction(s) for s in (2.0, 4.0, 8.0)])
    assert scores == {
        "pearson": pytest.approx(100),
        "spearman": pytest.approx(100),
        "mean-absolute-error": pytest.approx(7 / 3),
    }
    assert set(scores) == set(KIND.metrics)
    assert KIND.score(TASK, [], [])["mean-absolute-error"] == 0


def test_there_is_nothing_to_count_or_calibrate():
    assert KIND.observe(TASK, []) == TASK
    assert KIND.calibrate(TASK, [np.zeros(1, np.float32)], [np.zeros(1)], ["en"]) == (TASK, {})
