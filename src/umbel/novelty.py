"""Says how much less sure a choice is among few options that are unlike those which questions were trained on.

Trained questions are as sure as they are right; asked about what it never heard of, a model is as sure, and less often
right. How new an option is its name tells: one less its likeness to the nearest trained name. The two numbers were
fitted on trained tasks, to models that had not learnt these (`packs/experiments/unfamiliar.py`, docs/log.md).
"""

from __future__ import annotations

import math

STEEP, BY_OPTIONS = 16.0, -10.0


def steepness(options: int) -> float:
    """Return by how much novelty makes a choice among so many options less sure; 0 from five on."""
    return max(STEEP + BY_OPTIONS * math.log(options), 0.0)


def doubt(likeness: float, options: int) -> float:
    """Return by what a choice's logits are to be divided; `likeness`, at most 1, is the least of its options' names.

    >>> doubt(1.0, 2), doubt(0.9, 5)
    (1.0, 1.0)
    """
    return math.exp((1 - likeness) * steepness(options))
