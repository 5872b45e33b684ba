"""Text generation: a text that a decoder writes about the input; declared in a pack, not trained with it.

What is written and with what is in the declaration's `writing`. Nothing here runs a decoder: `replies` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umbel.errors import InputError
from umbel.kinds.base import Floats
from umbel.records import Prediction, Task, Window

if TYPE_CHECKING:
    from torch import Tensor


class TextGeneration:
    """The hub's `text-generation`: reply, summary, plan, or whatever an instruction says."""

    name = "text-generation"
    reads: Literal["pooled", "tokens", "nothing"] = "nothing"
    metrics: tuple[str, ...] = ()
    trained = False
    writes = True

    def parse(self, task: Task, value: object, text: str) -> Any:
        """Refuse every cell: this kind takes no data."""
        raise ValueError("text-generation takes no data; leave out `data`")

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

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Refuse: a text is written when it is asked for."""
        raise InputError(f"{task.name}: a task of kind text-generation is written", "model.write(text, task)")

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return nothing: there are no golds."""
        return {}

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Return the task as it is."""
        return task

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Return the task as it is."""
        return task, {}
