"""Turns text into the words that full-text search compares: words and numbers, and pairs of Han characters.

Chinese is written without spaces; overlapping pairs of characters find its words without a dictionary of them.
Knows nothing of indexes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUNS = re.compile(rf"([{_HAN}]+)|((?:(?![{_HAN}_])\w)+)")


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case and in order; full-width letters and digits count as plain ones.

    >>> words_of("订单 NO.１０４２")
    ['订单', 'no', '1042']
    """
    return list(_words(unicodedata.normalize("NFKC", text).casefold()))


def _words(text: str) -> Iterator[str]:
    for han, word in _RUNS.findall(text):
        if word or len(han) == 1:
            yield word or han
        else:
            yield from (han[at : at + 2] for at in range(len(han) - 1))
