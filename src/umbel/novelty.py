"""Says how sure a choice among new options is, over how sure it would be among ones that questions were trained on.

Asked about what it never heard of, a model is often too sure, or, where a text is plainly nearer to one option than to
the others, not sure enough. How new options are their names tell: one less how like they are, on average, to the
nearest trained names. How plain the answer is the vectors tell: the cosine of the text and the likeliest option, less
the mean of all options'. The two numbers were fitted on trained tasks, to models that had not learnt these
(`packs/experiments/unfamiliar.py`, docs/log.md).
"""

from __future__ import annotations

import math

PLAIN = 0.027  # how much nearer the likeliest option is where new options need no correction
STEEP = 6.0  # how much newness counts
NEAREST = 0.003  # what is less near counts as this
MOST = 2.0  # of the logarithm of what logits are divided by, either way


def doubt(newness: float, nearer: float, plain: float = PLAIN, steep: float = STEEP) -> float:
    """Return by what a choice's logits are to be divided, which leaves the order of its options.

    `newness` is between 0 and 1, `nearer` how much nearer by cosine the likeliest option is to the text than all are.

    >>> doubt(0.0, -0.1), doubt(0.1, PLAIN)
    (1.0, 1.0)
    """
    exponent = steep * newness * math.log(plain / max(nearer, NEAREST))
    return math.exp(min(max(exponent, -MOST), MOST))
