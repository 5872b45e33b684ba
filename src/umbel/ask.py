"""Asks questions of texts from the command line: reads the questions, writes the answers as tables or lines of JSON.

Knows nothing of how questions are answered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from umbel.answers import json_line
from umbel.decide import Answer
from umbel.errors import InputError, UmbelError, suggest
from umbel.gather import as_they_come
from umbel.inquiries import Inquiry, Reply, plain, title
from umbel.messages import Message, Messages
from umbel.prose import Prose
from umbel.questions import (
    Choice,
    Extract,
    ExtractAnswer,
    Mentions,
    Option,
    Predicate,
    PredicateAnswer,
    Question,
    Score,
    ScoreAnswer,
    all_checked,
)
from umbel.records import LabelPrediction, SpansPrediction
from umbel.rejected import Rejected
from umbel.render import CONTEXT, headline, marked
from umbel.statements import is_question
from umbel.tables import counted
from umbel.terminal import RowBar, count_bar, errors, output, visible

if TYPE_CHECKING:
    from umbel.runtime import Model

FORMS = {"--choice": 2, "--predicate": 1, "--score": 2, "--question": 1, "--types": 1}  # how many words follow
LARGEST = 16 << 20  # bytes of a document
TOGETHER = 16  # messages read together, at most: more are hardly faster, and what is kept of long ones is large


def parsed(words: Sequence[str]) -> tuple[list[str], list[Question]]:
    """Return the texts and the questions of a command line, each in order.

    Raises:
        InputError: an option is unknown or lacks its words, or there is no question, or one is not as it should be.
    """
    texts: list[str] = []
    questions: list[Question] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            texts += rest
            break
        if not word.startswith("--"):
            texts.append(word)
            continue
        name, equals, first = word.partition("=")
        if name not in FORMS:
            raise InputError(f"{word} is not an option of ask{suggest(word, list(FORMS))}", "umbel ask --help")
        given = ([first] if equals else []) + rest[: FORMS[name] - bool(equals)]
        del rest[: FORMS[name] - bool(equals)]
        if len(given) < FORMS[name]:
            raise InputError(f"{name}: found {counted(len(given), 'word')} after it, expected {FORMS[name]}", _QUOTE)
        questions.append(_question(name, given))
    if not questions:
        raise InputError("found no question", f"ask with one of {', '.join(FORMS)}; umbel ask --help shows examples")
    return texts, all_checked(questions)


_STATE = 'is worded as a question; statements are answered better, such as "The customer is angry"'
_QUOTE = 'quote what belongs together: --choice "Which team?" "billing,technical"'


def _question(name: str, words: Sequence[str]) -> Question:
    if name == "--choice":
        return Choice(words[0], options_of(words[1]))
    if name == "--score":
        return Score(words[0], options_of(words[1]))
    if name == "--types":
        return Mentions(options_of(words[0]))
    return Predicate(words[0]) if name == "--predicate" else Extract(words[0])


def options_of(listed: str) -> tuple[Option, ...]:
    """Return options listed between commas, or between bars where there are any; `name: description` describes one."""
    separator = "|" if "|" in listed else ","
    parts = [part.strip().partition(": ") for part in listed.split(separator) if part.strip()]
    return tuple(Option(name.strip(), description.strip()) for name, _, description in parts)


def ask_pack(
    model: Model, messages: Messages, questions: Sequence[Question], as_json: bool, rejected: Rejected, exact: bool
) -> None:
    """Answer the questions for every message, a few messages read together, and end with what it cost.

    Raises:
        InputError: a question is too long for the pack.
        PackError: it was not trained for questions.
    """
    model.reader.checked(questions)
    for question in questions:
        if isinstance(question, Predicate) and is_question(question.statement):
            errors().print(f'"{visible(question.statement)}" {_STATE}', soft_wrap=True)

    def asked(texts: Sequence[str]) -> Iterator[Sequence[Answer] | UmbelError]:
        for reply in model.inquire([Inquiry(text, (), questions, exact) for text in texts]):
            yield reply.answers if isinstance(reply, Reply) else reply

    console = _ask(asked, messages, questions, as_json, rejected)
    console.print(_cost(model), soft_wrap=True)


def ask_decoder(
    backbone: str,
    messages: Messages,
    questions: Sequence[Question],
    as_json: bool,
    rejected: Rejected,
    threads: int = 0,
) -> None:
    """Answer the questions for every message with a decoder, one after the other, and end with what it cost.

    Raises:
        UmbelError: the decoder cannot be loaded, or asked at all.
    """
    from umbel import load_decoder
    from umbel.loading import fetched

    fetched(backbone)
    decoder = load_decoder(backbone, threads=threads)

    def asked(texts: Sequence[str]) -> Iterator[Sequence[Answer] | UmbelError]:
        for text in texts:
            try:
                yield decoder.ask(text, questions)
            except InputError as error:
                yield error

    console = _ask(asked, messages, questions, as_json, rejected)
    cost = decoder.counters
    line = (
        f"{cost.prefixes} prefixes read, {cost.prefix_tokens + cost.branch_tokens} tokens; reading "
        f"{1000 * cost.seconds_prefix:,.1f} ms, all branches {1000 * cost.seconds_branches:,.1f} ms"
    )
    console.print(line, soft_wrap=True)


def _ask(
    asked: Callable[[Sequence[str]], Iterable[Sequence[Answer] | UmbelError]],
    messages: Messages,
    questions: Sequence[Question],
    as_json: bool,
    rejected: Rejected,
) -> Console:
    """Write every message's answers in order; return where to tell what it cost."""
    answered = 0
    with RowBar(shown=messages.streamed and not messages.live) as bar:
        for some in as_they_come(messages, TOGETHER):
            for message, found in zip(some, asked([message.text for message in some]), strict=True):
                if isinstance(found, InputError):
                    rejected(message.line, found.message)
                elif isinstance(found, UmbelError):
                    raise found
                else:
                    console = None if as_json else bar.results
                    _show(message, questions, found, console, messages.streamed)
                    answered += 1
                bar.advance(answered, messages.done, messages.size)
    rejected.close(messages, answered)
    return errors() if as_json else bar.results


