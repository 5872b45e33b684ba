"""Every metric against the library that everyone uses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import metrics

LABELS = ("a", "b", "c", "d")
SETTINGS = settings(max_examples=60, deadline=None)
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)
SETS = st.lists(st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=30)
NUMBERS = st.lists(st.tuples(*[st.floats(-9, 9).map(lambda x: round(x, 1))] * 2), min_size=3, max_size=40)


@SETTINGS
@given(PAIRS)
def test_accuracy_and_macro_f1_of_one_label(pairs):
    from sklearn.metrics import accuracy_score, f1_score

    golds, found = zip(*pairs, strict=True)
    assert metrics.accuracy(golds, found) == pytest.approx(100 * accuracy_score(golds, found))
    expected = 100 * f1_score(golds, found, labels=LABELS, average="macro", zero_division=0)
    assert metrics.macro_f1([{g} for g in golds], [{f} for f in found], LABELS) == pytest.approx(expected)


@SETTINGS
@given(SETS)
def test_f1_of_sets_of_labels(pairs):
    from sklearn.metrics import precision_recall_fscore_support

    golds, found = zip(*pairs, strict=True)
    matrix = [np.array([[label in row for label in LABELS] for row in side], int) for side in (golds, found)]
    precision, recall, f1, _ = precision_recall_fscore_support(*matrix, average="micro", zero_division=0)
    given_scores = metrics.micro(golds, found)
    assert given_scores["f1"] == pytest.approx(100 * f1)
    assert given_scores["precision"] == pytest.approx(100 * precision)
    assert given_scores["recall"] == pytest.approx(100 * recall)
    *_, macro, _ = precision_recall_fscore_support(*matrix, average="macro", zero_division=0)
    assert metrics.macro_f1(golds, found, LABELS) == pytest.approx(100 * macro)


TAGS = st.lists(
    st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), min_size=6, max_size=6), min_size=1, max_size=12
)


@SETTINGS
@given(TAGS, TAGS)
def test_f1_of_spans(golds, found):
    from seqeval.metrics import f1_score
    from seqeval.metrics.sequence_labeling import get_entities

    rows = min(len(golds), len(found))
    golds, found = golds[:rows], found[:rows]
    spans = [[{tuple(item) for item in get_entities(row)} for row in side] for side in (golds, found)]
    if not any(spans[0]) and not any(spans[1]):
        return
    expected = 100 * f1_score(golds, found, zero_division=0)
    assert metrics.micro(*spans)["f1"] == pytest.approx(expected)


@SETTINGS
@given(NUMBERS)
def test_correlations(pairs):
    from scipy.stats import pearsonr, spearmanr

    golds, found = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(golds) < 1e-3 or np.ptp(found) < 1e-3:
        return
    assert metrics.pearson(golds, found) == pytest.approx(100 * pearsonr(golds, found)[0], abs=1e-4)
    assert metrics.spearman(golds, found) == pytest.approx(100 * spearmanr(golds, found)[0], abs=1e-4)


def test_constants_correlate_with_nothing():
    assert metrics.pearson(np.ones(4), np.arange(4.0)) == 0
    assert metrics.spearman(np.arange(1.0), np.arange(1.0)) == 0


def test_calibration_error():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    right = np.array([True, True, True, False, True, False])
    assert metrics.calibration_error(confidence, right) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert metrics.calibration_error(np.zeros(0), np.zeros(0, bool)) == 0
    assert metrics.calibration_error(np.ones(3), np.ones(3, bool)) == 0


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
def test_ties_share_their_rank(pairs):
    from scipy.stats import spearmanr

    golds, found = (np.array(side, float) for side in zip(*pairs, strict=True))
    if np.ptp(golds) and np.ptp(found):
        assert metrics.spearman(golds, found) == pytest.approx(100 * spearmanr(golds, found)[0], abs=1e-9)


@SETTINGS
@given(st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)), max_size=20))
def test_a_correlation_is_always_a_number_from_minus_100_to_100(pairs):
    golds, found = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    for score in (metrics.pearson(golds, found), metrics.spearman(golds, found)):
        assert -100 <= score <= 100


def test_numbers_whose_squares_vanish_still_correlate():
    tiny = np.array([0.0, 1e-200, 2e-200])
    assert metrics.pearson(tiny, np.array([1.0, 2.0, 3.0])) == pytest.approx(100)


def test_no_answers_score_zero():
    assert metrics.accuracy([], []) == 0
    assert metrics.macro_f1([], [], ()) == 0
    assert metrics.micro([], []) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def obvious_calibration_error(confidence, right, bins=15):
    total = 0.0
    for number in range(bins):
        inside = [row for row, value in enumerate(confidence) if number == min(int(value * bins), bins - 1)]
        if inside:
            gap = abs(np.mean([confidence[row] for row in inside]) - np.mean([right[row] for row in inside]))
            total += gap * len(inside) / len(confidence)
    return total


@SETTINGS
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_equals_the_obvious_one(pairs):
    confidence, right = zip(*pairs, strict=True)
    found = metrics.calibration_error(np.array(confidence), np.array(right))
    assert found == pytest.approx(obvious_calibration_error(confidence, right), abs=1e-9)


def test_an_error_is_better_when_lower():
    assert metrics.better("accuracy", 2.0, 1.0)
    assert not metrics.better("accuracy", 1.0, 1.0)
    assert metrics.better("mean-absolute-error", 1.0, 2.0)
    assert not metrics.better("mean-absolute-error", 2.0, 2.0)
