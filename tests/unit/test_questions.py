"""What makes a question a bad one, and how it is told."""

import pytest

from umbel.errors import InputError
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score, checked


def options(*names):
    return tuple(Option(name) for name in names)


GOOD = [
    Choice("Which team?", options("billing", "technical")),
    Choice("哪一类？", tuple(Option(str(n), "某个说明") for n in range(255))),
    Predicate("The customer wants a refund"),
    Score("How angry?", options("calm", "cross", "furious")),
    Extract("Who called?"),
    Mentions(options("person")),
]


@pytest.mark.parametrize("question", GOOD)
def test_good_questions_pass(question):
    assert checked(question) is question


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Choice("?", ()), "options: found 0, expected 2 to 255"),
        (Choice("?", options("only")), "options: found 1, expected 2 to 255"),
        (Choice("?", options(*map(str, range(10_000)))), "options: found 10000, expected 2 to 255"),
        (Choice("?", options("a", "b", " a ")), r"options\[2\]: ' a ' is already options\[0\]"),
        (Choice("  ", options("a", "b")), "instruction: it is blank"),
        (Choice("?", options("a", "")), r"options\[1\]: it is blank"),
        (Choice(7, options("a", "b")), "instruction: found int, expected text"),
        (Predicate("x" * 2001), "statement: found 2001 characters, expected at most 2000"),
        (Score("?", options(*"abcdefghijk")), "levels: found 11, expected 2 to 10"),
        (Extract(""), "question: it is blank"),
        (Mentions(()), "types: found 0, expected 1 to 255"),
    ],
)
def test_bad_questions_say_what_is_wrong(question, message):
    with pytest.raises(InputError, match=message):
        checked(question)


def test_every_fault_is_told_at_once():
    with pytest.raises(InputError) as caught:
        checked(Choice("", options("a", "a", "")), "questions[3].")
    assert str(caught.value).count("questions[3].") == 3


def test_an_option_reads_as_its_name_and_description():
    assert Option("refund").words == "refund"
    assert Option("refund", "wants money back").words == "refund: wants money back"
