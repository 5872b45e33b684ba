"""A document as blocks: headings, sentences, tables, plots, each text in one language or in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """A text in both languages."""

    en: str
    zh: str


Text = str | Said


@dataclass(frozen=True)
class Heading:
    """A heading of a level from 1 to 3."""

    level: int
    text: Text


@dataclass(frozen=True)
class Paragraph:
    """A sentence or more."""

    text: Text


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: Sequence[Text]


@dataclass(frozen=True)
class Table:
    """A table; `numbers` are the columns that hold numbers."""

    head: Sequence[Text]
    rows: Sequence[Sequence[Text]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG, and what it shows."""

    svg: str
    caption: Text


Block = Heading | Paragraph | Items | Table | Plot
