"""Cuts a document into passages of a bounded number of tokens, at paragraphs and sentences, in Chinese and English.

Knows nothing of files, vectors or how tokens are made: it is told where they begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Starts = NDArray[np.int32]
TokenStarts = Callable[[str], Starts]
"""Returns the offsets at which a text's tokens begin, ascending `[tokens]`."""

OVERLAP = 8  # where a paragraph is cut, passages share at most this part of the bound
BLOCK = 100_000  # characters whose tokens are found at once
_END = re.compile(r"[。！？…；]+[”’」』）\"')\]]*|[.!?;]+[\"')\]”’]*(?=\s)|\n+")
_CLAUSE = re.compile(r"[，、：,:\s]")
_HEADING = re.compile(r"#{1,6}\s")
_BLANK_LINE = re.compile(r"\n\s*\n")
_NONE, _PARAGRAPH, _SECTION = range(3)
_FULL_ENOUGH = {_PARAGRAPH: 2, _SECTION: 4}  # a passage ends at such a border once it is 1/2 or 1/4 full


class Stretch(NamedTuple):
    """A part of a text: `text[start:end]`."""

    start: int
    end: int


class _Piece(NamedTuple):
    """A sentence, or a part of one that is too long; `border` is what begins with it."""

    start: int
    end: int
    border: int


def cut(text: str, token_starts: TokenStarts, most: int) -> list[Stretch]:
    """Return the passages of a text in order, each of at most `most` tokens and without space at its ends.

    A passage ends at a heading or paragraph where it is full enough, else at a sentence; only a sentence longer than
    `most` is cut inside, at a comma or space if there is one. Passages overlap by sentences where a paragraph is cut.

    >>> cut("One. Two.", lambda text: np.arange(len(text)), 5)
    [Stretch(start=0, end=4), Stretch(start=5, end=9)]
    """
    found = []
    for start, end in _blocks(text):
        block = text[start:end]
        cutter = _Cutter(block, token_starts(block), most)
        found += [Stretch(start + first, start + last) for first, last in cutter.passages()]
    return found


def sentences(text: str) -> list[Stretch]:
    """Return the sentences of a text in order, without the space around them.

    >>> sentences("One. Two.")
    [Stretch(start=0, end=4), Stretch(start=5, end=9)]
    """
    return [Stretch(piece.start, piece.end) for piece in _sentences(text)]


class _Cutter:
    """Cuts one block of a text."""

    def __init__(self, text: str, starts: Starts, most: int) -> None:
        self.text, self.starts, self.most = text, starts, most

    def passages(self) -> Iterator[Stretch]:
        pieces = [part for piece in _sentences(self.text) for part in self._short(piece)]
        begin = 0
        for at in range(1, len(pieces) + 1):
            if at == len(pieces) or self._ends(pieces, begin, at):
                yield Stretch(pieces[begin].start, pieces[at - 1].end)
                begin = self._next(pieces, begin, at) if at < len(pieces) else at

    def _tokens(self, start: int, end: int) -> int:
        first, last = np.searchsorted(self.starts, (start, end))
        return int(last - first)

    def _ends(self, pieces: Sequence[_Piece], begin: int, at: int) -> bool:
        """Tell whether the passage that begins with one piece ends before another."""
        start, piece = pieces[begin].start, pieces[at]
        if self._tokens(start, piece.end) > self.most:
            return True
        enough = _FULL_ENOUGH.get(piece.border)
        return enough is not None and self._tokens(start, pieces[at - 1].end) * enough >= self.most

    def _next(self, pieces: Sequence[_Piece], begin: int, at: int) -> int:
        """Return the piece the next passage begins with: `at`, or one shortly before in the same paragraph."""
        first = at
        while not pieces[first].border and first - 1 > begin:
            earlier = pieces[first - 1].start
            too_much = self._tokens(earlier, pieces[at - 1].end) * OVERLAP > self.most
            if too_much or self._tokens(earlier, pieces[at].end) > self.most:
                break
            first -= 1
        return first

    def _short(self, piece: _Piece) -> Iterator[_Piece]:
        """Yield a piece in parts of at most `most` tokens."""
        start, end, border = piece
        while self._tokens(start, end) > self.most:
            limit = int(self.starts[np.searchsorted(self.starts, start) + self.most])
            half = (start + limit) // 2
            clauses = [found.end() for found in _CLAUSE.finditer(self.text, half, limit)]
            middle = max(clauses[-1] if clauses else limit, start + 1)
            yield _Piece(start, start + len(self.text[start:middle].rstrip()), border)
            start, border = end - len(self.text[middle:end].lstrip()), _NONE
        yield _Piece(start, end, border)


def _sentences(text: str) -> Iterator[_Piece]:
    """Yield a text's sentences, white space around them left out."""
    start, last = 0, 0  # where the next sentence may begin; where the one before it ended
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        sentence = text[start:end].strip()
        if sentence:
            first = start + len(text[start:end]) - len(text[start:end].lstrip())
            yield _Piece(first, first + len(sentence), _border(text, last, first))
            last = first + len(sentence)
        start = end


def _border(text: str, before: int, at: int) -> int:
    """Return what begins at `at`: a section, a paragraph, or a sentence only."""
    between = text[before:at]
    if (not before or "\n" in between) and _HEADING.match(text, at):
        return _SECTION
    return _PARAGRAPH if not before or _BLANK_LINE.search(between) else _NONE


def _blocks(text: str) -> Iterator[Stretch]:
    """Yield a long text in parts that end at a blank line or at least at a line, if any is near."""
    start = 0
    while len(text) - start > BLOCK:
        limit = start + BLOCK
        found = max(text.rfind("\n\n", start, limit), start) or text.rfind("\n", start, limit)
        end = found + 1 if found > start else limit
        yield Stretch(start, end)
        start = end
    yield Stretch(start, len(text))
