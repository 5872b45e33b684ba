"""How stems and leaves are read together, and what logits say of their tokens. Knows nothing of engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from umbel.decoding.base import Floats, Stem, Tokens


def groups(stems: Sequence[Stem], most: int) -> Iterator[dict[int, Stem]]:
    """Yield stems by their number, as many together as are `most` branches with their leaves.

    A stem of more leaves comes several times, each time with some of them.
    """
    group: dict[int, Stem] = {}
    size = 0
    for number, stem in enumerate(stems):
        for start in range(0, max(len(stem.leaves), 1), most - 1):
            leaves = stem.leaves[start : start + most - 1]
            if group and (number in group or size + 1 + len(leaves) > most):
                yield group
                group, size = {}, 0
            group[number] = Stem(stem.tokens, leaves)
            size += 1 + len(leaves)
    if group:
        yield group


def chosen(first: Floats, following: Floats, tokens: Tokens) -> Floats:
    """Return the log-probability of each token: of the first in `first`, of the others in `following`."""
    rows = np.concatenate([first[None], following]).astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    found = rows[np.arange(len(tokens)), list(tokens)] - np.log(np.exp(rows).sum(axis=1))
    scores: Floats = found.astype(np.float32)
    return scores


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return how many first tokens two sequences share."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(np.asarray(one[:length]) != np.asarray(other[:length]))
    return int(differ[0]) if len(differ) else length
