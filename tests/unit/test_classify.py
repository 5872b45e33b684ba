"""Text classification: cells, targets, losses, answers with thresholds and abstention, scores, calibration."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional

from umbel import calibrate, metrics
from umbel.kinds.classify import FEW, TextClassification
from umbel.records import LabelPrediction, LabelsPrediction, Task, Window

KIND = TextClassification()
ONE = Task("intent", "text-classification", ("buy", "other", "refund"), metric="accuracy")
MANY = replace(ONE, name="topics", multi_label=True, metric="macro-f1")
SCOPED = replace(ONE, out_of_scope="other")
OFFSETS = np.zeros((0, 2), np.int32)
WINDOW = Window(np.zeros(2, np.int32), np.zeros((2, 2), np.int32))
LOGITS = arrays(np.float32, 3, elements=st.integers(-20, 20))


def answer(task, logits, language="en"):
    return KIND.predict(task, np.asarray(logits, np.float32), "text", OFFSETS, language)


def logits_of(*probabilities):
    return np.log(np.array(probabilities, np.float32))


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 151])
def test_probabilities_of_few_and_of_many_labels_are_those_of_numpy(count):
    task = Task("one", "text-classification", tuple(map(str, range(count))), temperature={"en": 1.7, "*": 0.6})
    logits = np.random.default_rng(count).normal(size=count).astype(np.float32) * 100
    for language, temperature in (("en", 1.7), ("zh", 0.6)):
        found, expected = answer(task, logits, language), calibrate.softmax(logits / np.float32(temperature))
        np.testing.assert_allclose(list(found.probabilities.values()), expected, atol=1e-6)
        assert (found.label, found.probability) == (str(logits.argmax()), max(found.probabilities.values()))


def test_cells_are_read():
    assert KIND.parse(ONE, "buy", "text") == KIND.parse(ONE, ["buy"], "text") == "buy"
    assert KIND.parse(MANY, ["buy", "refund", "buy"], "text") == {"buy", "refund"}
    assert KIND.parse(MANY, "buy", "text") == {"buy"}
    assert KIND.parse(MANY, [], "text") == frozenset()
    stars = Task("stars", "text-classification", ("1", "2", "true"))
    assert [KIND.parse(stars, cell, "text") for cell in (1, "2", True)] == ["1", "2", "true"]


@pytest.mark.parametrize(
    ("task", "cell", "message"),
    [
        (ONE, "refnd", "'refnd' is not a label; did you mean 'refund'"),
        (ONE, ["buy", "refund"], "found 2 labels, expected one; several need `multi-label: true`"),
        (ONE, [], "found 0 labels"),
        (ONE, 1.5, "found 1.5, expected a label"),
        (ONE, {"label": "buy"}, "expected a label or a list"),
        (MANY, ["buy", None], "found None"),
        (MANY, ["buy", "sell"], "'sell' is not a label"),
    ],
)
def test_what_is_no_label_is_refused(task, cell, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        KIND.parse(task, cell, "text")


def test_targets_and_losses_are_those_of_torch():
    assert KIND.width(ONE) == 3
    one = torch.from_numpy(np.stack([KIND.target(ONE, gold, WINDOW) for gold in ("refund", "buy")]))
    many = torch.from_numpy(np.stack([KIND.target(MANY, gold, WINDOW) for gold in ({"buy", "refund"}, frozenset())]))
    assert one.tolist() == [2, 0]
    assert many.tolist() == [[1, 0, 1], [0, 0, 0]]
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    losses = KIND.loss(ONE, logits, one)
    assert losses.shape == (2,)
    assert losses.mean() == pytest.approx(float(functional.cross_entropy(logits, one)))
    losses = KIND.loss(MANY, logits, many)
    assert losses.shape == (2,)
    assert losses.mean() == pytest.approx(3 * float(functional.binary_cross_entropy_with_logits(logits, many)))


@given(LOGITS)
def test_the_likeliest_label_is_the_answer(logits):
    prediction = answer(ONE, logits)
    assert prediction.label == ONE.labels[int(logits.argmax())]
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction.probability == max(prediction.probabilities.values())
    assert not prediction.abstained
    assert not prediction.out_of_scope


@given(LOGITS, st.floats(0.1, 10))
def test_temperature_changes_how_sure_but_never_the_label(logits, temperature):
    task = replace(ONE, temperature={"*": temperature, "zh": 1.0})
    assert answer(task, logits).label == answer(ONE, logits).label
    assert answer(task, logits, "zh") == answer(ONE, logits)
    assert answer(task, logits).probability == pytest.approx(
        float(calibrate.softmax(logits / temperature).max()), abs=1e-6
    )


def test_below_the_bar_it_abstains_and_still_says_what_it_thought():
    task = replace(ONE, abstain_below=0.6)
    withheld, given_ = answer(task, logits_of(0.5, 0.2, 0.3)), answer(task, logits_of(0.7, 0.1, 0.2))
    assert (withheld.label, withheld.abstained) == (None, True)
    assert max(withheld.probabilities, key=withheld.probabilities.get) == "buy"
    assert (given_.label, given_.abstained) == ("buy", False)


def test_out_of_scope_is_given_from_its_threshold_and_never_withheld():
    task = replace(SCOPED, thresholds={"other": 0.3}, abstain_below=0.9)
    prediction = answer(task, logits_of(0.6, 0.35, 0.05))
    assert (prediction.label, prediction.out_of_scope, prediction.abstained) == ("other", True, False)
    assert prediction.probability == pytest.approx(0.35)
    inside = answer(task, logits_of(0.75, 0.2, 0.05))
    assert (inside.label, inside.out_of_scope, inside.abstained) == (None, False, True)
    assert answer(SCOPED, logits_of(0.1, 0.8, 0.1)).out_of_scope


def test_several_labels_are_given_from_their_thresholds():
    logits = np.log(np.array([0.7, 0.5, 0.2]) / (1 - np.array([0.7, 0.5, 0.2])))
    assert answer(MANY, logits).labels == ("buy", "other")
    assert answer(replace(MANY, thresholds={"buy": 0.8, "refund": 0.1}), logits).labels == ("other", "refund")
    assert answer(replace(MANY, thresholds=dict.fromkeys(MANY.labels, 0.9)), logits).labels == ()
    assert list(answer(MANY, logits).probabilities.values()) == pytest.approx([0.7, 0.5, 0.2], abs=1e-6)


def test_windows_merge_by_the_mean_of_their_logits():
    windows = [WINDOW, Window(np.zeros(6, np.int32), np.zeros((6, 2), np.int32), 2)]
    merged = KIND.merge(ONE, [np.array([4, 0, 0], np.float32), np.array([0, 4, 0], np.float32)], windows)
    assert merged.tolist() == [1, 3, 0]


def test_scores_of_one_label_count_an_abstaining_answer_by_its_best_label():
    task = replace(ONE, abstain_below=0.99)
    found = [answer(task, logits_of(*row)) for row in ((0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.6, 0.3, 0.1))]
    scores = KIND.score(task, ["buy", "refund", "other"], found)
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["micro-f1"] == pytest.approx(200 / 3)
    assert scores["macro-f1"] == pytest.approx((200 * 1 / 3 + 0 + 100) / 3)
    assert "in-scope-accuracy" not in scores


def test_scores_tell_inside_and_out_of_scope_apart():
    task = replace(SCOPED, thresholds={"other": 0.3})
    rows = [(0.9, 0.05, 0.05), (0.6, 0.35, 0.05), (0.6, 0.35, 0.05), (0.1, 0.1, 0.8)]
    scores = KIND.score(task, ["buy", "other", "buy", "other"], [answer(task, logits_of(*row)) for row in rows])
    assert (scores["in-scope-accuracy"], scores["out-of-scope-recall"]) == (50, 50)
    assert set(scores) == set(KIND.metrics)


def test_scores_of_several_labels_are_of_sets():
    found = [LabelsPrediction(("buy",), {}), LabelsPrediction(("buy", "refund"), {}), LabelsPrediction((), {})]
    scores = KIND.score(MANY, [frozenset(["buy"]), frozenset(["buy"]), frozenset()], found)
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["micro-f1"] == pytest.approx(80)


def drawn(rows=400, sharpness=4.0, seed=0):
    random = np.random.default_rng(seed)
    honest = random.normal(size=(rows, 3)).astype(np.float32) * 1.5
    golds = [np.array(random.choice(3, p=calibrate.softmax(row.astype(np.float64))), np.int64) for row in honest]
    return list(honest * sharpness), golds


def test_calibration_fits_each_language_and_says_what_it_gained():
    logits, golds = drawn()
    task, errors = KIND.calibrate(ONE, logits, golds, ["en", "zh"] * 200)
    assert set(task.temperature) == {"*", "en", "zh"}
    assert task.temperature["*"] == pytest.approx(4, rel=0.25)
    assert errors["ece-after"] < errors["ece-before"] / 2
    assert task.thresholds == {}
    assert replace(task, temperature={}) == ONE


def test_calibration_fits_the_threshold_of_out_of_scope():
    logits, golds = drawn()
    task, _ = KIND.calibrate(SCOPED, logits, golds, ["en"] * 400)
    assert set(task.thresholds) == {"other"}
    plain, fitted = ([answer(which, row) for row in logits] for which in (replace(task, thresholds={}), task))
    labels = [ONE.labels[int(gold)] for gold in golds]
    assert f1_of("other", labels, fitted) >= f1_of("other", labels, plain)


def f1_of(label, golds, found):
    pairs = list(zip(golds, [prediction.label for prediction in found], strict=True))
    return metrics.f1(
        sum(pair == (label, label) for pair in pairs),
        sum(second == label for _, second in pairs),
        sum(first == label for first, _ in pairs),
    )


def test_without_rows_out_of_scope_the_label_is_given_from_a_half_on():
    task, _ = KIND.calibrate(SCOPED, [logits_of(0.8, 0.1, 0.1)] * 9, [np.array(0)] * 9, ["en"] * 9)
    assert task.thresholds == {"other": 0.5}


def test_calibration_of_several_labels_fits_their_thresholds():
    random = np.random.default_rng(2)
    golds = (random.random((300, 3)) < 0.3).astype(np.float32)
    logits = (golds * 2 - 3 + random.normal(size=golds.shape) * 0.3).astype(np.float32)  # all below a half
    task, errors = KIND.calibrate(MANY, list(logits), list(golds), ["en"] * 300)
    assert set(task.thresholds) == set(MANY.labels)
    before, after = (
        KIND.score(
            which, [frozenset(np.array(MANY.labels)[row > 0]) for row in golds], [answer(which, r) for r in logits]
        )
        for which in (MANY, task)
    )
    assert after["micro-f1"] > 95 > before["micro-f1"]
    assert set(errors) == {"ece-before", "ece-after"}


def test_train_rows_tell_nothing_more():
    assert KIND.observe(ONE, [("text", "buy", WINDOW)]) == ONE


def test_an_answer_out_of_scope_scores_as_that_label_even_where_another_is_likelier():
    prediction = LabelPrediction("other", 0.3, {"buy": 0.6, "other": 0.3, "refund": 0.1}, out_of_scope=True)
    assert KIND.score(SCOPED, ["other"], [prediction])["accuracy"] == 100
