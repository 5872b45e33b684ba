"""Texts with places to fill in."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.fill import Texts, parse, shown
from umbel.scopes import ByName, Number, Scope, Words

SCOPE: Scope = {"order": {"text": Words(), "best": ByName(None, Words()), "count": Number()}}


def fill(text: str, /, **values: Any) -> str | None:
    template = parse(text)
    assert template.check(SCOPE) == []
    return template.fill(lambda reference: values.get(reference.key or reference.field))


def test_places_are_filled_in() -> None:
    assert fill('Order {order.text}, {order.best["id"]}: {order.count}.', text="A", id="10432", count=2) == (
        "Order A, 10432: 2."
    )
    assert fill("{{as it is}} 您好") == "{as it is} 您好"


def test_what_is_missing_or_empty_is_replaced_or_leaves_no_text() -> None:
    assert fill("Order {order.text|of yours}") == "Order of yours"
    assert fill("Order {order.text|of yours}", text="") == "Order of yours"
    assert fill("Order {order.text|}!", text="") == "Order !"
    assert fill("Order {order.text}") is None
    assert fill("Order {order.text}", text="") is None


def test_the_first_that_says_something_counts() -> None:
    text = 'In {order.text|order.best["city"]|order.count|a city}'
    assert fill(text, text="Oslo", city="Rome") == "In Oslo"
    assert fill(text, text="", city="Rome") == "In Rome"
    assert fill(text, count=3) == "In 3"
    assert fill(text) == "In a city"
    assert fill('In {order.text|order.best["city"]|}!') == "In !"


def test_what_is_filled_in_is_not_read_again() -> None:
    assert fill("You said: {order.text}", text="{order.count} {{x}} {order.__class__}") == (
        "You said: {order.count} {{x}} {order.__class__}"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a { b", "a { stands alone at character 3; write {{"),
        ("a } b", "a } stands alone at character 3; write }}"),
        ("{}", "expected a condition"),
        ("{order}", "expected a field of an answer"),
        ("{order.text.upper()}", "is not known here"),
        ("{1 < 2}", "expected a field of an answer"),
        ("", "expected a text"),
        (3, "expected a text"),
    ],
)
def test_what_cannot_be_read_is_told(text: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert fault in str(caught.value)


def test_places_are_checked() -> None:
    assert parse("{ordr.text} {order.best}").check(SCOPE) == [
        "`ordr.text`: there is no answer 'ordr' here; did you mean 'order'?",
        '`order.best` holds several; name one: order.best["..."]',
    ]


def test_values_are_written_as_people_write_them() -> None:
    assert [shown(each) for each in (True, 0.5, 2.0, 1 / 3, 7, ("a", "b"), "c")] == [
        "yes",
        "0.5",
        "2",
        "0.33",
        "7",
        "a, b",
        "c",
    ]


def test_the_language_is_the_messages_else_any_else_english() -> None:
    one, other = parse("one"), parse("other")
    assert Texts({"zh": one, "en": other}).of("zh") == ("zh", one)
    assert Texts({"zh": one, "en": other}).of("ja") == ("en", other)
    assert Texts({"en": one, "*": other}).of("ja") == ("*", other)
    assert Texts({"zh": one}).of("en") == ("zh", one)
