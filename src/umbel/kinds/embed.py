"""Feature extraction: the text as a vector of length 1, the mean of its hidden states; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umbel.kinds.base import Floats, mean_of_windows
from umbel.records import Prediction, Task, VectorPrediction, Window

if TYPE_CHECKING:
    from torch import Tensor


class FeatureExtraction:
    """The hub's `feature-extraction`; windows of a long text merge by their mean, weighted by their tokens."""

    name = "feature-extraction"
    reads: Literal["pooled", "tokens", "nothing"] = "pooled"
    metrics: tuple[str, ...] = ()
    trained = False

    def parse(self, task: Task, value: object, text: str) -> Any:
        """Refuse every cell: this kind takes no data."""
        raise ValueError("feature-extraction takes no data; leave out `data`")

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
        """Return the mean of the windows' pooled hidden, weighted by tokens `[hidden]`."""
        return mean_of_windows(logits, windows)

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Return the vector scaled to length 1."""
        return VectorPrediction((logits / max(float(np.linalg.norm(logits)), 1e-12)).astype(np.float32))

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return nothing: there are no golds."""
        return {}

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Return the task as it is: train rows tell nothing more."""
        return task

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Return the task as it is."""
        return task, {}
