"""Shows a running training: what each task will see, then a live table, or plain lines where there is no terminal.

Knows nothing of torch: it is told of everything through the trainer's `Reporter` protocol.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from umbel.terminal import duration

if TYPE_CHECKING:
    from umbel.balance import Plan
    from umbel.checkpoint import Progress
    from umbel.data import Data
    from umbel.train import Reporter, Status

PLAIN_SECONDS = 30.0
PAUSE_SECONDS = 5.0  # no step takes so long: the dev rows are being scored


class Seen(NamedTuple):
    """What one task will see: its train rows, how often each is drawn, and its share of all rows drawn."""

    task: str
    rows: int
    epochs: float
    share: float


def what_tasks_see(plan: Plan, data: Data) -> list[Seen]:
    """Count for each task the rows that carry its answer; a row with several answers counts for each of them."""
    rows, drawn = dict.fromkeys(data.tasks, 0), dict.fromkeys(data.tasks, 0.0)
    for source, examples in data.train.items():
        passes = plan.shares[source] * plan.rows / len(examples)
        for example in examples:
            for task in example.golds:
                rows[task] += 1
                drawn[task] += passes
    return [Seen(task, rows[task], drawn[task] / max(rows[task], 1), drawn[task] / plan.rows) for task in data.tasks]


def seen_table(seen: list[Seen]) -> Table:
    """Draw what each task will see."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("task", style="cyan", overflow="fold")
    for heading in ("rows", "epochs", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in seen:
        numbers = (f"{task.rows:,}", f"{task.epochs:.2f}", f"{task.share:.1%}") if task.rows else ("nothing to train",)
        table.add_row(task.task, *numbers)
    return table


@contextmanager
def training(console: Console) -> Iterator[Reporter]:
    """Yield the reporter that suits the console, and take its display away at the end.

    >>> with training(output()) as reporter:
    ...     Trainer(spec, data, backbone, folder, reporter).run()
    """
    if not console.is_terminal:
        yield PlainReporter(console)
        return
    live = LiveReporter(console)
    try:
        yield live
    finally:
        live.stop()


def _introduce(console: Console, plan: Plan, data: Data, progress: Progress) -> None:
    console.print(seen_table(what_tasks_see(plan, data)))
    console.print(f"{plan.rows:,} rows in all; a row with several answers trains several tasks")
    if progress.step:
        console.print(f"goes on from step {progress.step:,}, after {progress.rows:,} rows")
    console.print()


def _standing(status: Status) -> str:
    """Say where a training stands, in one line."""
    left = f"{duration(status.seconds_left)} left"
    return f"{status.fraction:.1%}  step {status.step:,}  {status.rows:,} rows  {status.rate:.1f} rows/s  {left}"


class PlainReporter:
    """Prints a line every half minute, and the dev scores of each evaluation."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._told = 0.0
        self._progress: Progress | None = None

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Print what each task will see."""
        self._progress, self._told = progress, time.monotonic()
        _introduce(self.console, plan, data, progress)

    def stepped(self, status: Status) -> None:
        """Print where training stands, when half a minute has passed."""
        if time.monotonic() - self._told < PLAIN_SECONDS:
            return
        self._told = time.monotonic()
        loss = sum(status.losses.values()) / max(len(status.losses), 1)
        self.console.print(f"{_standing(status)}  mean loss {loss:.3f}", soft_wrap=True)

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Print every task's dev score, and a `*` where it is the best so far."""
        best = self._progress.best if self._progress else {}
        number = len(self._progress.history) - 1 if self._progress else 0
        self.console.print(f"dev scores at step {record['step']:,} (* best so far)")
        marks = {task: "*" if best.get(task, (0, -1))[1] == number else " " for task in record["scores"]}
        cells = [f"{task} {score:.2f}{marks[task]}" for task, score in record["scores"].items()]
        self.console.print(Columns(cells, padding=(0, 2), equal=True))
        if asked := record.get("questions"):
            self.console.print("questions " + _listed(asked))


def _listed(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{kind} {score:.2f}" for kind, score in scores.items())


class LiveReporter:
    """Keeps one table of all tasks up to date: loss, dev score, best; above it progress, speed and time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._tasks: dict[str, str] = {}  # task -> metric
        self._scores: Mapping[str, float] = {}
        self._asked: Mapping[str, float] = {}
        self._status: Status | None = None
        self._progress: Progress | None = None
        self._stepped = time.monotonic()
        self._live = Live(console=console, refresh_per_second=2, get_renderable=self.draw)

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Print what each task will see and begin the live table."""
        self._tasks, self._progress = {name: task.metric for name, task in data.tasks.items()}, progress
        if progress.history:
            self._scores = progress.history[-1]["scores"]
        _introduce(self.console, plan, data, progress)
        self._live.start()

    def stepped(self, status: Status) -> None:
        """Take in where training stands; the table is drawn twice a second."""
        self._status, self._stepped = status, time.monotonic()

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Take in every task's dev score."""
        self._scores, self._asked = record["scores"], record.get("questions", {})

    def stop(self) -> None:
        """Draw the table a last time and leave it on the screen."""
        self._live.stop()

    def draw(self) -> Group:
        """Return the whole display as it is now."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
        table.add_column("task", style="cyan", overflow="fold")
        table.add_column("loss", justify="right", min_width=7)
        table.add_column("dev", justify="right", min_width=6)
        table.add_column("best", justify="right", min_width=6)
        table.add_column("metric", style="dim")
        for task in self._tasks:
            table.add_row(*self._row(task))
        return Group(self._header(), table, *([f"questions on dev: {_listed(self._asked)}"] if self._asked else []))

    def _header(self) -> Table:
        header = Table.grid()
        if self._status is None:
            header.add_row("first step ...")
            return header
        waited = time.monotonic() - self._stepped
        header.add_row(_standing(self._status))
        header.add_row(ProgressBar(total=1.0, completed=self._status.fraction, width=min(self.console.width, 60)))
        header.add_row(f"scoring dev rows for {duration(waited)}" if waited > PAUSE_SECONDS else "")
        return header

    def _row(self, task: str) -> tuple[str, ...]:
        losses = self._status.losses if self._status else {}
        best = self._progress.best if self._progress else {}
        loss = f"{losses[task]:.3f}" if task in losses else ""
        score = f"{self._scores[task]:.2f}" if task in self._scores else ""
        highest = f"{best[task][0]:.2f}" if task in best else ""
        ended = " (stopped)" if self._progress and task in self._progress.stopped else ""
        return task, loss, score, highest, f"{self._tasks[task]}{ended}"
