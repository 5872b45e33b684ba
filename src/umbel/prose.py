"""Breaks lines of mixed Chinese and English text, which terminals' libraries break at spaces only.

A line may end after a space, and before or after a wide character, but does not begin with closing punctuation
(after the Unicode line breaking algorithm, UAX 14, as far as terminals need it).
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

CLOSING = frozenset("，。！？、；：）》」』】〉”’…,.!?;:)]}%")
OPENING = frozenset("（《「『【〈“‘([{")
NARROWEST = 20


class Prose:
    """A text that wraps to the width it is given, in any table or on its own."""

    def __init__(self, text: Text) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = max(self.text.cell_len, 1)
        return Measurement(min(width, NARROWEST), width).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        places = line_breaks(self.text.plain, options.max_width)
        for line in self.text.divide(places):
            line.rstrip()
            line.no_wrap, line.overflow = True, "ignore"
            yield line


def line_breaks(text: str, width: int) -> list[int]:
    """Return the places where the lines after the first begin, so that none is wider than `width` cells.

    >>> line_breaks("ab 北京很大", 6)
    [4]
    """
    places: list[int] = []
    filled, best = 0, 0  # cells of the line so far; the last place where it may end
    for place, character in enumerate(text):
        if place and _may_break(text[place - 1], character):
            best = place
        cells = cell_len(character)
        while filled and filled + cells > width and not character.isspace():
            start = places[-1] if places else 0
            places.append(best if best > start else place)
            filled = sum(map(cell_len, text[places[-1] : place]))
        filled += cells
    return places


def _may_break(before: str, after: str) -> bool:
    """Tell whether a line may end between two characters; marks of no width stay with what they belong to."""
    if after in CLOSING or after.isspace() or before in OPENING or not cell_len(before) or not cell_len(after):
        return False
    return before.isspace() or cell_len(before) == 2 or cell_len(after) == 2
