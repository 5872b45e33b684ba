"""What the steps of a flow do: answer tasks, ask questions, search an index, fill in a reply.

An action is the half of a kind of step that runs; `flow_forms` has the half that is declared, under the same name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from umbel.conditions import Reference
from umbel.decide import Answer
from umbel.fill import Texts
from umbel.flow_answers import FlowAnswer, Passage, PassagesAnswer, TextAnswer, value_at
from umbel.flow_forms import EARLIER, Asking, Body, Searching
from umbel.questions import MOST_CHARACTERS, Choice, Extract, ExtractAnswer, Predicate, PredicateAnswer, Question, Score
from umbel.records import Result, SpansPrediction

if TYPE_CHECKING:
    from umbel.encodings import Encoding
    from umbel.replies import Order, Reply
    from umbel.retrieval import Index


class Fits(Protocol):
    """What a flow needs of a model's reader."""

    def fitting(self, words: str) -> str:
        """Return words that are not too long to be asked: these, or as much of their beginning as may be."""


class Reads(Protocol):
    """What a flow needs of a model; `runtime.Model` has it."""

    @property
    def reader(self) -> Fits:
        """What asks the pack's branches."""

    def read(self, text: str) -> Encoding:
        """Read a text once."""

    def answer(self, encoding: Encoding, tasks: Sequence[str] | None = None) -> Result:
        """Answer tasks from a reading."""

    def ask(self, text: Encoding, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions from a reading."""

    def write(self, text: str, task: str, order: Order | None = None) -> list[Reply]:
        """Write a text about a message."""


class Watch(Protocol):
    """Looks on while a message goes through a flow; may be called from several threads."""

    def said(self, step: str, sentences: str) -> None:
        """A step wrote sentences, which were checked."""

    def cancelled(self) -> bool:
        """Tell whether nobody waits for what is written any more."""


@dataclass
class Turn:
    """One message on its way through a flow: its reading, the readings of earlier turns, and the answers so far.

    `values` are those of the answers' fields, by name with underscores. Actions read them; only the flow adds to them.
    """

    model: Reads
    encoding: Encoding
    language: str
    index: Callable[[str], Index]
    vector_task: str
    earlier: Sequence[Encoding] = ()
    watch: Watch | None = None
    answers: dict[str, FlowAnswer] = field(default_factory=dict)
    values: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def lookup(self, reference: Reference) -> Any:
        """Return what a reference names, or `MISSING`."""
        return value_at(self.values.get(reference.name), reference)

    def message(self) -> Mapping[str, Any]:
        """Return the values of the message's own fields."""
        text = self.encoding.text
        return {"text": text, "language": self.language, "length": len(text), "turn": len(self.earlier)}


@dataclass(frozen=True)
class Done:
    """What a step gave; no answers where it had nothing to work on. `note` says why, or what else to know."""

    answers: Mapping[str, FlowAnswer]
    note: str = ""


class Action(Protocol):
    """Runs one kind of step. `seconds` is what it may take: one that can stop by itself should."""

    def __call__(self, name: str, body: Body, turn: Turn, seconds: float | None) -> Done:
        """Return the step's answers; an exception is the step's failure, and no other's."""


def answer_tasks(name: str, body: Body, turn: Turn, seconds: float | None) -> Done:
    """Answer tasks of the pack from the reading of the message."""
    return Done(dict(turn.model.answer(turn.encoding, body.settings)))


def ask_questions(name: str, body: Body, turn: Turn, seconds: float | None) -> Done:
    """Ask questions of the message, of the best passage of a search, or of the earlier turns."""
    asked: Sequence[Asking] = body.settings
    questions = [_filled(each, turn) for each in asked]
    note = "a question was too long and was cut" if any(cut for _, cut in questions) else ""
    readings, why = _readings(body.of, turn)
    if not readings:
        return Done({}, why)
    found: dict[str, FlowAnswer] = {}
    for reading in readings:
        left = [number for number, each in enumerate(asked) if not _tells(found.get(each.name))]
        answers = turn.model.ask(reading, [questions[number][0] for number in left])
        for number, answer in zip(left, answers, strict=True):
            if asked[number].name not in found or _tells(answer):
                found[asked[number].name] = answer
        if all(_tells(answer) for answer in found.values()):
            break
    return Done(found, note)


def _filled(asking: Asking, turn: Turn) -> tuple[Question, bool]:
    """Return the question with its places filled in, and whether it had to be cut."""
    if not asking.template.places:
        return asking.question, False
    whole = asking.template.fill(turn.lookup) or ""
    words = turn.model.reader.fitting(whole[:MOST_CHARACTERS])
    match asking.question:
        case Choice() | Score():
            return replace(asking.question, instruction=words), words != whole
        case Predicate():
            return replace(asking.question, statement=words), words != whole
        case Extract():
            return replace(asking.question, question=words), words != whole
    return asking.question, False


def _readings(of: str, turn: Turn) -> tuple[Sequence[Encoding], str]:
    """Return what to ask, the newest first, or nothing and why."""
    if not of:
        return [turn.encoding], ""
    if of == EARLIER:
        return turn.earlier[::-1], "there is no earlier turn"
    passages = turn.answers.get(of)
    if not isinstance(passages, PassagesAnswer) or not passages.passages:
        return [], f"{of} found nothing"
    return [turn.model.read(passages.passages[0].text)], ""


def _tells(answer: FlowAnswer | None) -> bool:
    """Tell whether an answer says something, so that no earlier turn need be asked: found words, a yes, a choice."""
    match answer:
        case None:
            return False
        case ExtractAnswer(span=span):
            return span is not None
        case PredicateAnswer(holds=holds):
            return holds
        case SpansPrediction():
            return len(answer) > 0
    return True


def search_index(name: str, body: Body, turn: Turn, seconds: float | None) -> Done:
    """Search an index with the message, whose vector its reading gives, or with other words."""
    settings: Searching = body.settings
    query = settings.query.fill(turn.lookup) if settings.query else turn.encoding.text
    if not query or not query.strip():
        return Done({}, "the query is blank")
    index = turn.index(settings.index)
    reading = turn.encoding if query == turn.encoding.text else turn.model.read(query)
    vector: Any = turn.model.answer(reading, [turn.vector_task])[turn.vector_task]
    where = {key: template.fill(turn.lookup) for key, template in settings.where.items()}
    by: Any = settings.by
    hits = index.search(query, settings.k, where, by, vector.vector)
    return Done({name: PassagesAnswer(tuple(Passage(**{key: getattr(hit, key) for key in _OF_HIT}) for hit in hits))})


_OF_HIT = ("text", "source", "score", "cosine", "words", "line", "start", "end", "metadata")


def fill_reply(name: str, body: Body, turn: Turn, seconds: float | None) -> Done:
    """Fill in the reply in the language of the message."""
    reply = filled_in(body.settings, turn)
    return Done({name: reply} if reply else {}, "" if reply else "a place has nothing to write")


def filled_in(texts: Texts, turn: Turn) -> TextAnswer | None:
    """Return the text in the language of the message, or None where a place has nothing to write."""
    language, template = texts.of(turn.language)
    text = template.fill(turn.lookup)
    return None if text is None else TextAnswer(text, language)


def write_text(name: str, body: Body, turn: Turn, seconds: float | None) -> Done:
    """Write a text about the message with a decoder, checked by the pack; it stops when its time is up.

    With `of` it is written from what that search found, and from nothing else.
    """
    from umbel.replies import Order, Source

    passages = turn.answers.get(body.of)
    found = passages.passages if isinstance(passages, PassagesAnswer) else ()
    if body.of and not found:
        return Done({}, f"{body.of} found nothing")
    sources = [Source(at, p.source, p.text, p.score, p.start, p.end, p.line) for at, p in enumerate(found, 1)]
    until, watch = time.monotonic() + seconds if seconds else math.inf, turn.watch

    def cancelled() -> bool:
        return time.monotonic() > until or bool(watch and watch.cancelled())

    def told(_: int, sentences: str) -> None:
        if watch:
            watch.said(name, sentences)

    changes, wanted = dict(body.settings.changes), sources if body.of else None
    order = Order(changes=changes, cancelled=cancelled, told=told, sources=wanted)
    (written,) = turn.model.write(turn.encoding.text, body.settings.task, order)
    note = f"replaced by the task's own fallback: {', '.join(written.flags)}" if written.flags else ""
    return Done({name: TextAnswer(written.text, written.language)}, note)


ACTIONS: Mapping[str, Action] = {
    "tasks": answer_tasks,
    "ask": ask_questions,
    "search": search_index,
    "reply": fill_reply,
    "write": write_text,
}
