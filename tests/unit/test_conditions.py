"""Conditions: what they mean, what is wrong with them, and that nothing else gets in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.conditions import Reference, parse, parse_reference
from umbel.scopes import ByName, Number, Scope, Several, Truth, Words, check, check_reference

SCOPE: Scope = {
    "category": {
        "label": Words(("REFUND", "ORDER")),
        "probability": Number(0, 1),
        "probabilities": ByName(("REFUND", "ORDER"), Number(0, 1)),
    },
    "spans": {"labels": Several(("order_id", "city")), "count": Number(0, whole=True), "best": ByName(None, Words())},
    "wants_refund": {"holds": Truth(), "answered": Truth()},
    "message": {"text": Words(), "language": Words(("zh", "en"))},
}
VALUES: dict[str, Any] = {
    "category.label": "REFUND",
    "category.probability": 0.9,
    'category.probabilities["ORDER"]': 0.1,
    "spans.labels": ("city",),
    "spans.count": 2,
    'spans.best["city"]': "Oslo",
    "wants_refund.answered": False,
    "message.text": "Where is my parcel?",
    "message.language": "en",
}


def evaluate(text: str) -> bool | None:
    condition = parse(text)
    assert check(condition, SCOPE) == []
    return condition.evaluate(lambda reference: VALUES.get(str(reference)))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('category.label == "REFUND"', True),
        ('category.label != "REFUND"', False),
        ('category.label in ["ORDER", "REFUND"]', True),
        ('category.label not in ("ORDER",)', True),
        ('category.probabilities["ORDER"] < 0.5 <= category.probability', True),
        ('"city" in spans.labels and spans.count >= 2', True),
        ('"order_id" not in spans.labels', True),
        ('spans.best["city"] == "Oslo"', True),
        ('"parcel" in message.text', True),
        ("spans.count in [1, 2, 3]", True),
        ("not (spans.count > 1)", False),
        ("spans.count > -1", True),
        ("true", True),
        ("false or True", True),
        ("wants_refund.answered", False),
        # What is missing is neither true nor false.
        ("wants_refund.holds", None),
        ("not wants_refund.holds", None),
        ("wants_refund.holds == true", None),
        ("wants_refund.holds or spans.count > 1", True),
        ("wants_refund.holds or spans.count > 5", None),
        ("wants_refund.holds and spans.count > 5", False),
    ],
)
def test_what_a_condition_means(text: str, holds: bool | None) -> None:
    assert evaluate(text) is holds


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('categori.label == "ORDER"', "there is no answer 'categori' here; did you mean 'category'?"),
        ('category.labl == "ORDER"', "category has no 'labl'; did you mean 'label'?"),
        ('category.label == "ODER"', "there is no 'ODER'; did you mean 'ORDER'?"),
        ('"ODER" == category.label', "there is no 'ODER'; did you mean 'ORDER'?"),
        ('category.label in ["ODER"]', "there is no 'ODER'"),
        ('"order-id" in spans.labels', "there is no 'order-id'; did you mean 'order_id'?"),
        ('category.probabilities["ODER"] > 0', "there is no 'ODER'; did you mean 'ORDER'?"),
        ('category.label["x"] == "y"', "category.label is a text and has no entries"),
        ("category.label > 3", "compares a text with a number, expected two numbers"),
        ("category.label == 3", "compares a text with a number"),
        ('spans.labels == "city"', "compares a list with a text"),
        ("category.probabilities == category.probabilities", "compares a mapping with a mapping"),
        ('"REF" in category.label', "looks inside one of REFUND, ORDER; compare with =="),
        ("1 in message.text", "looks for a number in a text"),
        ('spans.count in ["a"]', "looks for a number in a list of something else"),
        ("category.probability", "is a number, expected something true or false; compare it"),
        ("category", "is a whole answer; name a field of it: label, probability"),
        ("category.label == REFUND", 'texts stand in quotes: "REFUND"'),
        ('spans.count > 1 and "yes"', "is a text, expected something true or false"),
    ],
)
def test_what_is_wrong_with_a_condition(text: str, fault: str) -> None:
    assert any(fault in found for found in check(parse(text), SCOPE)), check(parse(text), SCOPE)


def test_all_faults_are_told_at_once() -> None:
    assert len(check(parse('x.label == "a" or category.labl == "b" and category.label == "c"'), SCOPE)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__",
        "category.__class__.__mro__",
        "message.text.upper() == 'A'",
        "[x for x in spans]",
        "(lambda: 1)()",
        "(x := 1)",
        "f'{message.text}' == 'a'",
        "'a' * 1000000 == 'b'",
        "9 ** 9 ** 9 > 1",
        "category.label is 'ORDER'",
        "spans[0] == 1",
        "category['label'] == 'ORDER'",
        "await x",
        "1 if spans else 2",
        "message.text[0:2] == 'a'",
        "...",
        "b'a' == b'a'",
        "1j == 1",
        "service-category.label == 'x'",
    ],
)
def test_only_the_language_gets_in(text: str) -> None:
    with pytest.raises(ValueError, match="is not known"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["", "  ", "1 +", "(" * 400, "a == 'b", "x" * 1001, None, 3, [], "a\0b", "-" * 900 + "1"]
)
def test_what_cannot_be_read_is_told(text: Any) -> None:
    with pytest.raises(ValueError, match=r"found|cannot be read|is not known|null bytes"):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_either_a_condition_or_told_to_be_none(text: str) -> None:
    try:
        condition = parse(text)
    except ValueError:
        return
    check(condition, SCOPE)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ('category.label == "ORDER" and spans.count > 1', ["category.label"]),
        ('spans.count > 1 and category.label == "ORDER"', ["category.label"]),
        ('category.label == "ORDER" or spans.count > 5', ["category.label", "spans.count"]),
        ("not (spans.count > 1 or wants_refund.answered)", ["spans.count"]),
        ('not (spans.count > 1 and category.label == "REFUND")', ["spans.count", "category.label"]),
        ('wants_refund.answered and (category.label == "ORDER" or spans.count > 5)', ["wants_refund.answered"]),
        ("false", []),
    ],
)
def test_what_kept_a_condition_from_holding(text: str, reasons: list[str]) -> None:
    found = parse(text).reasons(lambda reference: VALUES.get(str(reference)))
    assert [str(reference) for reference in found] == reasons


def test_references_are_listed_once_in_order() -> None:
    found = parse('b.x > 1 and a.y["k"] == "v" and b.x < 3').references
    assert found == [Reference("b", "x"), Reference("a", "y", "k")]


def test_a_reference_alone() -> None:
    assert parse_reference('spans.best["city"]') == Reference("spans", "best", "city")
    assert check_reference(parse_reference("spans.counts"), SCOPE) == [
        "`spans.counts`: spans has no 'counts'; did you mean 'count'?"
    ]
    with pytest.raises(ValueError, match="expected a field of an answer"):
        parse_reference("1 < 2")
