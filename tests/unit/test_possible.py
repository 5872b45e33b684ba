"""Whether conditions can hold together: `False` is certain."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_conditions import SCOPE

from umbel.conditions import parse
from umbel.possible import can_hold


@pytest.mark.parametrize(
    ("texts", "possible"),
    [
        (['category.label == "REFUND"'], True),
        (['category.label == "REFUND"', 'category.label == "ORDER"'], False),
        (['category.label == "REFUND" or category.label == "ORDER"', 'category.label != "REFUND"'], True),
        (['category.label != "REFUND"', 'category.label != "ORDER"'], True),  # it may be withheld
        (["category.probability > 1"], False),
        (["category.probability > 0.3", "category.probability < 0.31"], True),
        (["category.probability > 0.3", "category.probability < 0.3"], False),
        (["spans.count > 0", "spans.count < 1"], False),
        (["spans.count > 0", "spans.count < 2"], True),
        (["spans.count < 0"], False),
        (['"city" in spans.labels', '"order_id" in spans.labels'], True),
        (['"city" in spans.labels', 'not "city" in spans.labels'], False),
        (['"a" in message.text', 'not "b" in message.text'], True),
        (['message.text == "a"', '"b" in message.text'], False),
        (["wants_refund.holds", "not wants_refund.holds"], False),
        (["false"], False),
        (['spans.best["city"] == "x"', 'spans.best["city"] == "y"'], False),
    ],
)
def test_whether_conditions_can_hold_together(texts: list[str], possible: bool) -> None:
    assert can_hold([parse(text) for text in texts], SCOPE) is possible


def test_without_an_answer_only_what_does_without_it_can_hold() -> None:
    assert not can_hold([parse("spans.count > 0")], SCOPE, without="spans")
    assert can_hold([parse("spans.count > 0 or wants_refund.holds")], SCOPE, without="spans")
    assert can_hold([parse("not wants_refund.answered")], SCOPE, without="wants_refund")
    assert not can_hold([parse("wants_refund.answered")], SCOPE, without="wants_refund")


def test_too_many_combinations_are_taken_to_be_possible() -> None:
    never = parse('category.label == "REFUND" and category.label == "ORDER"')
    many = [
        parse(f"{field} in {[number / 100 for number in range(1, 60)]}")
        for field in ("category.probability", 'category.probabilities["REFUND"]')
    ]
    assert not can_hold([never, many[0]], SCOPE)
    assert can_hold([never, *many], SCOPE)


LEAVES = st.sampled_from(
    [
        'category.label == "REFUND"',
        'category.label == "ORDER"',
        "category.probability > 0.5",
        "category.probability <= 0.5",
        "spans.count == 2",
        '"city" in spans.labels',
        "wants_refund.holds",
        'message.language == "en"',
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} and {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} or {pair[1]})"),
        inner.map(lambda one: f"(not {one})"),
    ),
    max_leaves=6,
)
ANSWERS: Any = st.fixed_dictionaries(
    {
        "category.label": st.sampled_from(["REFUND", "ORDER"]),
        "category.probability": st.floats(0, 1),
        "spans.count": st.integers(0, 4),
        "spans.labels": st.sampled_from([(), ("city",), ("order_id", "city")]),
        "wants_refund.holds": st.booleans(),
        "message.language": st.sampled_from(["en", "zh"]),
    }
)


@given(TREES, ANSWERS)
def test_what_holds_for_some_answers_is_possible(text: str, answers: dict[str, Any]) -> None:
    condition = parse(text)
    if condition.evaluate(lambda reference: answers[str(reference)]):
        assert can_hold([condition], SCOPE)
