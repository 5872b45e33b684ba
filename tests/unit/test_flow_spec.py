"""Declarations of flows: what a sound one means, and that every fault is told with its line before anything runs."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from umbel.errors import SpecError
from umbel.flow_answers import PASSAGES_FIELDS
from umbel.flow_forms import FORMS, Body, Form
from umbel.flow_spec import FlowSpec, faults_of, flow_of_file, flow_of_pack, read_flow_file
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.records import Task

TASKS = {
    "sentiment": Task("sentiment", "text-classification", ("bad", "good")),
    "topics": Task("topics", "text-classification", ("food", "place"), multi_label=True),
    "entities": Task("entities", "token-classification", ("place",)),
    "unlisted": Task("unlisted", "text-classification"),
}


def read(folder: Path, steps: str) -> FlowSpec:
    path = folder / "flow.yaml"
    path.write_text("flow: test\nsteps:\n" + indent(dedent(steps).strip("\n"), "  "), encoding="utf-8")
    document, pack = read_flow_file(path)
    assert pack == "base"
    return flow_of_file(path, document, TASKS)


def faults(folder: Path, steps: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(folder, steps)
    return [fault.removeprefix("flow.yaml:") for fault in caught.value.faults]


SOUND = """
reply:
  reply: {en: "{help.text}", zh: "您好 {urgency.level|}"}
  when: sentiment.label == "bad"
  timeout: 2
  fallback: Sorry.
help: {search: help.index, k: 3, by: words, where: {lang: "{message.language}"}, query: "{sentiment.label}"}
asked:
  ask:
    urgency: {score: How urgent?, levels: [low, {high: it burns}]}
    team: {choice: Which?, options: [1, 2]}
    angry: {predicate: Someone is angry}
    where: {question: "Where? {message.text}", must-answer: true}
    things: {types: [place, {person: a human being}], overlapping: true}
  fallback: {urgency: low, team: "1", angry: false, where: null, things: []}
