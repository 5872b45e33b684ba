"""Turns sets of questions on passages, and of rated pairs of sentences, into rows of kind `asked`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from made import made
from tighten import tight

Row = dict[str, Any]

LONGEST = 440  # characters of a passage: what a training row's tokens hold
SENTENCE = re.compile(r"[^。！？!?\n]*[。！？!?\n]+|[^。！？!?\n]+$")
CLOSE = (  # how the closeness of two sentences is asked for, with the levels from 0 to 5 put on a scale
    ("How close in meaning is the text to: {other}", ["unrelated", "same topic", "similar", "the same"]),
    ("Does it mean the same as this? {other}", ["not at all", "partly", "fully"]),
    ("Rate the similarity to: {other}", ["different", "same topic", "some details shared", "close", "equivalent"]),
    ("这段话与下面这句意思有多接近？{other}", ["无关", "同一话题", "相近", "相同"]),
    ("与这句话的意思一样吗？{other}", ["完全不同", "部分相同", "完全相同"]),
)
HIGHEST = 5.0


def passages(rows: Iterable[Row]) -> list[Row]:
    """Return each text in pieces of whole sentences, with the questions answered there and one that is not.

    A question whose answer lies across two pieces is left out.
    """
    by_text: dict[str, list[Row]] = {}
    for row in rows:
        if row["question"].strip():
            by_text.setdefault(row["text"], []).append(row)
    found = []
    for text, asked in by_text.items():
        for start, end in pieces(text):
            questions = [_inside(row, start, end) for row in asked]
            others = [row for row, inside in zip(asked, questions, strict=True) if not inside]
            kept = [question for question in questions if question]
            missing = [row for row in others if not any(a["text"] in text[start:end] for a in row["answers"])]
            if missing:
                kept.append({"question": _one(missing, text[start:end])["question"], "answers": []})
            if kept:
                found.append({"text": text[start:end], "asked": kept})
    return found


def tightened(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with answers that were marked loosely cut down; those of which nothing short is left are not."""
    found = []
    for row in rows:
        places = [(answer, tight(row["question"], answer["text"])) for answer in row["answers"]]
        left = [
            {"start": answer["start"] + place[0], "text": answer["text"][slice(*place)]}
            for answer, place in places
            if place
        ]
        if left or not places:
            found.append({**row, "answers": left})
    return found


def with_made(rows: Iterable[Row]) -> list[Row]:
    """Return passages with some questions more, made by rule of what they say."""
    return [{**row, "asked": [*row["asked"], *made(row["text"])]} for row in rows]


def _inside(row: Row, start: int, end: int) -> Row | None:
    answers = [a for a in row["answers"] if start <= a["start"] and a["start"] + len(a["text"]) <= end]
    moved = [{"start": a["start"] - start, "text": a["text"]} for a in answers]
    return {"question": row["question"], "answers": moved} if moved else None


def pieces(text: str) -> list[tuple[int, int]]:
    """Return where pieces of whole sentences start and end, none longer than LONGEST unless its one sentence is."""
    found: list[tuple[int, int]] = []
    for match in SENTENCE.finditer(text):
        if found and match.end() - found[-1][0] <= LONGEST:
            found[-1] = (found[-1][0], match.end())
        else:
            found.append(match.span())
    return found


def pairs(rows: Iterable[Row]) -> list[Row]:
    """Return each sentence with the others it was compared with, asked for as levels of closeness."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        for text, other in ((row["text"], row["text_pair"]), (row["text_pair"], row["text"])):
            instruction, levels = _one(CLOSE, text + other)
            place = row["similarity"] / HIGHEST * (len(levels) - 1)
            asked = {"score": instruction.replace("{other}", other), "levels": levels, "answer": round(place, 4)}
            found.setdefault(text, []).append(asked)
    return [{"text": text, "asked": asked} for text, asked in found.items()]


def _one(values: Sequence[Any], text: str) -> Any:
    """Return one of the values, always the same for a text."""
    return values[int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:4], "big") % len(values)]
