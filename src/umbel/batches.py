"""Texts on their way through the encoder, and groups of them.

Knows nothing of engines and tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umbel.branch_graph import Kept
from umbel.encodings import Encoding
from umbel.errors import InputError
from umbel.ngrams import Hashes, counted
from umbel.records import Cost, Window

Floats = NDArray[np.float32]


@dataclass
class Reading:
    """One text: the tasks to answer, whether to keep its encoding, and of each window, once read, what came of it.

    `recalled` is an encoding that was kept before; such a text is not read again. `logits` are by window and task.
    `seconds` were spent by each task on this text, `encoding` by its share of batches.
    """

    text: str
    names: list[str]
    keeps: bool = False
    recalled: Encoding | None = None
    windows: list[Window] = field(default_factory=list)
    logits: list[dict[str, Floats]] = field(default_factory=list)
    kept: list[Kept | None] = field(default_factory=list)
    ngrams: dict[int, tuple[Hashes, NDArray[np.int64]]] = field(default_factory=dict)
    encoding: float = 0.0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def counted(self, longest: int) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the text's n-grams (`ngrams.counted`), which tasks that read equally long ones share."""
        if longest not in self.ngrams:
            self.ngrams[longest] = counted(self.text, longest)
        return self.ngrams[longest]

    def spend(self, seconds: float, *names: str) -> None:
        """Put down seconds that were spent by tasks in equal parts; one that is named twice has two of them."""
        for name in names:
            self.seconds[name] += seconds / len(names)

    def cost(self, tokens: int) -> Cost:
        """Return what all of it took."""
        return Cost(tokens, self.encoding, dict(self.seconds))


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
