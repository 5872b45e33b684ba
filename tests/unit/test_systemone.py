"""System One's confidence and its questions, by hand."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from umbel.errors import InputError
from umbel.questions import Choice, Option, Predicate, Question, Score
from umbel.server.systemone import QuestionGiven, choice_confidence, flat, question_of, score_confidence

YES, NO = Option("yes", "they ask for it"), Option("no", "they do not")


def asked(**given: object) -> Question:
    return question_of(TypeAdapter(QuestionGiven).validate_python(given))


def test_confidence_lies_between_chance_and_certainty() -> None:
    assert choice_confidence([0.25] * 4) == 0
    assert choice_confidence([0, 1, 0]) == 1
    assert choice_confidence([0.5, 0.25, 0.25]) == pytest.approx(0.25)
    assert choice_confidence([0.249999, 0.25, 0.25, 0.25]) == 0


def test_confidence_of_a_score_falls_with_the_distance_from_the_likeliest_level() -> None:
    assert score_confidence([0, 0, 1]) == 1
    assert score_confidence([0.2, 0.6, 0.2]) == pytest.approx(1 - 0.4 / (2 / 3))
    assert score_confidence([0.6, 0.4, 0]) > score_confidence([0.6, 0, 0.4])
    assert score_confidence([0.5, 0, 0.5]) == 0


@pytest.mark.parametrize(
    ("criteria", "question"),
    [
        (None, Choice("Refund?", (Option("yes"), Option("no")))),
        ({}, Choice("Refund?", (Option("yes"), Option("no")))),
        ({"true": "they ask for it"}, Predicate("Refund? (they ask for it)")),
        ("they ask for it", Predicate("Refund? (they ask for it)")),
        ({"false": "they do not"}, Choice("Refund?", (Option("yes"), NO))),
        ({"true": ["they ask for it"], "false": "they do not"}, Choice("Refund?", (YES, NO))),
    ],
)
def test_a_noul_is_a_predicate_or_a_choice_of_both_sides(criteria: object, question: Question) -> None:
    assert asked(type="noul", instructions="Refund?", criteria=criteria) == question


def test_questions_without_instructions_are_asked_in_general_words() -> None:
    assert asked(type="noul", criteria={"true": "a refund"}) == Predicate("a refund")
    assert asked(type="choice", criteria={"a": None, "b": "B"}) == Choice(
        "Which one fits?", (Option("a"), Option("b", "B"))
    )
    assert asked(type="score", criteria=["low", {"label": "high"}]) == Score(
        "Which level fits?", (Option("low"), Option("label: high"))
    )


def test_objects_and_lists_are_read_as_lines() -> None:
    assert flat({"subject": "twice", "customer": {"plan": "pro", "open": True}}, "\n") == (
        "subject: twice\ncustomer: plan: pro, open: true"
    )
    assert flat(["a", 1, None, 2.5]) == "a; 1; ; 2.5"
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    with pytest.raises(InputError, match="nested"):
        flat(deep)
