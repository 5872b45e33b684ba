"""What kinds without a head have in common: there is nothing to train, to score or to calibrate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umbel.kinds.base import Floats
from umbel.records import Prediction, Task, Window

if TYPE_CHECKING:
    from torch import Tensor


class Untrained:
    """A kind without a head and without data; what it is called and what it gives are its own."""

    name: str
    reads: Literal["pooled", "tokens", "nothing"] = "nothing"
    metrics: tuple[str, ...] = ()
    trained = False

    def parse(self, task: Task, value: object, text: str) -> Any:
        """Refuse every cell: this kind takes no data."""
        raise ValueError(f"{self.name} takes no data; leave out `data`")

    def labels_in(self, value: object) -> Sequence[str]:
        """Return nothing."""
        return ()

    def width(self, task: Task) -> int:
        """Return 0: there is no head."""
        return 0

    def target(self, task: Task, gold: Any, window: Window) -> NDArray[Any]:
        """Return nothing `[0]`."""
        return np.zeros(0, np.float32)

    def blend(self, task: Task, target: NDArray[Any], logits: Floats, share: float) -> NDArray[Any]:
        """Return the target as it is."""
        return target

    def loss(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        """Return zeros `[rows]`."""
        return logits.new_zeros(len(logits))

    def merge(self, task: Task, logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
        """Return the first window's."""
        return logits[0]

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return nothing."""
        return {}

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Return the task as it is: train rows tell nothing more."""
        return task

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Return the task as it is."""
        return task, {}
