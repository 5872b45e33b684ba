"""Tags of tokens and the spans that they make: the likeliest allowed tags, and how readily spans are found.

A tag is 0 outside of spans, 1 + 2 * label where one begins and 2 + 2 * label where it goes on. Knows nothing of texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from umbel.metrics import f1

Floats = NDArray[np.float32]
Tags = NDArray[np.int64]

OUTSIDE = 0
BIASES = np.arange(-6, 3) / 4  # of the logit of `OUTSIDE`
FOLDS = 10
NEAR = 1.0  # points of F1 that are noise; each bias below 0 finds more in texts that hold nothing, too (docs/log.md)


def best_tags(logits: Floats, outside_bias: float = 0.0) -> Tags:
    """Return the likeliest sequence of tags `[tokens]` in which a span is continued only by its own label.

    `outside_bias` is added to the logit of `OUTSIDE`.
    """
    if outside_bias:
        logits = logits + np.float32(outside_bias) * (np.arange(logits.shape[1]) == OUTSIDE)
    tags: Tags = logits.argmax(axis=1) if len(logits) else np.zeros(0, np.int64)
    if not tags.any():  # most texts hold none of a task's spans
        return tags
    previous = np.concatenate([[OUTSIDE], tags[:-1]])
    continues = (tags > 0) & (tags % 2 == 0)
    broken = continues & (previous != tags) & (previous != tags - 1)
    return _viterbi(logits) if broken.any() else tags


def _viterbi(logits: Floats) -> Tags:
    """Search the best allowed path: a continuing tag can only be reached from itself or from its beginning."""
    scores = logits.astype(np.float64)
    outside, begin, inside = scores[:, OUTSIDE].tolist(), scores[:, 1::2], scores[:, 2::2]
    best, within = 0.0, np.full(begin.shape[1], -np.inf)  # scores of the best path, and of those in a span `[labels]`
    begins = np.zeros(begin.shape, bool)
    ends = []  # by token: the label of the span that the best path is in, -1 for none
    for token in range(len(scores)):
        starting, within = best + begin[token], within + inside[token]
        np.greater_equal(starting, within, out=begins[token])
        within = np.maximum(starting, within)
        label, best = int(within.argmax()), best + outside[token]
        ends.append(label if within[label] > best else -1)
        best = max(best, float(within[label]))
    return _traced(ends, begins)


def _traced(ends: list[int], begins: NDArray[np.bool_]) -> Tags:
    """Follow the best path back from its last token."""
    path = np.full(len(ends), OUTSIDE, np.int64)
    token = len(ends) - 1
    while token >= 0:
        label = ends[token]
        if label >= 0:
            while not begins[token, label]:
                path[token] = 2 + 2 * label
                token -= 1
            path[token] = 1 + 2 * label
        token -= 1
    return path


def runs(tags: Tags) -> Iterator[tuple[int, int, int]]:
    """Yield the first and last token of each span, and the place of its label.

    >>> list(runs(np.array([0, 3, 4, 1])))
    [(1, 2, 1), (3, 3, 0)]
    """
    for first in np.flatnonzero(tags % 2 == 1).tolist():
        last = first
        while last + 1 < len(tags) and tags[last + 1] == tags[first] + 1:
            last += 1
        yield first, last, (int(tags[first]) - 1) // 2


def fit_outside(logits: Sequence[Floats], golds: Sequence[Tags]) -> float:
    """Return the bias of `OUTSIDE` under which most spans are right by F1, as thresholds of labels are fitted.

    `logits` are `[tokens, tags]` of each row, `golds` its tags. Of biases as good as the best but for `NEAR` it is the
    one nearest to 0, and 0 where rows whose bias the others chose gain nothing.
    """
    wanted = [set(runs(tags)) for tags in golds]
    counts = np.zeros((len(BIASES), len(logits), 3), np.int64)  # right, found, wanted
    for place, bias in enumerate(BIASES):
        for row, (values, gold) in enumerate(zip(logits, wanted, strict=True)):
            found = set(runs(best_tags(values, float(bias))))
            counts[place, row] = len(found & gold), len(found), len(gold)
    folds = np.arange(len(logits)) % FOLDS
    chosen = sum(counts[_best(counts[:, folds != fold]), folds == fold].sum(axis=0) for fold in range(FOLDS))
    plain = counts[BIASES == 0][0].sum(axis=0)
    gains = f1(*np.broadcast_to(chosen, 3).tolist()) > f1(*plain.tolist())
    return float(BIASES[_best(counts)]) if gains else 0.0


def _best(counts: NDArray[np.int64]) -> int:
    """Return the place of the bias nearest to 0 among the best, from counts `[biases, rows, 3]`."""
    scores = np.array([f1(*each) for each in counts.sum(axis=1).tolist()])
    return int(np.where(scores >= scores.max() - NEAR, abs(BIASES), np.inf).argmin())
