"""What a running training says of itself, and to whom; knows nothing of torch, and of what is drawn of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from umbel.balance import Plan
    from umbel.checkpoint import Progress
    from umbel.data import Data


@dataclass(frozen=True)
class Status:
    """What a running training can say of itself; `losses` are running means by task, `rate` is rows a second."""

    fraction: float
    step: int
    rows: int
    rate: float
    seconds_left: float
    losses: Mapping[str, float]


class Reporter(Protocol):
    """Told what happens; the command line draws it."""

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Say what each task will see."""

    def stepped(self, status: Status) -> None:
        """Say where training stands; called after every step."""

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Give the dev scores of one evaluation."""


class Silent:
    """The reporter of the processes that do not lead."""

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Say nothing."""

    def stepped(self, status: Status) -> None:
        """Say nothing."""

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Say nothing."""
