"""Fields that are promised before anything runs are the fields that answers have, of the promised types."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.conditions import Reference
from umbel.decide import Answer
from umbel.flow_answers import (
    PASSAGES_FIELDS,
    TEXT_FIELDS,
    Fields,
    Passage,
    PassagesAnswer,
    TextAnswer,
    assumed_of_question,
    assumed_of_task,
    fields_of_question,
    fields_of_task,
    plain_flow_answer,
    value_at,
    values_of,
)
from umbel.questions import (
    Choice,
    Extract,
    ExtractAnswer,
    Mentions,
    Option,
    Predicate,
    PredicateAnswer,
    Question,
    Score,
    ScoreAnswer,
)
from umbel.records import LabelPrediction, LabelsPrediction, Prediction, ScorePrediction, Span, SpansPrediction, Task
from umbel.scopes import ByName, Number, Several, Truth, Words

TWO = (Option("low"), Option("high"))
SPAN = Span(0, 2, "low", "ab", 0.5)
SINGLE = Task("one", "text-classification", ("low", "high"))
MULTI = Task("many", "text-classification", ("low", "high"), multi_label=True)
REGRESSION = Task("number", "regression")
SPANS = Task("spans", "token-classification", ("low", "high"))
HALF = {"low": 0.5, "high": 0.5}

PAIRS: list[tuple[Fields, Any]] = [
    (fields_of_task(SINGLE), LabelPrediction(None, 0.5, HALF, True)),
    (fields_of_task(MULTI), LabelsPrediction(("low",), HALF)),
    (fields_of_task(REGRESSION), ScorePrediction(1.5)),
    (fields_of_task(SPANS), SpansPrediction((SPAN, SPAN))),
    (fields_of_question(Choice("?", TWO)), LabelPrediction("low", 0.5, HALF)),
    (fields_of_question(Predicate("x")), PredicateAnswer(True, 0.7)),
    (fields_of_question(Score("?", TWO)), ScoreAnswer(0.4, "low", HALF)),
    (fields_of_question(Extract("?")), ExtractAnswer(None, 0.7)),
    (fields_of_question(Mentions(TWO)), SpansPrediction(())),
    (PASSAGES_FIELDS, PassagesAnswer(())),
    (PASSAGES_FIELDS, PassagesAnswer((Passage("a", "b", 1.0, 0.5, 0.1, metadata={"year": 2024}),))),
    (TEXT_FIELDS, TextAnswer("a", "en")),
]
TYPES = {Truth: bool, Number: (int, float), Words: str, Several: tuple, ByName: dict}


@pytest.mark.parametrize(("fields", "answer"), PAIRS)
def test_promised_fields_are_there_and_of_their_type(fields: Fields, answer: Any) -> None:
    values = values_of(answer)
    assert set(fields) <= set(values)
    for name, found in fields.items():
        assert isinstance(values[name], TYPES[type(found)]), name
        if isinstance(found, Words) and found.values:
            assert values[name] in (*found.values, "")
        if isinstance(found, Number):
            assert found.low <= values[name] <= found.high


def test_what_is_not_there_is_missing_but_for_whether_it_was_answered() -> None:
    assert value_at(None, Reference("a", "label")) is None
    assert value_at(None, Reference("a", "answered")) is False
    assert value_at({}, Reference("a", "answered")) is True


def test_an_entry_that_is_not_there_is_nothing() -> None:
    values = values_of(SpansPrediction((SPAN,)))
    assert value_at(values, Reference("a", "best", "low")) == "ab"
    assert value_at(values, Reference("a", "best", "high")) == ""
    assert value_at(values, Reference("a", "counts", "high")) == 0
    year = values_of(PassagesAnswer((Passage("a", "b", metadata={"year": 2024}),)))
    assert value_at(year, Reference("a", "metadata", "year")) == "2024"


@pytest.mark.parametrize(
    ("about", "value", "answer"),
    [
        (SINGLE, "high", LabelPrediction("high", 0.0, {"low": 0.0, "high": 0.0})),
        (MULTI, ["low"], LabelsPrediction(("low",), {"low": 0.0, "high": 0.0})),
        (REGRESSION, 2, ScorePrediction(2.0)),
        (SPANS, [], SpansPrediction(())),
        (Choice("?", TWO), "high", LabelPrediction("high", 0.0, {"low": 0.0, "high": 0.0})),
        (Score("?", TWO), "high", ScoreAnswer(1.0, "high", {"low": 0.0, "high": 0.0})),
        (Predicate("x"), False, PredicateAnswer(False, 0.0)),
        (Extract("?"), None, ExtractAnswer(None, 0.0)),
        (Mentions(TWO), [], SpansPrediction(())),
    ],
)
def test_fallbacks_name_answers(about: Any, value: Any, answer: Prediction | Answer) -> None:
    found = assumed_of_task(about, value) if isinstance(about, Task) else assumed_of_question(about, value)
    assert found == answer


@pytest.mark.parametrize(
    ("about", "value"),
    [
        (SINGLE, "hihg"),
        (MULTI, ["low", "hihg"]),
        (REGRESSION, "2"),
        (SPANS, ["a"]),
        (Task("vector", "feature-extraction"), 1),
        (Choice("?", TWO), 1),
        (Score("?", TWO), "hi"),
        (Predicate("x"), "yes"),
        (Extract("?"), "words"),
    ],
)
def test_what_is_no_answer_is_refused(about: Any, value: Any) -> None:
    question: Question | None = None if isinstance(about, Task) else about
    with pytest.raises(ValueError, match="found"):
        assumed_of_task(about, value) if question is None else assumed_of_question(question, value)


def test_answers_become_plain_values() -> None:
    assert plain_flow_answer(PredicateAnswer(True, 0.12345678)) == {"holds": True, "probability": 0.123457}
    assert plain_flow_answer(ExtractAnswer(SPAN, 0.5)) == {"text": "ab", "start": 0, "end": 2, "probability": 0.5}
    assert plain_flow_answer(ScoreAnswer(0.5, "low", HALF), 1)["probabilities"] == {"low": 0.5}
    assert plain_flow_answer(TextAnswer("a", "zh")) == {"text": "a", "language": "zh"}
    (found,) = plain_flow_answer(PassagesAnswer((Passage("a", "b", 1 / 3),)))["passages"]
    assert found["score"] == 0.333333
