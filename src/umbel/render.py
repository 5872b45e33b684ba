"""Draws results as tables for a terminal: a table per message, spans marked in the text, one closing line.

Knows nothing of files or models. What a message holds is never sent to the terminal as it is: control characters
become visible signs, so that a text cannot move the cursor or hide itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple
from zlib import crc32

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from umbel.answers import best
from umbel.prose import Prose
from umbel.records import (
    LabelPrediction,
    LabelsPrediction,
    Prediction,
    Result,
    ScorePrediction,
    Span,
    SpansPrediction,
)
from umbel.terminal import visible

HEADLINE = 240  # characters of a message shown above its answers
CONTEXT = 60  # characters shown around a span of a long text
WHOLE = 480  # characters up to which a marked text is shown whole
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "red")


class Row(NamedTuple):
    """One line of an answer: what it says, and how sure the model is."""

    answer: Text
    probability: str = ""


class Cost(NamedTuple):
    """What a run has cost: the numbers of the closing line."""

    encodings: int
    answers: int
    encoding_seconds: float
    heads_seconds: float


def headline(text: str) -> str:
    """Return the text, or its beginning and its length where it is long."""
    if len(text) <= HEADLINE:
        return visible(text)
    return f"{visible(text[:HEADLINE])}… ({len(text):,} characters)"


def result_table(result: Result, name: str = "", top: int = 0, hidden: Collection[str] = ()) -> Group:
    """Draw one message and its answers; `name` says which message it is, `top` how many labels of each task to show.

    The tasks in `hidden` are only counted.
    """
    title = Text.assemble(*((f"{part}  ", "dim") for part in (name, result.language) if part))
    title.append(headline(result.text), "bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("task", style="cyan", overflow="fold", max_width=24)
    table.add_column("answer", overflow="fold", min_width=16)
    table.add_column("probability", justify="right", no_wrap=True, min_width=11)
    for task, prediction in result.items():
        if task in hidden:
            continue
        for number, row in enumerate(rows_of(prediction, result.text, top)):
            table.add_row("" if number else task, Prose(row.answer), row.probability)
    rest = Text(f"{len(hidden)} answers of tasks for other languages: --all shows them\n" if hidden else "", "dim")
    return Group(Prose(title), table, rest)


def rows_of(prediction: Prediction, text: str, top: int = 0) -> list[Row]:
    """Return the lines of one answer, with the `top` likeliest labels where there are labels."""
    if isinstance(prediction, LabelPrediction):
        return _label_rows(prediction, top)
    if isinstance(prediction, LabelsPrediction):
        return _labels_rows(prediction, top)
    if isinstance(prediction, ScorePrediction):
        return [Row(Text(f"{prediction.score:.2f}"))]
    if isinstance(prediction, SpansPrediction):
        return [Row(marked(text, prediction.spans) if prediction.spans else _none())]
    return [Row(Text(f"{len(prediction.vector)} numbers", "dim"))]


def _none() -> Text:
    return Text("none", "dim")


def _label_rows(prediction: LabelPrediction, top: int) -> list[Row]:
    ranked = best(prediction.probabilities, max(top, 1))
    rows = [Row(Text(label, "dim"), f"{probability:.2f}") for label, probability in ranked.items()]
    first = next(iter(ranked))
    if prediction.abstained:
        answer = Text.assemble("unsure", (f" (likeliest: {first})", "dim"))
    else:
        answer = Text(prediction.label or first, "bold")
        if prediction.out_of_scope and prediction.label:
            answer.append(" (out of scope)", "not bold dim")
    return [Row(answer, rows[0].probability), *rows[1:]]


def _labels_rows(prediction: LabelsPrediction, top: int) -> list[Row]:
    given = set(prediction.labels)
    ranked = best(prediction.probabilities)
    shown = [label for place, label in enumerate(ranked) if place < top or label in given]
    rows = [Row(Text(label, "bold" if label in given else "dim"), f"{ranked[label]:.2f}") for label in shown]
    return rows if given else [Row(_none()), *rows]


def marked(text: str, spans: Sequence[Span]) -> Text:
    """Return the text with each span as `[mention: label probability]`; of a long text only what is around spans."""
    drawn, end = Text(), 0
    for span in spans:
        drawn.append(_between(text, end, span.start))
        drawn.append("[", "dim")
        drawn.append(visible(text[span.start : span.end]), f"bold {COLOURS[crc32(span.label.encode()) % len(COLOURS)]}")
        drawn.append(f": {span.label} {span.probability:.2f}]", "dim")
        end = span.end
    return drawn.append(_between(text, end, len(text)))


def _between(text: str, start: int, end: int) -> str:
    """Return the text between two spans, without its middle when the text is long."""
    if len(text) <= WHOLE or end - start <= 2 * CONTEXT:
        return visible(text[start:end])
    before = visible(text[start : start + CONTEXT]) if start else ""
    after = visible(text[end - CONTEXT : end]) if end < len(text) else ""
    return f"{before}…{after}"


def closing_line(cost: Cost) -> str:
    """Say what a run has cost: encodings run, tasks answered, milliseconds for encoding and for all heads."""
    encodings = f"{cost.encodings:,} {'encoding' if cost.encodings == 1 else 'encodings'} run"
    answers = f"{cost.answers:,} {'task' if cost.answers == 1 else 'tasks'} answered"
    spent = f"encoding {_milliseconds(cost.encoding_seconds)}, all heads {_milliseconds(cost.heads_seconds)}"
    return f"{encodings}, {answers}; {spent}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f} ms" if seconds < 1 else f"{1000 * seconds:,.0f} ms"
