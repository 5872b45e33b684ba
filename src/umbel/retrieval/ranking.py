"""Orders passages by meaning (cosine of vectors), by words (BM25), or by both.

By both, the square of the share of the query's words that a passage holds adds to its cosine, in units of how far the
cosines of the index spread. Words count by that share, not by rank, and few of them next to nothing, so that passages
in the language of the query do not drown those in another.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from umbel.retrieval.store import Floats, Ints

By = Literal["both", "vectors", "words"]

WORDS_WEIGHT = 40  # standard deviations of the cosine that all words of a query weigh (docs/log.md)


def scores_of(cosines: Floats, shares: Floats, by: By) -> Floats:
    """Return what orders the passages `[passages]`; minus infinity for those that are not found."""
    if by == "words":
        return np.where(shares > 0, shares, -np.inf).astype(np.float32)
    if by == "vectors" or not len(cosines):
        return cosines.copy()
    scores: Floats = cosines + np.float32(WORDS_WEIGHT * cosines.std()) * shares**2
    return scores


def highest(scores: Floats, k: int) -> Ints:
    """Return the rows of the `k` highest scores, the highest first, without those that are not found."""
    rows = np.arange(len(scores))
    if len(rows) > k:
        rows = np.sort(np.argpartition(-scores, k)[:k])
    rows = rows[np.isfinite(scores[rows])]
    highest: Ints = rows[np.argsort(-scores[rows], kind="stable")]
    return highest
