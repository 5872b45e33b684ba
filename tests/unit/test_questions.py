"""What makes a question a bad one, and how it is told."""

import pytest

from umbel.errors import InputError
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score, all_checked, checked


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
        (Choice("?", (Option("a"), Option(" ", "described"))), r"options\[1\]: it is blank"),
        (Choice("?", ("a", "b")), r"options\[0\]: found str, expected an Option"),
        (Choice("?", "a,b"), "options: found str, expected a tuple of Option"),
        (Choice("?", (Option(1), Option(2))), r"options\[0\]: found int, expected text"),
        (Choice(7, options("a", "b")), "instruction: found int, expected text"),
        ("Which team?", "kind: found str; ask with Choice, Predicate, Score, Extract or Mentions"),
        (Predicate("x" * 2001), "statement: found 2001 characters, expected at most 2000"),
        (Score("?", options(*"abcdefghijk")), "levels: found 11, expected 2 to 10"),
        (Extract(""), "question: it is blank"),
        (Mentions(()), "types: found 0, expected 1 to 255"),
    ],
)
def test_bad_questions_say_what_is_wrong(question, message):
    with pytest.raises(InputError, match=message):
        checked(question)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Choice("Which team?", ()), "options: found 0, expected 2 to 255; name what to tell apart"),
        (
            Choice("Which team?", options("sales", "help", "sales")),
            "options[2]: 'sales' is already options[0]; each needs a name of its own",
        ),
        (
            Choice("Which team?", options(*map(str, range(10_000)))),
            "options: found 10000, expected 2 to 255; ask first for a group, then within it",
        ),
        (
            Choice(" ", options("sales", "help")),
            "instruction: it is blank; say in plain words what is asked",
        ),
        (
            {"choice": "Which team?"},
            "kind: found dict; ask with Choice, Predicate, Score, Extract or Mentions of umbel.questions",
        ),
        (
            Mentions(options("person", "город")),
            "types[1]: 'город' is not in a language of this pack; name the type in en or zh",
        ),
    ],
)
def test_a_bad_request_is_told_with_its_place_what_was_found_and_what_to_do(question, message):
    with pytest.raises(InputError) as caught:
        all_checked([Predicate("it is so"), question], ["en", "zh"])
    assert str(caught.value) == f"questions[1].{message}"


def test_every_fault_is_told_at_once():
    with pytest.raises(InputError) as caught:
        all_checked([Predicate("it is so"), Choice("", options("a", "a", "")), Predicate(" ")])
    assert str(caught.value).count("questions[1].") == 3
    assert str(caught.value).count("questions[2].statement: it is blank") == 1


def test_of_very_many_faults_some_are_told():
    with pytest.raises(InputError, match="and 235 more") as caught:
        checked(Mentions((Option(""),) * 255))
    assert len(str(caught.value).splitlines()) == 21


@pytest.mark.parametrize("questions", ["Which team?", Predicate("it is so"), None])
def test_questions_come_in_a_list(questions):
    with pytest.raises(InputError, match=r"questions: found \w+, expected a list"):
        all_checked(questions)


@pytest.mark.parametrize("name", ["человек", "人の名前", "사람", "شخص"])
def test_types_in_a_language_the_pack_does_not_know_are_refused(name):
    with pytest.raises(InputError, match=rf"questions\[0\]\.types\[1\]: '{name}' .* name the type in en or zh"):
        all_checked([Mentions(options("person", name))], ["en", "zh"])


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("地点", ("zh", "en")),
        ("place", ("zh", "en")),
        ("1042", ("zh",)),
        ("Ort", ("de",)),
        ("место", ("ru",)),
        ("место", ()),
    ],
)
def test_types_in_a_language_of_the_pack_pass(name, languages):
    all_checked([Mentions(options(name))], languages)


def test_an_option_reads_as_its_name_and_description():
    assert Option("refund").words == "refund"
    assert Option("refund", "wants money back").words == "refund: wants money back"
