"""Results as plain values and lines of JSON."""

from __future__ import annotations

import json

import numpy as np

from umbel.answers import json_line, plain_answer, plain_result
from umbel.records import (
    LabelPrediction,
    LabelsPrediction,
    Result,
    ScorePrediction,
    Span,
    SpansPrediction,
    VectorPrediction,
)

LABELS = {"a": 0.1, "b": 0.7, "c": 0.2}


def test_every_prediction_becomes_plain_values() -> None:
    vector = np.array([0.6, 0.8], np.float32)
    assert plain_answer(LabelPrediction("b", 0.7, LABELS)) == {
        "label": "b",
        "probability": 0.7,
        "probabilities": {"b": 0.7, "c": 0.2, "a": 0.1},
    }
    assert plain_answer(LabelsPrediction(("b", "c"), LABELS))["labels"] == ["b", "c"]
    assert plain_answer(ScorePrediction(1.25)) == {"score": 1.25}
    assert plain_answer(SpansPrediction((Span(0, 2, "place", "北京", 0.9),))) == {
        "spans": [{"start": 0, "end": 2, "label": "place", "text": "北京", "probability": 0.9}]
    }
    assert plain_answer(VectorPrediction(vector)) == {"vector": [0.6, 0.8]}


def test_flags_stand_only_where_they_are_set() -> None:
    abstaining = plain_answer(LabelPrediction(None, 0.4, LABELS, abstained=True))
    outside = plain_answer(LabelPrediction("b", 0.7, LABELS, out_of_scope=True))
    assert abstaining["label"] is None
    assert abstaining["abstained"] is True
    assert "out_of_scope" not in abstaining
    assert outside["out_of_scope"] is True


def test_the_most_probable_are_kept_likeliest_first() -> None:
    result = Result("x", {"task": LabelPrediction("b", 0.7, LABELS)}, "en")
    plain = plain_result(result, 2)
    assert list(plain) == ["text", "language", "answers"]
    assert list(plain["answers"]["task"]["probabilities"]) == ["b", "c"]


def test_a_line_of_json_is_utf8_even_for_lone_surrogates() -> None:
    line = json_line({"text": "北京 \ud83d \n"})
    assert line.count(b"\n") == 1
    assert "北京".encode() in line
    assert json.loads(line.decode("utf-8"))["text"] == "北京 \ud83d \n"
