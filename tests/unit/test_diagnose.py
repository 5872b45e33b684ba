"""What is found in answers to dev rows, on answers made by hand."""

import numpy as np
import pytest

from umbel.calibrate import softmax
from umbel.diagnose import Seen as Rows
from umbel.diagnose import calibration, confusions, diagnose, mistakes, of_task, risk
from umbel.records import Example, LabelPrediction, LabelsPrediction, ScorePrediction, Span, SpansPrediction, Task

TASK = Task("t", "text-classification", ("a", "b"), metric="accuracy", temperature={"*": 2.0, "zh": 1.0})


def answer(p):
    return LabelPrediction("a" if p >= 0.5 else "b", max(p, 1 - p), {"a": p, "b": 1 - p})


def rows_of(pairs, language="en"):
    examples = [Example(f"text {n}", {"t": gold}, f"f:{n}", language) for n, (gold, _) in enumerate(pairs)]
    return Rows(examples, [prediction for _, prediction in pairs])


def test_calibration_before_is_the_logits_own():
    logits = np.random.default_rng(1).normal(size=(40, 2)) * 3
    seen = rows_of([("a", answer(float(softmax(row / 2.0)[0]))) for row in logits])
    found = calibration(TASK, seen)
    before = sum(p["confidence"] * p["rows"] for p in found["before"]["points"]) / 40
    assert before == pytest.approx(float(softmax(logits).max(axis=1).mean()), abs=1e-6)
    after = sum(p["confidence"] * p["rows"] for p in found["after"]["points"]) / 40
    assert after == pytest.approx(float(softmax(logits / 2).max(axis=1).mean()), abs=1e-6)


def test_calibration_of_spans_numbers_and_several_labels():
    spans = Task("t", "token-classification", ("x",), metric="f1")
    seen = rows_of([(((0, 4, "x"),), SpansPrediction((Span(0, 4, "x", "", 0.9), Span(5, 6, "x", "", 0.2))))])
    found = calibration(spans, seen)
    assert "before" not in found
    assert [(p["right"], p["rows"]) for p in found["after"]["points"]] == [(0.0, 1), (1.0, 1)]
    assert calibration(spans, rows_of([((), SpansPrediction(()))])) is None
    assert calibration(Task("t", "regression", metric="pearson"), rows_of([(1.0, ScorePrediction(2.0))])) is None
    labels = Task("t", "text-classification", ("a", "b"), True, "micro-f1", temperature={"*": 2.0})
    several = rows_of([(frozenset("a"), LabelsPrediction(("a",), {"a": 0.75, "b": 0.25}))])
    points = calibration(labels, several)["before"]["points"]
    assert [p["confidence"] for p in points] == pytest.approx([0.1, 0.9])  # odds of 3 squared


def test_risk_falls_where_the_sure_answers_are_right():
    pairs = [("a", answer(p)) for p in np.linspace(0.3, 0.99, 70)]
    found = risk(TASK, rows_of(pairs))
    assert [point["coverage"] for point in found] == [n / 10 for n in range(1, 11)]
    assert found[-1]["risk"] == pytest.approx(20 / 70, abs=0.02)
    assert found[0]["risk"] == 0
    assert found[0]["least_sure"] > found[-1]["least_sure"]
    assert risk(Task("t", "regression"), rows_of([(1.0, ScorePrediction(2.0))])) is None


def test_confusions_count_gold_by_given():
    pairs = [("a", answer(0.9))] * 3 + [("b", answer(0.8))] * 2 + [("a", answer(0.2))]
    found = confusions(TASK, rows_of(pairs))
    assert found["matrix"] == [[3, 1], [2, 0]]
    assert found["pairs"] == [{"gold": "b", "given": "a", "rows": 2}, {"gold": "a", "given": "b", "rows": 1}]


def test_the_surest_mistakes_come_first_each_text_once():
    pairs = [("b", answer(p)) for p in (0.6, 0.99, 0.7)] + [("a", answer(0.95))]
    seen = rows_of(pairs)
    seen.examples.append(seen.examples[1])
    seen.predictions.append(answer(0.99))
    found = mistakes(TASK, seen)
    assert [each["text"] for each in found] == ["text 1", "text 2", "text 0"]
    assert found[0] == {"text": "text 1", "gold": ["b"], "given": ["a"], "probability": 0.99, "row": "f:1"}
    numbers = rows_of([(1.0, ScorePrediction(1.5)), (0.0, ScorePrediction(-3.0))])
    assert [each["given"] for each in mistakes(Task("t", "regression"), numbers)] == [-3.0, 1.5]


def test_each_file_is_answered_once_for_all_its_tasks():
    other = Task("u", "regression", metric="pearson")
    dev = {"f": [Example(f"text {n}", {"t": "a", "u": float(n)}, f"f:{n}", "en") for n in range(8)]}
    asked = []

    def predictor(texts, tasks):
        asked.append((len(texts), tuple(tasks)))
        return [{"t": answer(0.9), "u": ScorePrediction(float(t[-1]))} for t in texts]

    found = diagnose(predictor, {"t": TASK, "u": other}, dev, limit=4)
    assert asked == [(4, ("t", "u"))]
    assert found["t"]["score"][0] == 100
    assert found["u"]["score"][0] == 100
    assert found["t"]["languages"]["en"]["rows"] == 4
    assert found["u"]["mistakes"]
    assert diagnose(predictor, {"u": other}, dev, texts=False)["u"]["mistakes"] == []


def test_a_task_has_its_scores_by_language():
    seen = rows_of([("a", answer(0.9))] * 4)
    seen.examples += [Example("文", {"t": "b"}, "f:9", "zh")]
    seen.predictions += [answer(0.9)]
    found = of_task(TASK, seen)
    assert {name: each["score"][0] for name, each in found["languages"].items()} == {"en": 100, "zh": 0}
    assert found["score"][0] == 80
