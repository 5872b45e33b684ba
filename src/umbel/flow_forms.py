"""The forms of a flow's steps: what each kind of step declares, what it answers and what it needs.

A form is the half of a kind of step that needs no model; `flow_actions` has the other half, under the same name.
Another kind of step is one more form and one more action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from umbel.errors import InputError, suggest
from umbel.fill import Place, Template, Texts
from umbel.fill import parse as parse_template
from umbel.flow_answers import (
    MESSAGE,
    PASSAGES_FIELDS,
    TEXT_FIELDS,
    Fields,
    FlowAnswer,
    assumed_of_question,
    assumed_of_task,
    fields_of_question,
    fields_of_task,
)
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Question, Score, checked
from umbel.records import Task
from umbel.sections import Section, one_of, options, several_words, true_or_false, whole, words
from umbel.writings import TASKS as WRITING_TASKS

EARLIER = "earlier"  # `of: earlier` asks the turns of a conversation before this one
MOST_PASSAGES = 5
WRITING_KIND = "text-generation"

Tasks = Mapping[str, Task]
Fallback = Mapping[str, FlowAnswer] | Texts


@dataclass(frozen=True)
class Body:
    """What a form has read of a step.

    `gives` are its answers, each with its fields. `templates` stand under the keys where faults are told. `of` names
    the search whose passage is read in place of the message, or the earlier turns.
    """

    settings: Any
    gives: Mapping[str, Fields]
    templates: tuple[tuple[str, Template], ...] = ()
    of: str = ""
    fallback: Fallback | None = None

    @property
    def places(self) -> list[Place]:
        """Every place to fill in."""
        return [place for _, template in self.templates for place in template.places]

    @property
    def needs(self) -> set[str]:
        """The answers (with underscores) without which the step cannot run."""
        return {place.references[0].name for place in self.places if place.otherwise is None} - {MESSAGE}


@dataclass(frozen=True)
class Form:
    """How a kind of step is read; steps of a lower `cost` run first."""

    read: Callable[[str, Section, Tasks], Body]
    cost: int


@dataclass(frozen=True)
class Asking:
    """One question of a step; `template` stands in for its words where they have places."""

    name: str
    question: Question
    template: Template


@dataclass(frozen=True)
class Searching:
    """A search: the index, the query (None: the message itself), how many passages, and where."""

    index: str
    query: Template | None
    k: int
    by: str
    where: Mapping[str, Template] = field(default_factory=dict)


def _tasks(name: str, section: Section, tasks: Tasks) -> Body:
    asked: tuple[str, ...] = section.read("tasks", several_words, ())
    for number, task in enumerate(asked):
        if task in tasks and tasks[task].kind == WRITING_KIND:
            section.fault("tasks", f"[{number}]: {task!r} writes; give it a step of its own: `write: {task}`")
        elif task not in tasks:
            section.fault("tasks", f"[{number}]: {task!r} is not a task of the pack{suggest(task, list(tasks))}")
        elif asked.index(task) != number:
            section.fault("tasks", f"[{number}]: {task!r} is named twice")
    known = {task: tasks[task] for task in asked if task in tasks}
    fallback = _assumed(section, {task: _by(assumed_of_task, found) for task, found in known.items()})
    return Body(tuple(known), {task: fields_of_task(found) for task, found in known.items()}, fallback=fallback)


def _ask(name: str, section: Section, tasks: Tasks) -> Body:
    inner = section.section("ask")
    if not inner.values:
        section.fault("ask", "found no question, expected a mapping of each one's name to the question")
    asked = [found for key in inner.values if (found := _asking(key, inner.section(key)))]
    of = section.read("of", words, "")
    fallback = _assumed(section, {each.name: _by(assumed_of_question, each.question) for each in asked})
    gives = {each.name: fields_of_question(each.question) for each in asked}
    return Body(tuple(asked), gives, tuple((f"ask.{each.name}", each.template) for each in asked), of, fallback)


def _by(reader: Callable[[Any, object], FlowAnswer], about: Any) -> Callable[[object], FlowAnswer]:
    return lambda value: reader(about, value)


def _asking(name: str, section: Section) -> Asking | None:
    """Return a question, or None with its faults noted."""
    forms = [key for key in _QUESTIONS if key in section]
    if len(forms) != 1:
        found = ", ".join(forms) or "none"
        section.fault("", f"found {found}, expected one of {', '.join(_QUESTIONS)}")
        return None
    before = len(section.faults)
    template = _BLANK if forms[0] == "types" else section.read(forms[0], parse_template, _BLANK)
    question = _QUESTIONS[forms[0]](section, template.text)
    section.end()
    if len(section.faults) > before:
        return None
    try:
        return Asking(name, checked(question), template)
    except InputError as error:
        section.fault("", error.message)
        return None


_BLANK = Template("", ())
_NONE: tuple[Option, ...] = ()
_QUESTIONS: Mapping[str, Callable[[Section, str], Question]] = {
    "choice": lambda section, text: Choice(text, section.read("options", options, _NONE)),
    "score": lambda section, text: Score(text, section.read("levels", options, _NONE)),
    "predicate": lambda section, text: Predicate(text),
    "question": lambda section, text: Extract(text, section.read("must-answer", true_or_false, False)),
    "types": lambda section, text: Mentions(
        section.read("types", options, _NONE), section.read("overlapping", true_or_false, False)
    ),
}


def _assumed(section: Section, readers: Mapping[str, Callable[[object], FlowAnswer]]) -> Fallback | None:
    """Return the answers to assume when the step fails, each of its answers having one."""
    if "fallback" not in section:
        return None
    inner = section.section("fallback")
    found = {name: inner.read(name, reader, None) for name, reader in readers.items()}
    inner.end()
    for name in readers:
        if name not in inner and inner.values:
            inner.fault("", f"{name}: missing; a fallback says something for every answer of its step")
    return {name: answer for name, answer in found.items() if answer is not None}


def _search(name: str, section: Section, tasks: Tasks) -> Body:
    query = section.read("query", parse_template, None) if "query" in section else None
    inner = section.section("where")
    where = {key: found for key in inner.values if (found := inner.read(key, parse_template, None))}
    settings = Searching(
        section.read("search", words, ""),
        query,
        section.read("k", whole, MOST_PASSAGES),
        section.read("by", one_of("both", "vectors", "words"), "both"),
        where,
    )
    if "fallback" in section:
        section.take("fallback")
        section.fault("fallback", "a search has none; give one to the step that uses what it finds")
    templates = [(f"where.{key}", each) for key, each in where.items()] + ([("query", query)] if query else [])
    return Body(settings, {name: PASSAGES_FIELDS}, tuple(templates))


def reply_fallback(section: Section) -> Fallback | None:
    """Return the texts of a fallback; each place needs something to write when it is missing."""
    texts = section.texts("fallback")
    for template in texts.by_language.values() if texts else ():
        for place in template.places:
            if place.otherwise is None and place.references[0].name != MESSAGE:
                found = f"{{{place.references[0]}}} may be missing"
                section.fault("fallback", f"{found}; say what to write then, behind a bar")
    return texts


def _reply(name: str, section: Section, tasks: Tasks) -> Body:
    texts = section.texts("reply")
    found = texts.by_language if texts else {}
    templates = tuple((_under("reply", language), template) for language, template in found.items())
    return Body(texts, {name: TEXT_FIELDS}, templates, fallback=reply_fallback(section))


def _under(key: str, language: str) -> str:
    return key if language == "*" else f"{key}.{language}"


@dataclass(frozen=True)
class Order:
    """A text to write: by which task, and what changes of its settings, by their names."""

    task: str
    changes: Mapping[str, Any]


def _write(name: str, section: Section, tasks: Tasks) -> Body:
    task = section.read("write", words, "")
    known = [*WRITING_TASKS, *(each for each, found in tasks.items() if found.kind == WRITING_KIND)]
    if task and task not in known:
        section.fault("write", f"{task!r} is not a task that writes{suggest(task, known)}")
    changes: dict[str, Any] = {}
    if "decoder" in section:
        changes["decoder"] = section.read("decoder", words, "")
    if "passages" in section:
        changes["passages"] = section.read("passages", whole, 1)
    of = section.read("of", words, "")
    if of == EARLIER:
        section.fault("of", "a text is written about the message; name a search of this flow, or leave it out")
    return Body(Order(task, changes), {name: TEXT_FIELDS}, of=of, fallback=reply_fallback(section))


FORMS: Mapping[str, Form] = {
    "tasks": Form(_tasks, 0),
    "ask": Form(_ask, 1),
    "search": Form(_search, 2),
    "reply": Form(_reply, 3),
    "write": Form(_write, 4),
}
