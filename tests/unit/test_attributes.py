"""What Perspective's attributes mean, from a file and without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.errors import InputError
from umbel.questions import Choice, Option, Predicate
from umbel.records import Task
from umbel.server.attributes import DEFAULTS, Attribute, read_attributes

KIND = "text-classification"
HATE = Task("hate", KIND, ("hate", "neither", "offensive"), languages=("en",))
OFFENSIVE = Task("offensive", KIND, ("not_offensive", "offensive"), languages=("zh",))
TASKS = {"hate": HATE, "offensive": OFFENSIVE}


def test_the_task_of_the_texts_language_tells() -> None:
    toxic = DEFAULTS["TOXICITY"]
    assert [toxic.task_for(language, TASKS) for language in ("en", "zh", "de")] == ["hate", "offensive", None]
    assert toxic.task_for("de", {"hate": Task("hate", KIND, HATE.labels)}) == "hate"  # of any language
    assert toxic.task_for("en", {"hate": Task("hate", KIND, ("yes", "no"))}) is None


def test_what_no_task_tells_is_asked() -> None:
    assert DEFAULTS["INSULT"].asked == Predicate("The text insults or demeans someone")
    asked = Attribute(question="Which?", options={"a": "it is a", "b": ""}, counts=("a",)).asked
    assert asked == Choice("Which?", (Option("a", "it is a"), Option("b")))
    assert DEFAULTS["INSULT"].known({}, asks=True)
    assert not DEFAULTS["INSULT"].known({}, asks=False)
    assert not DEFAULTS["IDENTITY_ATTACK"].known({"offensive": OFFENSIVE}, asks=True)


def test_a_file_adds_changes_and_removes(tmp_path: Path) -> None:
    path = tmp_path / "attributes.yaml"
    path.write_text("SPAM: {statement: It advertises}\nINSULT: {statement: It insults, languages: [en]}\nTHREAT:\n")
    found = read_attributes(path)
    assert {*found} == {*DEFAULTS, "SPAM"} - {"THREAT"}
    assert found["INSULT"].languages == ("en",)
    assert found["TOXICITY"] == DEFAULTS["TOXICITY"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SPAM: {statment: x}\nEGGS: {}", "attributes.yaml:1: SPAM.statment: Extra inputs"),
        ("SPAM: {statement: x}\nEGGS: {}", "attributes.yaml:2: EGGS: Value error, it has neither"),
        ("SPAM: {statement: x, question: y}", "leave out one"),
        ("SPAM: {question: y, options: {a: '', b: ''}, counts: [c]}", "`counts` names"),
        ("SPAM: {question: y, options: {a: '', b: ''}, counts: [a, b]}", "`counts` names"),
        ("SPAM: {statement: '  '}", "statement: it is blank"),
        ("- SPAM", "found no mapping"),
        ("SPAM: [", "not YAML"),
    ],
)
def test_faults_are_told_with_their_lines(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "attributes.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="attributes with faults") as raised:
        read_attributes(path)
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_attributes(tmp_path / "attributes.yaml")
