"""Draws, checks and runs flows from the command line; knows nothing of how a flow runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from umbel.answers import json_line
from umbel.errors import InputError, UmbelError
from umbel.flow import FILES, Flow, FlowResult, StepReport, read_flow
from umbel.flow_answers import FlowAnswer, PassagesAnswer, TextAnswer
from umbel.flow_drawing import mermaid
from umbel.flow_forms import Searching
from umbel.flow_spec import read_flow_file
from umbel.loading import ready_model
from umbel.messages import opened
from umbel.packing import write_flow
from umbel.prose import Prose
from umbel.questions import ExtractAnswer, PredicateAnswer, ScoreAnswer
from umbel.records import (
    Counters,
    LabelPrediction,
    LabelsPrediction,
    ScorePrediction,
    SpansPrediction,
    VectorPrediction,
)
from umbel.render import headline
from umbel.tables import counted, grid
from umbel.terminal import errors, output, visible

_STYLES = {"ran": "green", "skipped": "dim", "failed": "bold red", "timed out": "bold red"}


def draw(source: str) -> None:
    """Print a flow as Mermaid."""
    spec, _, _ = read_flow(source)
    output().print(mermaid(spec), soft_wrap=True)


def check(source: str) -> None:
    """Say that a flow is sound, in which order its steps run, and which of its indexes are not there."""
    spec, pack, folder = read_flow(source)
    names = ", ".join(step.name for step in spec.order)
    console = output()
    console.print(f"{spec.name or source}: no faults; pack {pack.manifest.name}, {counted(len(spec.steps), 'step')}")
    console.print(Prose(Text(f"order: {names}")))
    for step in spec.steps:
        if isinstance(step.body.settings, Searching) and not (folder / step.body.settings.index).exists():
            path = folder / step.body.settings.index
            console.print(f"not there yet: {path}, which {step.name} searches; `umbel index` makes it", soft_wrap=True)


def put_in_pack(source: str, folder: Path) -> None:
    """Write the pack that a flow's file is for, with the flow in it, to a folder, and the indexes it searches.

    Raises:
        InputError: `source` is a pack already.
        SpecError, PackError: as `read_flow` raises them.
        CacheError: the folder cannot be written.
    """
    spec, pack, beside = read_flow(source)
    if Path(source).suffix not in FILES:
        raise InputError(f"{source} is a pack already", "name the YAML file of a flow")
    document, _ = read_flow_file(Path(source).expanduser())
    declared = {key: value for key, value in document.value.items() if key not in ("flow", "pack")}
    write_flow(pack, folder, spec.name, declared)
    for step in spec.steps:
        if isinstance(step.body.settings, Searching) and (beside / step.body.settings.index).is_file():
            shutil.copy2(beside / step.body.settings.index, folder)
    output().print(f"{folder}: pack {spec.name}, {pack.manifest.name} with its flow", soft_wrap=True)


def run(source: str, texts: Sequence[str], file: Path | None, as_json: bool) -> int:
    """Take messages through a flow, show each result, and return how many could not be read."""
    _, pack, _ = read_flow(source)
    refused: list[int] = []

    def refuse(line: int, reason: str) -> None:
        refused.append(line)
        errors().print(f"line {line}: {visible(reason)}", soft_wrap=True)

    with opened(texts, file, False, refuse) as messages, Flow.load(source, ready_model(pack.folder)) as flow:
        before = replace(flow.model.counters)
        for message in messages:
            try:
                result = flow(message.text)
            except UmbelError as error:
                refuse(message.line, error.message)
                continue
            _show(result, message.line, as_json)
        _close(before, flow.model.counters, as_json)
    return len(refused)


def _show(result: FlowResult, line: int, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(json_line({"line": line} | result.plain()))
        sys.stdout.buffer.flush()
    else:
        output().print(Group(*report(result)))


def report(result: FlowResult) -> Iterator[RenderableType]:
    """Yield what became of a message: each step with its answers or why there are none, then the reply."""
    yield Prose(Text.assemble((f"{result.language}  ", "dim"), (headline(result.text), "bold")))
    table = grid("step", "", "ms", "answer", "", right=["ms"])
    table.add_row(Text("the message", "dim"), "read", f"{result.reading_milliseconds:.1f}")
    for step in result.steps:
        head: list[str | Text] = [step.name, Text(step.state, _STYLES[step.state]), f"{step.milliseconds:.1f}"]
        for row in _rows(step, result):
            table.add_row(*head, *row)
            head = ["", "", ""]
    yield table
    if result.reply is not None:
        yield Prose(Text.assemble(("reply  ", "cyan"), visible(result.reply)))
    yield Text()


def _rows(step: StepReport, result: FlowResult) -> Iterator[tuple[str, Prose]]:
    """Yield why a step has no answers of its own, or what else to know of it, then its answers by name."""
    if step.why or not step.answers:
        yield "", Prose(Text(visible(step.why), "dim"))
    for name in step.answers:
        shown = visible(one_line(result[name])) + (" (fallback)" if step.fallback else "")
        yield name if name != step.name else "", Prose(Text(shown))


def one_line(answer: FlowAnswer) -> str:
    """Return an answer in a few words."""
    match answer:
        case PredicateAnswer(holds, probability):
            return f"{'yes' if holds else 'no'} {probability if holds else 1 - probability:.2f}"
        case ScoreAnswer(score, level, probabilities):
            return f"{level} ({score:.2f} of {len(probabilities) - 1})"
        case ExtractAnswer(span, probability):
            return f"{span.text} {probability:.2f}" if span else f"the text does not say {probability:.2f}"
        case PassagesAnswer(passages):
            return f"{passages[0].source}, cosine {passages[0].cosine:.3f}" if passages else "nothing was found"
        case TextAnswer(text=text):
            return text
    return _prediction(answer)


def _prediction(answer: FlowAnswer) -> str:
    match answer:
        case LabelPrediction(label=label, probability=probability):
            return f"{label or 'withheld'} {probability:.2f}"
        case LabelsPrediction(labels, probabilities):
            return ", ".join(f"{label} {probabilities[label]:.2f}" for label in labels) or "none"
        case ScorePrediction(score):
            return f"{score:.2f}"
        case SpansPrediction(spans):
            return ", ".join(f"{span.text} ({span.label})" for span in spans) or "none"
        case VectorPrediction(vector=vector):
            return f"a vector of {len(vector)} numbers"
    return ""


def _close(before: Counters, after: Counters, as_json: bool) -> None:
    """Say what a run has cost."""
    counts = [(after.encodings - before.encodings, "encoding"), (after.tasks - before.tasks, "task")]
    encodings, tasks = (counted(*each) for each in counts)
    questions = counted(after.questions - before.questions, "question")
    line = f"{encodings} run, {tasks} and {questions} answered"
    (errors() if as_json else output()).print(line, soft_wrap=True)
