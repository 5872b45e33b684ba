"""Windows in batches of one padded length, their embeddings, and their offsets joined; knows nothing of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umbel.records import Window

if TYPE_CHECKING:
    from umbel.weights import Embedding

Floats = NDArray[np.float32]

LENGTH_STEP = 8  # windows are padded to a multiple, and only windows of one padded length share a batch
BATCH_TOKENS = 1024


def embedded_in(
    embedding: Embedding, windows: Sequence[Window], length: int, pad: int
) -> tuple[Floats, NDArray[np.int32]]:
    """Return word embeddings `[batch, length, hidden]` of padded windows, and the tokens of each `[batch]`."""
    ids = np.full((len(windows), length), pad, np.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = window.ids
    return embedding.rows(ids), np.array([len(window.ids) for window in windows], np.int32)


def behind(prefix: NDArray[np.int32], ids: NDArray[np.int32], most: int) -> NDArray[np.int32]:
    """Return a window's ids with a prefix after its first special token, cut to `most` tokens."""
    longer = np.concatenate([ids[:1], prefix, ids[1:]])
    return longer if len(longer) <= most else np.append(longer[: most - 1], ids[-1])


def joined_offsets(windows: Sequence[Window]) -> NDArray[np.int32]:
    """Return the offsets of a text's content tokens `[tokens, 2]`, each token once."""
    if len(windows) == 1:
        return windows[0].offsets[1:-1]
    joined = np.zeros((windows[-1].first + len(windows[-1].ids) - 2, 2), np.int32)
    for window in windows:
        joined[window.first : window.first + len(window.ids) - 2] = window.offsets[1:-1]
    return joined


def _padded(window: Window) -> int:
    return -(-len(window.ids) // LENGTH_STEP) * LENGTH_STEP


def batches_of(windows: Sequence[Window]) -> Iterator[tuple[int, list[int]]]:
    """Yield the places of windows of one padded length, batch by batch, so that an answer is the same in any batch."""
    by_length: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        by_length.setdefault(_padded(window), []).append(place)
    for length, group in sorted(by_length.items()):
        size = max(BATCH_TOKENS // length, 1)
        for at in range(0, len(group), size):
            yield length, group[at : at + size]
