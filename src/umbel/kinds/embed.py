"""Feature extraction: the text as a vector of length 1, the mean of its hidden states; joint training leaves it.

A pack may read it through a linear map that was learnt afterwards (`umbel.vector_training`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from umbel.kinds.base import Floats, mean_of_windows
from umbel.kinds.untrained import Untrained
from umbel.records import Prediction, Task, VectorPrediction, Window


class FeatureExtraction(Untrained):
    """The hub's `feature-extraction`; windows of a long text merge by their mean, weighted by their tokens."""

    name = "feature-extraction"
    reads: Literal["pooled", "tokens", "nothing"] = "pooled"

    def merge(self, task: Task, logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
        """Return the mean of what the windows give, weighted by tokens `[hidden]`."""
        return mean_of_windows(logits, windows)

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Return the vector scaled to length 1."""
        return VectorPrediction((logits / max(float(np.linalg.norm(logits)), 1e-12)).astype(np.float32))
