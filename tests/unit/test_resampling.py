"""The fast sums against each kind's own score, on all rows and on resampled ones."""

import numpy as np
import pytest

from umbel.kinds.base import kind_of
from umbel.records import LabelPrediction, LabelsPrediction, ScorePrediction, Span, SpansPrediction, Task
from umbel.resampling import _figure, given_set, score_interval

LABELS = ("a", "b", "c", "never")


def one(random, metric, **fields):
    task = Task("t", "text-classification", LABELS, metric=metric, **fields)
    golds = [LABELS[n] for n in random.integers(0, 3, 60)]
    given = [LABELS[n] for n in random.integers(0, 4, 60)]
    made = [LabelPrediction(g, 0.7, {label: 0.7 if label == g else 0.1 for label in LABELS}) for g in given]
    return task, golds, made


def several(random, metric):
    task = Task("t", "text-classification", LABELS, multi_label=True, metric=metric)

    def drawn():
        return frozenset(np.array(LABELS)[random.random(4) < 0.4].tolist())

    found = [drawn() for _ in range(60)]
    return task, [drawn() for _ in range(60)], [LabelsPrediction(tuple(f), dict.fromkeys(LABELS, 0.5)) for f in found]


def spans(random, metric):
    task = Task("t", "token-classification", ("x", "y"), metric=metric)

    def drawn():
        starts = np.sort(random.choice(20, random.integers(0, 4), replace=False))
        return tuple((int(s), int(s) + 1, "xy"[random.integers(2)]) for s in starts)

    golds = [drawn() for _ in range(60)]
    given = [tuple(g for g in gold if random.random() < 0.7) for gold in golds]
    return task, golds, [SpansPrediction(tuple(Span(*each) for each in some)) for some in given]


def numbers(random, metric):
    golds = random.normal(size=60).tolist()
    return Task("t", "regression", metric=metric), golds, [ScorePrediction(g + float(random.normal())) for g in golds]


CASES = [
    (one, "accuracy"), (one, "macro-f1"), (one, "micro-f1"), (several, "accuracy"), (several, "macro-f1"),
    (several, "micro-f1"), (spans, "f1"), (numbers, "pearson"), (numbers, "spearman"), (numbers, "mean-absolute-error"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "metric"), CASES)
def test_sums_give_what_the_kind_scores(made, metric):
    task, golds, predictions = made(np.random.default_rng(1), metric)
    figure = _figure(task, golds, predictions)
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(60, size=60) if seed else np.arange(60)
        chosen = [golds[row] for row in rows], [predictions[row] for row in rows]
        assert figure(rows) == pytest.approx(kind_of(task.kind).score(task, *chosen)[metric], abs=1e-3)


def test_a_metric_that_is_no_sum_is_scored_row_by_row():
    task, golds, predictions = spans(np.random.default_rng(2), "precision")
    assert _figure(task, golds, predictions) is None
    value, low, high = score_interval(task, golds, predictions)
    assert value == pytest.approx(kind_of(task.kind).score(task, golds, predictions)["precision"])
    assert low < value < high or low == value == high == 100


def test_an_abstaining_answer_counts_by_its_likeliest_label():
    assert given_set(LabelPrediction(None, 0.4, {"a": 0.4, "b": 0.3}, abstained=True)) == {"a"}
    with pytest.raises(TypeError, match="ScorePrediction"):
        given_set(ScorePrediction(1.0))