read: {tasks: sentiment}
more: {tasks: [topics, entities], fallback: {topics: food, entities: []}}
found: {ask: {says: {question: "{message.text}"}}, of: help}
"""


def test_a_sound_flow_is_read_and_ordered_cheap_steps_first(tmp_path: Path) -> None:
    spec = read(tmp_path, SOUND)
    assert spec.name == "test"
    assert [step.name for step in spec.steps] == ["reply", "help", "asked", "read", "more", "found"]
    assert [step.name for step in spec.order] == ["read", "more", "asked", "help", "found", "reply"]
    assert spec.makers["urgency"].name == "asked"
    reply = spec.steps[0]
    assert (reply.timeout, reply.needs, reply.uses) == (2.0, {"help"}, {"help", "urgency", "sentiment"})
    assert spec.steps[5].needs == {"help"}


def test_questions_are_read_as_they_are_asked(tmp_path: Path) -> None:
    asked = [asking.question for asking in read(tmp_path, SOUND).steps[2].body.settings]
    assert asked == [
        Score("How urgent?", (Option("low"), Option("high", "it burns"))),
        Choice("Which?", (Option("1"), Option("2"))),
        Predicate("Someone is angry"),
        Extract("Where? {message.text}", must_answer=True),
        Mentions((Option("place"), Option("person", "a human being")), overlapping=True),
    ]


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ("a: {}", ["3: steps.a: found none of them, expected exactly one of tasks, ask, search, reply, write"]),
        ("a: 3", ["3: steps.a: found 3, expected a mapping"]),
        ("a: {tasks: sentiment, reply: x}", ["3: steps.a: found tasks and reply, expected exactly one of"]),
        ("a: {tasks: sentimnt}", ["3: steps.a.tasks: [0]: 'sentimnt' is not a task of the pack; did you mean"]),
        ("a: {tasks: [sentiment, sentiment]}", ["3: steps.a.tasks: [1]: 'sentiment' is named twice"]),
        ("a: {tasks: []}", ["3: steps.a.tasks: found an empty list"]),
        ("a: {tasks: sentiment, whn: true}", ["3: steps.a.whn: unknown key; did you mean 'when'?"]),
        ("a: {tasks: sentiment, k: 3}", ["3: steps.a.k: does not belong here"]),
        ("a: {tasks: sentiment, timeout: 0}", ["3: steps.a.timeout: found 0, expected a number above 0"]),
        ("a: {tasks: sentiment, timeout: soon}", ["3: steps.a.timeout: found 'soon'"]),
        ("a: {tasks: sentiment, fallback: {sentiment: god}}", ["3: steps.a.fallback.sentiment: found 'god'; did you"]),
        (
            "a: {tasks: [sentiment, entities], fallback: {entities: []}}",
            ["3: steps.a.fallback: sentiment: missing; a fallback says something for every answer"],
        ),
        ("a: {tasks: sentiment, fallback: {x: 1, sentiment: bad}}", ["3: steps.a.fallback.x: unknown key"]),
        ("a: {ask: {}}", ["3: steps.a.ask: found no question"]),
        ("a: {ask: {b: {choice: Which?}}}", ["3: steps.a.ask.b: options: found 0, expected 2 to 255"]),
        ("a: {ask: {b: {score: How?, levels: [one]}}}", ["3: steps.a.ask.b: levels: found 1, expected 2 to 10"]),
        ("a: {ask: {b: {predicate: x, options: [c]}}}", ["3: steps.a.ask.b.options: unknown key"]),
        ("a: {ask: {b: {what: x}}}", ["3: steps.a.ask.b: found none, expected one of choice, score"]),
        (
            "a: {ask: {b: {question: x}}, of: help}",
            ["3: steps.a.of: 'help' is no search of this flow; expected one of"],
        ),
        ("a: {search: x.index, k: 0, by: word}", ["3: steps.a.by: found 'word'; did you", "3: steps.a.k: found 0"]),
        ("a: {search: x.index, fallback: x}", ["3: steps.a.fallback: a search has none"]),
        ("a: {reply: ''}", ["3: steps.a.reply: found '', expected a text"]),
        (
            'a: {reply: {en: "{x.y}", zh: 3}}',
            ["3: steps.a.reply.en: `x.y`: there is no answer 'x' here", "3: steps.a.reply.zh"],
        ),
        ('a: {reply: "{"}', ["3: steps.a.reply: a { stands alone at character 1"]),
        (
            'a: {reply: x, fallback: "{b.text}"}\nb: {reply: y}',
            ["3: steps.a.fallback: {b.text} may be missing; say what to write then"],
        ),
        (
            "a: {reply: x, when: sentiment.label}\nb: {tasks: sentiment}",
            ["3: steps.a.when: `sentiment.label` is a text"],
        ),
        ("a: {reply: x, when: x y}", ["3: steps.a.when: `x y` cannot be read: invalid syntax"]),
        ('a: {reply: x, when: unlisted.labl == "z"}\nb: {tasks: unlisted}', ["3: steps.a.when: `unlisted.labl`"]),
        ("message: {reply: x}", ["3: steps.message: its answer 'message' is already that of the message"]),
        (
            "a: {tasks: sentiment}\nb: {tasks: sentiment}",
            ["4: steps.b: its answer 'sentiment' is already that of step 'a'"],
        ),
        ("a-b: {reply: x}\na_b: {reply: y}", ["4: steps.a_b: its answer 'a_b' is already that of step 'a-b'"]),
        ("1a: {reply: x}", ["3: steps.1a: '1a' cannot be named in a condition"]),
        ("not: {reply: x}", ["3: steps.not: 'not' cannot be named in a condition"]),
        ('a: {reply: "{b.text}"}\nb: {reply: "{a.text}"}', ["steps wait for each other"]),
        ('a: {reply: "{a.text}"}', ["3: steps.a: steps wait for each other: a -> a"]),
    ],
)
def test_every_fault_is_told_with_its_line(tmp_path: Path, steps: str, wanted: list[str]) -> None:
    found = faults(tmp_path, steps)
    assert len(found) == len(wanted), found
    for fault, expected in zip(found, wanted, strict=True):
        assert expected in fault


def test_labels_that_are_not_listed_are_any(tmp_path: Path) -> None:
    assert read(tmp_path, 'a: {reply: x, when: unlisted.label == "whatever"}\nb: {tasks: unlisted}')


UNREACHABLE = """
read: {tasks: [sentiment, entities]}
help: {search: x.index, when: sentiment.label == "bad"}
one: {reply: "{help.text}", when: sentiment.label == "good"}
two: {reply: "{one.text}", when: sentiment.probability < 0.5}
three: {reply: x, when: sentiment.probability > 1}
four: {reply: x, when: help.count > 0 and sentiment.label == "good"}
five: {ask: {q: {question: x}}, of: help, when: sentiment.label == "good"}
"""
REACHABLE = """
read: {tasks: [sentiment, entities]}
help: {search: x.index, when: sentiment.label == "bad"}
one: {reply: "{help.text|nothing}", when: sentiment.label == "good"}
two: {reply: x, when: not help.answered or help.count == 0}
three: {reply: x, when: help.count > 0 or sentiment.label == "good"}
four: {reply: x, when: entities.count > 2 and "place" in entities.labels}
"""


def test_steps_that_can_never_run_are_told(tmp_path: Path) -> None:
    assert [fault.partition("`")[0] for fault in faults(tmp_path, UNREACHABLE)] == [
        "5: steps.one: can never run: ",
        "6: steps.two: can never run: it needs one, which never does",
        "7: steps.three: can never run: ",
        "8: steps.four: can never run: ",
        "9: steps.five: can never run: ",
    ]
    assert read(tmp_path, REACHABLE)


def test_a_long_chain_of_steps_is_checked_quickly(tmp_path: Path) -> None:
    steps = "\n".join(
        f's{number}: {{reply: "{{s{number - 1}.text}} {{s{max(number - 2, 0)}.text}}"}}' for number in range(1, 300)
    )
    assert len(read(tmp_path, f"s0: {{reply: x}}\n{steps}").order) == 300


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "found no mapping"),
        ("- a", "found no mapping"),
        ("flow: [", "not YAML"),
        ("flow: x\nsteps: {}\nsteps: {}", "given twice"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=fault):
        read_flow_file(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("steps: {a: {reply: x}}", ["1: flow: missing; give the flow a name"]),
        ("flow: x", ["1: steps: missing; a flow has at least one"]),
        (
            "flow: x\nsteps: {}\nstep: 1",
            ["2: steps: found no step, expected at least one", "3: step: unknown key; did you"],
        ),
        ("flow: ''\npack: 3\nsteps: {a: {reply: x}}", ["1: flow: found ''", "2: pack: found 3"]),
    ],
)
def test_faults_around_the_steps(tmp_path: Path, text: str, wanted: list[str]) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(text)
    document, _ = read_flow_file(path)
    with pytest.raises(SpecError) as caught:
        flow_of_file(path, document, TASKS)
    assert len(caught.value.faults) == len(wanted), caught.value.faults
    assert all(expected in found for expected, found in zip(wanted, caught.value.faults, strict=True))


def test_a_flow_in_a_pack_is_checked_against_its_tasks() -> None:
    value = {"steps": {"read": {"tasks": "sentiment"}, "a": {"reply": "x", "when": 'sentiment.label == "godo"'}}}
    with pytest.raises(SpecError, match=r"the flow of mine: 1 fault\n  steps.a.when: .* did you mean 'good'"):
        flow_of_pack(value, "mine", TASKS)
    assert faults_of(value, ("flow",), TASKS)[0][0] == ("flow", "steps", "a", "when")


def test_another_kind_of_step_is_one_more_form(tmp_path: Path) -> None:
    def shout(name: str, section: object, tasks: object) -> Body:
        return Body(section.take("shout"), {name: PASSAGES_FIELDS})  # type: ignore[attr-defined]

    path = tmp_path / "flow.yaml"
    path.write_text("flow: x\nsteps: {a: {shout: hey, when: 'message.length > 3'}}")
    document, _ = read_flow_file(path)
    spec = flow_of_file(path, document, TASKS, {**FORMS, "shout": Form(shout, 9)})
    assert (spec.steps[0].action, spec.steps[0].body.settings, spec.steps[0].cost) == ("shout", "hey", 9)
