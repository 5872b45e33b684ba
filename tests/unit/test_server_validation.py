"""What a client is told of values that are not as they should be."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from umbel.server.faults import fault_of, native_error
from umbel.server.schemas import AskRequest
from umbel.server.validation import LONGEST_PLACE, MOST, in_words


class Inner(BaseModel):
    name: str


class Given(BaseModel):
    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(min_length=1, max_length=2)
    input: str | list[str] | Inner = ""
    share: float = Field(0.5, ge=0, le=1)
    count: int = 1
    plain: bool = False


def fault(model: type[BaseModel], body: Any) -> Any:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(body)
    details = [{**each, "loc": ("body", *each["loc"])} for each in raised.value.errors()]
    return fault_of(RequestValidationError(details, body=body))


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"texts": "secret"}, "texts", "texts: found text, expected a list"),
        ({"texts": ["a", 7]}, "texts[1]", "texts[1]: found 7, expected text"),
        ({"texts": ["a", None]}, "texts[1]", "texts[1]: found null, expected text"),
        ({"texts": ["a", True]}, "texts[1]", "texts[1]: found true or false, expected text"),
        ({"texts": []}, "texts", "texts: found 0, expected at least 1 of them"),
        ({"texts": ["a"] * 3}, "texts", "texts: found 3, expected at most 2 of them"),
        ({"texts": ["a"], "share": 1.5}, "share", "share: found 1.5, expected at most 1.0"),
        ({"texts": ["a"], "count": "many"}, "count", "count: found text, expected a whole number"),
        ({"texts": ["a"], "plain": "secret"}, "plain", "plain: found text, expected true or false"),
        ({"texts": ["a"], "input": 3}, "input", "input: found 3, expected text or a list or an object"),
        ({"text": ["a"]}, "texts", "texts: missing; text: not known here; did you mean texts?"),
        ({"texts": ["a"], "colour": 1}, "colour", "colour: not known here"),
    ],
)
def test_a_fault_says_where_what_was_found_and_what_was_expected(body: Any, field: str, message: str) -> None:
    found = fault(Given, body)
    assert (found.status, found.where, found.message) == (422, field, message)
    assert "secret" not in str(native_error(found, "id"))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            {"kind": "choise"},
            "questions[0].kind: found 'choise', expected 'choice', 'predicate', 'score', 'extract', 'm",
        ),
        ({"question": "Which?"}, "questions[0].kind: missing"),
        (
            {"kind": "choice", "instruction": "Which?", "options": [{"nam": "a"}, "b"]},
            "questions[0].question: missing; questions[0].options[0].name: missing; "
            "questions[0].options[0].nam: not known here; did you mean questions[0].options[0].name?",
        ),
    ],
)
def test_a_question_is_named_by_its_place_and_not_by_its_form(question: dict[str, Any], message: str) -> None:
    assert fault(AskRequest, {"text": "x", "questions": [question]}).message.startswith(message)


def test_of_very_many_faults_the_first_are_told() -> None:
    told = fault(Given, {"texts": ["a"]} | {f"no{number}": 1 for number in range(MOST + 3)}).message
    assert told.count("not known here") == MOST
    assert told.endswith("; and 3 more")


def test_a_body_of_faults_alone_is_told_from_its_first_ones() -> None:
    given = {f"no{number}": 1 for number in range(100_000)}
    details = [{"type": "extra_forbidden", "loc": ("body", name), "msg": "", "input": 1} for name in given]
    where, told = in_words(details, given)
    assert where == "no0"
    assert told.endswith(f"; and {100_000 - MOST} more")


def test_a_name_of_any_length_is_told_shortly() -> None:
    found = fault(Given, {"texts": ["a"], "x" * 100_000: 1})
    assert found.where == "x" * LONGEST_PLACE
    assert len(found.message) < 2 * LONGEST_PLACE


def test_what_is_wrong_in_an_address_is_named_by_its_name() -> None:
    detail = {"type": "string_type", "loc": ("query", "pack"), "msg": "wrong", "input": 3}
    assert fault_of(RequestValidationError([detail])).where == "pack"
