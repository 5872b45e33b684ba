"""Texts on their way through the encoder, and batches of their windows, all of one padded length.

Knows nothing of engines and tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umbel.branch_graph import Kept
from umbel.encodings import Encoding
from umbel.errors import InputError
from umbel.reader import LENGTH_STEP
from umbel.records import Window

Floats = NDArray[np.float32]

BATCH_TOKENS = 1024


@dataclass
class Reading:
    """One text: the tasks to answer, whether to keep its encoding, and of each window, once read, what came of it.

    `recalled` is an encoding that was kept before; such a text is not read again. `logits` are by window and task.
    """

    text: str
    names: list[str]
    keeps: bool = False
    recalled: Encoding | None = None
    windows: list[Window] = field(default_factory=list)
    logits: list[dict[str, Floats]] = field(default_factory=list)
    kept: list[Kept | None] = field(default_factory=list)


def joined_offsets(windows: Sequence[Window]) -> NDArray[np.int32]:
    """Return the offsets of a text's content tokens `[tokens, 2]`, each token once."""
    if len(windows) == 1:
        return windows[0].offsets[1:-1]
    joined = np.zeros((windows[-1].first + len(windows[-1].ids) - 2, 2), np.int32)
    for window in windows:
        joined[window.first : window.first + len(window.ids) - 2] = window.offsets[1:-1]
    return joined


def batches(windows: Sequence[Window]) -> Iterator[tuple[int, list[int]]]:
    """Yield the places of windows of one padded length, batch by batch, so that an answer is the same in any batch."""
    by_length: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        by_length.setdefault(-(-len(window.ids) // LENGTH_STEP) * LENGTH_STEP, []).append(place)
    for length, group in sorted(by_length.items()):
        size = max(BATCH_TOKENS // length, 1)
        for at in range(0, len(group), size):
            yield length, group[at : at + size]


def groups(readings: Sequence[Reading], most: int) -> Iterator[list[Reading]]:
    """Cut readings into groups of at most `most` windows, or one text."""
    group: list[Reading] = []
    for reading in readings:
        if group and sum(len(each.windows) for each in group) + len(reading.windows) > most:
            yield group
            group = []
        group.append(reading)
    yield group


def chunked(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut a list of texts into lists of `size`, the last one shorter."""
    return (texts[at : at + size] for at in range(0, len(texts), size))


def checked(text: object, where: str = "") -> str:
    """Return a text that can be read; `where` says which one it is.

    Raises:
        InputError: it is not a string or is blank.
    """
    if not isinstance(text, str):
        raise InputError(f"{where}found {type(text).__name__}, expected a text")
    if not text.strip():
        raise InputError(f"{where}the text is blank", "leave blank texts out")
    return text
