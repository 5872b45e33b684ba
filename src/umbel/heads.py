"""Applies the heads of a pack in numpy, so that no task's arithmetic depends on which others are asked.

Pooled heads are stacked in groups of a fixed size: a group's arrays have the same shape whatever tasks exist or are
asked, so a task's logits are bit-identical beside any others. Knows nothing of texts and engines.

No product here is one of matrices by a BLAS library. Its kernels for AVX2 round a row by where it stands among the
others (docs/log.md), and what is large it shares among threads: those would go on spinning for milliseconds, on the
very processors the engine needs for the next text. So products are dot products (`vecdot`) or numpy's own sums.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from umbel.calibrate import softmax

Floats = NDArray[np.float32]
GROUP = 16

Head = Mapping[str, Floats]  # query (pooled kinds only), weight, bias; empty for kinds without a head


class Heads:
    """The heads of a pack, by task."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self._heads = {
            name: {key: np.ascontiguousarray(value) for key, value in head.items()} for name, head in heads.items()
        }
        self._pooled = [name for name, head in heads.items() if "query" in head]
        self._groups = [self._queries(self._pooled[at : at + GROUP]) for at in range(0, len(self._pooled), GROUP)]

    def _queries(self, names: list[str]) -> Floats:
        rows = [self._heads[name]["query"] for name in names]
        return np.stack(rows + [np.zeros_like(rows[0])] * (GROUP - len(rows)))  # [GROUP, hidden]

    def logits(
        self, hidden: Floats, tasks: Collection[str], spent: defaultdict[str, float] | None = None
    ) -> dict[str, Floats]:
        """Return each task's logits for one window's hidden states `[tokens, hidden]`.

        `[width]` for pooled kinds, `[tokens, width]` for kinds of tokens, the mean hidden `[hidden]` without a head.
        To `spent` each task's seconds are added; the pooling of a group is shared out among those asked.
        """
        found = {}
        wanted = frozenset(tasks)
        spent = defaultdict(float) if spent is None else spent
        for number, queries in enumerate(self._groups):
            names = self._pooled[number * GROUP : (number + 1) * GROUP]
            asked = [(row, name) for row, name in enumerate(names) if name in wanted]
            if asked:
                began = time.perf_counter()
                weights = softmax(np.vecdot(queries[:, None], hidden))  # [GROUP, tokens]
                pooled = np.einsum("gt,th->gh", weights, hidden)
                share = (time.perf_counter() - began) / len(asked)
                for row, name in asked:
                    began = time.perf_counter()
                    found[name] = _linear(self._heads[name], pooled[row])
                    spent[name] += share + time.perf_counter() - began
        for name in tasks:
            if name not in found:
                began = time.perf_counter()
                head = self._heads[name]
                found[name] = _linear(head, hidden[:, None]) if head else hidden.mean(axis=0)
                spent[name] += time.perf_counter() - began
        return {name: found[name] for name in tasks}


def pooled(hidden: Floats, query: Floats | None) -> Floats:
    """Return the mean `[hidden]` of one window's states `[tokens, hidden]`: by a head's query, if any."""
    if query is None:
        return np.asarray(hidden.mean(axis=0))
    return np.asarray(softmax(hidden @ query) @ hidden)


def _linear(head: Head, inputs: Floats) -> Floats:
    """Return logits `[..., width]` of `[hidden]` or `[tokens, 1, hidden]`."""
    logits: Floats = np.vecdot(head["weight"], inputs) + head["bias"]
    return logits
