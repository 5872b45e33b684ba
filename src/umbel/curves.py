"""Sends a training's curves to TensorBoard while it runs: losses, speed, dev scores; knows nothing of models and texts.

A `Reporter` around another one, which still draws the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umbel.errors import MissingExtraError

if TYPE_CHECKING:
    from umbel.balance import Plan
    from umbel.checkpoint import Progress
    from umbel.data import Data
    from umbel.train import Reporter, Status

EVERY = 10  # steps between two points of a curve


class Writer(Protocol):
    """What is asked of TensorBoard's writer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Add a point to a curve."""

    def flush(self) -> object:
        """Let viewers see the points."""

    def close(self) -> object:
        """End the file."""


def writer_to(folder: Path) -> Writer:
    """Return a writer of TensorBoard's event files.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "curves") from error
    writer: Writer = SummaryWriter(str(folder))
    return writer


class Curves:
    """Reports to `reporter`, and adds `loss/TASK` and `speed` every few steps, `dev/TASK` and `questions/KIND`."""

    def __init__(self, reporter: Reporter, writer: Writer) -> None:
        self.reporter, self.writer = reporter, writer

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Pass it on; a resumed training's curves go on at its step."""
        self.reporter.started(plan, data, progress)

    def stepped(self, status: Status) -> None:
        """Add the losses and the rows a second."""
        self.reporter.stepped(status)
        if status.step % EVERY == 0:
            self._add("loss", status.losses, status.step)
            self.writer.add_scalar("speed", status.rate, status.step)

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Add the dev scores."""
        self.reporter.evaluated(record)
        self._add("dev", record["scores"], record["step"])
        self._add("questions", record.get("questions", {}), record["step"])
        self.writer.flush()

    def _add(self, group: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)
