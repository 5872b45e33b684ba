"""What the logits of a row should be, between its gold answer and its teacher, stacked for a loss; needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umbel.kinds.base import kind_of
from umbel.records import Task, Window


def target_of(task: Task, gold: Any, window: Window, said: NDArray[np.float32] | None, fraction: float) -> NDArray[Any]:
    """Return the target of one row: the gold answer's, mixed with what a teacher `said`, if any, by `fraction`."""
    kind = kind_of(task.kind)
    target = kind.target(task, gold, window)
    return target if said is None else kind.blend(task, target, said, fraction)


def stacked(targets: Sequence[NDArray[Any]], tokens: int) -> Tensor:
    """Return targets as one tensor; of kinds of tokens (`tokens` > 0) padded with what trains nothing.

    Tags become `[rows, tokens]` padded with -100, their probabilities `[rows, tokens, tags]` padded with zeros.
    """
    if not tokens:
        return torch.from_numpy(np.stack(targets))
    if targets[0].ndim == 1:
        padded = [np.pad(target, (0, tokens - len(target)), constant_values=-100) for target in targets]
    else:
        padded = [np.pad(target, ((0, tokens - len(target)), (0, 0))).astype(np.float32) for target in targets]
    return torch.from_numpy(np.stack(padded))
