"""Characters that tokens carry over the borders of spans: learnt from gold spans, and shed.

A token may cover more than a span (`以上的` for `以上`), as words of a vocabulary are longer than what is marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_OVERHANGS = 3  # a character seen less often beyond a border is left where it is

Place = tuple[int, int]


@dataclass(frozen=True)
class Sheds:
    """Characters that a span sheds at its start and its end, where a token reaches over its border."""

    start: str = ""
    end: str = ""

    def shed(self, text: str, first: Place, last: Place) -> Place:
        """Return the borders of a span from its first to its last token: it sheds characters of them, never a token.

        >>> Sheds(end="的").shed("以上的例子", (0, 3), (0, 3))
        (0, 2)
        """
        start, end = first[0], last[1]
        while start < first[1] - 1 and text[start] in self.start:
            start += 1
        while end > max(last[0], start) + 1 and text[end - 1] in self.end:
            end -= 1
        return start, end


def learnt(rows: Iterable[tuple[str, Iterable[Place], NDArray[np.int32]]]) -> Sheds:
    """Return the characters that more often reach over a gold span's border than stand at its end.

    `rows` are texts, each with its gold spans and its tokens' offsets `[tokens, 2]`. Letters that have a case, and
    digits, are never shed: they are parts of a word (`dogs`), not words of their own.
    """
    over, inside = (Counter[str](), Counter[str]()), (Counter[str](), Counter[str]())
    for text, spans, offsets in rows:
        for start, end in spans:
            before, after = _overhang(offsets, start, end)
            over[0].update(text[before:start])
            over[1].update(text[end:after])
            inside[0].update(text[start])
            inside[1].update(text[end - 1])
    shed = [
        "".join(sorted(c for c, n in reached.items() if n >= MIN_OVERHANGS and n > kept[c] and not _is_of_a_word(c)))
        for reached, kept in zip(over, inside, strict=True)
    ]
    return Sheds(*shed)


def _overhang(offsets: NDArray[np.int32], start: int, end: int) -> Place:
    """Return where the tokens that hold a span's first and last character begin and end."""
    starts, ends = offsets[:, 0], offsets[:, 1]
    first, last = np.flatnonzero((starts <= start) & (ends > start)), np.flatnonzero((starts < end) & (ends >= end))
    return (int(starts[first[0]]) if len(first) else start), (int(ends[last[-1]]) if len(last) else end)


def _is_of_a_word(character: str) -> bool:
    return character.isdigit() or character.lower() != character.upper()
