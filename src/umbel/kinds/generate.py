"""Text generation: a text that a decoder writes about the input; declared in a pack, not trained with it.

What is written and with what is in the declaration's `writing`. Nothing here runs a decoder: `replies` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umbel.errors import InputError
from umbel.kinds.base import Floats
from umbel.kinds.untrained import Untrained
from umbel.records import Prediction, Task


class TextGeneration(Untrained):
    """The hub's `text-generation`: reply, summary, plan, or whatever an instruction says."""

    name = "text-generation"
    writes = True

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Refuse: a text is written when it is asked for."""
        raise InputError(f"{task.name}: a task of kind text-generation is written", "model.write(text, task)")
