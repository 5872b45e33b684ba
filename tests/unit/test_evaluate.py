"""Scoring any predictor: each file read once, languages apart, rows without a gold left out, one calibration error."""

import numpy as np
import pytest

from umbel.evaluate import evaluate, spread
from umbel.records import Example, LabelPrediction, ScorePrediction, Task

TASKS = {
    "intent": Task("intent", "text-classification", ("buy", "other"), metric="accuracy", out_of_scope="other"),
    "mood": Task("mood", "regression", metric="pearson"),
    "vector": Task("vector", "feature-extraction"),
}


def row(text, language="en", **golds):
    return Example(text, golds, "rows:1", language)


class Scripted:
    """Answers `intent` by the first word and `mood` by the length; notes what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts, tasks):
        self.asked.append((tuple(texts), tuple(tasks)))
        return [{name: self.answer(name, text) for name in tasks} for text in texts]

    def answer(self, name, text):
        if name == "mood":
            return ScorePrediction(float(len(text)))
        chance = 0.8 if text.startswith("buy") else 0.4
        return LabelPrediction(("other", "buy")[chance > 0.5], chance, {"buy": chance, "other": 1 - chance})


DEV = {
    "first": [row("buy it", intent="buy", mood=1.0), row("hm", intent="other"), row("buy 它", "zh", intent="other")],
    "second": [row("longer", mood=3.0), row("longest text", mood=9.0)],
}


def test_every_task_is_scored_on_the_rows_that_carry_its_gold():
    predictor = Scripted()
    reports = evaluate(predictor, TASKS, DEV)
    assert set(reports) == {"intent", "mood"}
    assert (reports["intent"]["rows"], reports["mood"]["rows"]) == (3, 3)
    assert reports["intent"]["score"] == reports["intent"]["scores"]["accuracy"] == pytest.approx(200 / 3)
    assert reports["intent"]["languages"] == {"en": 100.0, "zh": 0.0}
    assert reports["mood"]["metric"] == "pearson"
    assert predictor.asked == [
        (("buy it", "hm", "buy 它"), ("intent", "mood")),
        (("longer", "longest text"), ("mood",)),
    ]


def test_only_the_tasks_asked_for_are_scored():
    predictor = Scripted()
    assert set(evaluate(predictor, TASKS, DEV, only=["intent"])) == {"intent"}
    assert [tasks for _, tasks in predictor.asked] == [("intent",)]


def test_a_limit_spreads_over_a_file_and_progress_counts_what_was_answered():
    done = []
    evaluate(Scripted(), TASKS, DEV, limit=2, progress=done.append)
    assert done == [2, 2]
    rows = [row(str(number)) for number in range(10)]
    assert [example.text for example in spread(rows, 4)] == ["0", "2", "5", "7"]
    assert spread(rows, 10) is rows


def test_the_calibration_error_is_of_the_likeliest_label_whatever_a_threshold_gave():
    outside = LabelPrediction("other", 0.3, {"buy": 0.7, "other": 0.3}, out_of_scope=True)
    report = evaluate(
        lambda texts, tasks: [{"intent": outside}] * len(texts),
        TASKS,
        {"file": [row(str(number), intent="buy" if number < 7 else "other") for number in range(10)]},
    )["intent"]
    assert report["ece"] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(report["score"])