def answer(model: Model, document: str, questions: Sequence[Extract], as_json: bool) -> None:
    """Answer questions from a document, and show where it says so, and on the way how much of it is read."""
    with count_bar("reading", "windows") as progress:
        answers = model.ask(document, questions, progress=progress)
    if as_json:
        _write_json({"text": document}, questions, answers)
    else:
        output().print(_document_table(document, questions, answers))
    (errors() if as_json else output()).print(_cost(model), soft_wrap=True)


def read_document(path: Path) -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises:
        InputError: it cannot be read, is too large, blank, or not text.
    """
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
            read = file.read(LARGEST + 1)
        text = read.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "name a file of text in UTF-8") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})", "convert it to UTF-8") from error
    if len(read) > LARGEST:
        raise InputError(f"{path}: larger than {LARGEST >> 20} MB", "split it")
    if not text.strip():
        raise InputError(f"{path}: it holds no text", "name a file of text in UTF-8")
    return text


def _show(
    message: Message, questions: Sequence[Question], answers: Sequence[Answer], console: Console | None, numbered: bool
) -> None:
    """Write one message's answers: a table, or without a console a line of JSON."""
    if console is None:
        _write_json({"line": message.line, "text": message.text}, questions, answers)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("question", style="cyan", overflow="fold", max_width=40)
    table.add_column("answer", overflow="fold", min_width=16)
    table.add_column("probability", justify="right", no_wrap=True, min_width=11)
    for question, found in zip(questions, answers, strict=True):
        table.add_row(Prose(Text(visible(title(question)))), *_row(message.text, found))
    place = Text(f"line {message.line}  " if numbered else "", "dim")
    console.print(Group(Prose(place + Text(headline(message.text), "bold")), table, Text("")))


def _write_json(before: Mapping[str, Any], questions: Sequence[Question], answers: Sequence[Answer]) -> None:
    pairs = zip(questions, answers, strict=True)
    sys.stdout.buffer.write(json_line({**before, "answers": [plain(*pair) for pair in pairs]}))
    sys.stdout.buffer.flush()


def _row(text: str, found: Answer) -> tuple[Any, str]:
    match found:
        case LabelPrediction(label=label, probability=probability):
            return Prose(Text(visible(label or ""), "bold")), f"{probability:.2f}"
        case PredicateAnswer(holds=holds, probability=probability):
            return Text("yes" if holds else "no", "bold"), f"{probability if holds else 1 - probability:.2f}"
        case ScoreAnswer(score=score, level=level, probabilities=levels):
            scale = Text.assemble((visible(level), "bold"), (f"  {score:.2f} of {len(levels) - 1}", "dim"))
            return Prose(scale), f"{levels[level]:.2f}"
        case ExtractAnswer(span=span, probability=probability):
            said = Text(visible(span.text), "bold") if span else Text("the text does not say", "dim")
            return Prose(said), f"{probability:.2f}"
        case SpansPrediction(spans=spans):
            return Prose(marked(text, spans) if spans else Text("none", "dim")), ""


def _document_table(text: str, questions: Sequence[Question], answers: Sequence[Answer]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("question", style="cyan", overflow="fold", max_width=32)
    table.add_column("answer", overflow="fold", min_width=12)
    table.add_column("probability", justify="right", no_wrap=True, min_width=11)
    table.add_column("where", style="dim", overflow="fold")
    for question, found in zip(questions, answers, strict=True):
        span = found.span if isinstance(found, ExtractAnswer) else None
        around = visible(text[max(span.start - CONTEXT, 0) : span.end + CONTEXT]) if span else ""
        table.add_row(Prose(Text(visible(title(question)))), *_row(text, found), Prose(Text(around)))
    return table


def _cost(model: Model) -> str:
    counters = model.counters
    return (
        f"{counted(counters.encodings, 'encoding')} run, {counted(counters.questions, 'question')} answered; encoding "
        f"{1000 * counters.seconds_encoding:,.1f} ms, all branches {1000 * counters.seconds_branches:,.1f} ms"
    )
