"""Regression: one number on the task's own scale, read from the pooled hidden."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umbel import metrics
from umbel.kinds.base import Floats, mean_of_windows
from umbel.records import Prediction, ScorePrediction, Task, Window

if TYPE_CHECKING:
    from torch import Tensor


class Regression:
    """A number; windows of a long text merge by their mean, weighted by their tokens."""

    name = "regression"
    reads: Literal["pooled", "tokens", "nothing"] = "pooled"
    metrics = ("pearson", "spearman", "mean-absolute-error")
    trained = True

    def parse(self, task: Task, value: object, text: str) -> float:
        """Return the cell's number."""
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ValueError(f"found {value!r}, expected a number") from None
        if not math.isfinite(number):
            raise ValueError(f"found {value!r}, expected a finite number")
        return number

    def labels_in(self, value: object) -> Sequence[str]:
        """Return nothing: a number has no labels."""
        return ()

    def width(self, task: Task) -> int:
        """Return 1."""
        return 1

    def target(self, task: Task, gold: Any, window: Window) -> NDArray[Any]:
        """Return the number `[1]`."""
        return np.array([gold], np.float32)

    def blend(self, task: Task, target: NDArray[Any], logits: Floats, share: float) -> NDArray[Any]:
        """Return a number between the gold one and a teacher's `[1]`."""
        return share * target + (1 - share) * logits

    def loss(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        """Return the smooth absolute error of each row `[rows]`."""
        from torch.nn import functional

        return functional.smooth_l1_loss(logits, target, reduction="none").sum(-1)

    def merge(self, task: Task, logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
        """Return the mean of the windows' numbers, weighted by tokens `[1]`."""
        return mean_of_windows(logits, windows)

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Return the number."""
        return ScorePrediction(float(logits[0]))

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return both correlations times 100, and the mean absolute error on the task's scale."""
        wanted = np.array(golds, np.float64)
        found = np.array([p.score for p in predictions if isinstance(p, ScorePrediction)], np.float64)
        return {
            "pearson": metrics.pearson(wanted, found),
            "spearman": metrics.spearman(wanted, found),
            "mean-absolute-error": float(np.abs(wanted - found).mean()) if len(wanted) else 0.0,
        }

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Return the task as it is: train rows tell nothing more."""
        return task

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Return the task as it is: a number has no probability to calibrate."""
        return task, {}
