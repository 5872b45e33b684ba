"""Streams messages through a model and writes each answer as it comes, as a table or a line of JSON.

Knows nothing of options. What cannot be answered is told on standard error with its line, and the rest goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from umbel.answers import json_line, plain_result
from umbel.gather import as_they_come
from umbel.messages import Messages
from umbel.records import Result
from umbel.rejected import Rejected
from umbel.render import Cost, closing_line, result_table
from umbel.terminal import RowBar, errors

if TYPE_CHECKING:
    from umbel.records import Refused
    from umbel.runtime import Model

AHEAD = 256  # messages read, at most, before they are answered


@dataclass(frozen=True)
class View:
    """How answers are shown: as JSON or tables, and of each task how many of the likeliest labels.

    A table leaves out tasks that were trained on other languages than the message's, unless `every` or asked for. Of a
    message in a language that no task was trained on it shows all.
    """

    json: bool = False
    top: int = 0
    every: bool = False


def analyze(model: Model, messages: Messages, tasks: Sequence[str] | None, view: View, rejected: Rejected) -> None:
    """Answer every message in order and end with what it cost."""
    answered = 0
    foreign = {} if tasks or view.every else {name: task.languages for name, task in model.tasks.items()}
    with RowBar(shown=messages.streamed and not messages.live) as bar:
        for line, outcome in _outcomes(model, messages, tasks):
            if isinstance(outcome, Result):
                _write(outcome, line, view, bar.results, messages.streamed, foreign)
                answered += 1
            else:
                rejected(line, outcome.error.message)
            bar.advance(answered, messages.done, messages.size)
    _close(model, messages, rejected, errors() if view.json else bar.results)


def _outcomes(model: Model, messages: Messages, tasks: Sequence[str] | None) -> Iterator[tuple[int, Result | Refused]]:
    """Yield each message's line and outcome; one that has come never waits for the next."""
    for some in as_they_come(messages, AHEAD):
        answers = model.stream([message.text for message in some], tasks)
        yield from zip((message.line for message in some), answers, strict=True)


def _write(
    result: Result, line: int, view: View, console: Console, numbered: bool, languages: Mapping[str, Sequence[str]]
) -> None:
    if view.json:
        sys.stdout.buffer.write(json_line({"line": line} | plain_result(result, view.top or None)))
        sys.stdout.buffer.flush()
    else:
        known = any(result.language in each for each in languages.values())
        hidden = {n for n in result if known and languages.get(n) and result.language not in languages[n]}
        console.print(result_table(result, f"line {line}" if numbered else "", view.top, hidden))


def _close(model: Model, messages: Messages, rejected: Rejected, console: Console) -> None:
    counters = model.counters
    cost = Cost(counters.encodings, counters.tasks, counters.seconds_encoding, counters.seconds_heads)
    rejected.close(messages, cost.encodings)
    console.print(closing_line(cost), soft_wrap=True)
