"""Tells borders inside words, and moves them out to the whole words; knows nothing of tokens and of tasks.

Tokens are parts of words, so a span of tokens may begin or end inside one: `wait` of `waiter`.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_WORD = 64  # characters; what runs on for longer is no word, and stays as it is
AROUND = "，。、；：！？,;:"  # punctuation that stands between answers, never at their ends as a full stop of U.S. does

# Scripts that put no space between words, and Hangul, whose words carry particles that belong to no name.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the borders of `text[start:end]`, each that stands inside a word moved out to the word's.

    A word is a run of letters, digits and marks of a script that puts spaces between words.

    >>> whole_words("the waiter", 4, 8)
    (4, 10)
    """
    return _outwards(text, start, -1), _outwards(text, end, 1)


def bare(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the borders of `text[start:end]` without the spaces and commas at its ends; equal ones if that is all.

    >>> bare("no, here。", 3, 9)
    (4, 8)
    """
    return _stripped(text, start, end, AROUND)


def without_spaces(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the borders of `text[start:end]` without the spaces at its ends."""
    return _stripped(text, start, end, "")


def _stripped(text: str, start: int, end: int, characters: str) -> tuple[int, int]:
    while start < end and (text[end - 1] in characters or text[end - 1].isspace()):
        end -= 1
    while start < end and (text[start] in characters or text[start].isspace()):
        start += 1
    return start, end


def inside_a_word(text: str, border: int) -> bool:
    """Tell whether a border stands between two characters of one word.

    >>> inside_a_word("waiter", 4)
    True
    """
    return 0 < border < len(text) and _of_a_word(text[border - 1]) and _of_a_word(text[border])


def _outwards(text: str, border: int, step: int) -> int:
    moved = border
    while inside_a_word(text, moved):
        moved += step
        if abs(moved - border) > LONGEST_WORD:
            return border
    return moved


def _of_a_word(character: str) -> bool:
    spaced = character.isalnum() or unicodedata.category(character)[0] == "M"
    return spaced and not _UNSPACED.match(character)
