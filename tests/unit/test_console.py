"""A training as it is shown: plain lines in a file, a live table on a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from umbel import console
from umbel.balance import Plan
from umbel.checkpoint import Progress
from umbel.console import LiveReporter, PlainReporter, seen_table, training, what_tasks_see
from umbel.data import Data
from umbel.records import Example, Task
from umbel.train import Status

TASKS = {
    "topic": Task("topic", "text-classification", ("a", "b"), metric="accuracy"),
    "entities": Task("entities", "token-classification", ("place",), metric="f1"),
    "vector": Task("vector", "feature-extraction"),
}
LOSSES = {"topic": 0.25, "entities": 0.75}


def example(**golds: object) -> Example:
    return Example("text", golds, "x:1", "en")


@pytest.fixture
def data() -> Data:
    both = [example(topic="a", entities=())] * 30 + [example(topic="b")] * 10
    return Data(TASKS, {"both": both, "one": [example(topic="a")] * 60}, {}, {"both": 1.0, "one": 1.0})


@pytest.fixture
def plan(data: Data) -> Plan:
    lengths = {name: np.ones(len(rows), np.int64) for name, rows in data.train.items()}
    return Plan(lengths, {"both": 0.5, "one": 0.5}, 240, 8, 64, 1)


def screen(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal, markup=False, color_system=None)


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def status(step: int = 10) -> Status:
    return Status(0.125, step, 1234, 28.06, 6720.0, LOSSES)


def record(**scores: float) -> Mapping[str, Any]:
    return {"step": 10, "rows": 1234, "scores": scores, "losses": LOSSES}


def test_what_each_task_sees_follows_from_the_plan(plan: Plan, data: Data) -> None:
    seen = {task.task: task for task in what_tasks_see(plan, data)}
    assert (seen["topic"].rows, seen["entities"].rows, seen["vector"].rows) == (100, 30, 0)
    assert seen["entities"].epochs == pytest.approx(3.0)  # 120 rows drawn of a file of 40
    assert seen["topic"].epochs == pytest.approx(2.4)
    assert seen["topic"].share == pytest.approx(1.0)
    assert seen["entities"].share == pytest.approx(90 / 240)
    drawn = sum(len(batch) for number in range(plan.rounds) for batch in plan.batches(number))
    assert drawn == plan.rows


def test_it_is_printed_first(plan: Plan, data: Data) -> None:
    out = screen()
    out.print(seen_table(what_tasks_see(plan, data)))
    rows = [line.split() for line in shown(out).splitlines()]
    assert ["entities", "30", "3.00", "37.5%"] in rows
    assert ["vector", "nothing", "to", "train"] in rows


def test_plain_lines_come_every_half_minute(plan: Plan, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    out = screen()
    with training(out) as reporter:
        assert isinstance(reporter, PlainReporter)
        reporter.started(plan, data, Progress("x"))
        for now in (101.0, 129.0, 131.0, 140.0, 162.0):
            reporter.stepped(status(int(now)))
    lines = [line for line in shown(out).splitlines() if "step" in line]
    assert lines == [
        "12.5%  step 131  1,234 rows  28.1 rows/s  1 h 52 min left  mean loss 0.500",
        "12.5%  step 162  1,234 rows  28.1 rows/s  1 h 52 min left  mean loss 0.500",
    ]


def test_plain_scores_mark_the_best(plan: Plan, data: Data) -> None:
    out, progress = screen(), Progress("x")
    reporter = PlainReporter(out)
    reporter.started(plan, data, progress)
    progress.history, progress.best = [{}, {}], {"topic": (91.5, 1), "entities": (50.0, 0)}
    reporter.evaluated(record(topic=91.5, entities=48.0))
    assert "topic 91.50*" in shown(out)
    assert "entities 48.00 " in shown(out)


def test_a_resumed_training_says_from_where(plan: Plan, data: Data) -> None:
    out = screen()
    PlainReporter(out).started(plan, data, Progress("x", step=1200, rows=9600))
    assert "goes on from step 1,200, after 9,600 rows" in shown(out)


def test_the_live_table_has_losses_scores_and_stopped_tasks(plan: Plan, data: Data) -> None:
    out = screen(terminal=True)
    progress = Progress("x")
    with training(out) as reporter:
        assert isinstance(reporter, LiveReporter)
        reporter.started(plan, data, progress)
        reporter.stepped(status())
        progress.best, progress.stopped = {"topic": (91.5, 0)}, {"entities": 3}
        reporter.evaluated(record(topic=90.25, entities=48.0))
        drawn = Console(file=io.StringIO(), width=80, color_system=None)
        drawn.print(reporter.draw())
    rows = [line.split() for line in shown(drawn).splitlines()]
    assert ["topic", "0.250", "90.25", "91.50", "accuracy"] in rows
    assert ["entities", "0.750", "48.00", "f1", "(stopped)"] in rows
    assert "12.5%  step 10  1,234 rows  28.1 rows/s  1 h 52 min left" in shown(drawn)
    assert "90.25" in shown(out)


def test_scores_of_questions_are_shown_where_there_are_any(plan: Plan, data: Data) -> None:
    for made, out in ((PlainReporter, screen()), (LiveReporter, screen(terminal=True))):
        reporter = made(out)
        reporter.started(plan, data, Progress("x"))
        reporter.evaluated(record(topic=90.0) | {"questions": {"choice": 81.5, "extract": 40.0}})
        if isinstance(reporter, LiveReporter):
            out.print(reporter.draw())
        assert "choice 81.50  extract 40.00" in shown(out)


def test_a_pause_is_explained(plan: Plan, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    reporter = LiveReporter(screen(terminal=True))
    reporter.stepped(status())
    now = 112.0
    drawn = screen()
    drawn.print(reporter.draw())
    assert "scoring dev rows for 12 s" in shown(drawn)


def test_a_resumed_live_table_begins_with_the_last_scores(plan: Plan, data: Data) -> None:
    reporter = LiveReporter(screen(terminal=True))
    reporter.started(plan, data, Progress("x", step=5, history=[record(topic=77.0)]))
    reporter.stop()
    drawn = screen()
    drawn.print(reporter.draw())
    assert "77.00" in shown(drawn)
    assert "first step" in shown(drawn)
