"""Words a Chinese question that wants yes or no as the statement it asks about; knows nothing of tokens.

Training has seen statements alone. `顾客满意吗？` is answered at chance or the wrong way round, `顾客满意` as well as
statements are (docs/log.md). English questions lose less, and stay: to word them anew would take their whole grammar.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r"[?？\s]+$")
_ASKS = re.compile("(吗|嗎|嘛|没有|沒有|没|沒)$")
_ENDS = re.compile("(吗|嗎|嘛|呢|没有|沒有|没|沒)$")
_CHOOSES = re.compile(r"(\w{1,2})[不没沒]\1")  # 是不是, 有没有, 满不满意, 可以不可以
_WHETHER = {"能否": "能", "可否": "可以", "有无": "有", "有無": "有", "是否": ""}


def as_statement(words: str) -> str:
    """Return the statement that a Chinese question asks about; other words as they are.

    >>> as_statement("顾客满意吗？"), as_statement("质量有没有问题？"), as_statement("Is it late?")
    ('顾客满意', '质量有问题', 'Is it late?')
    """
    asked = _MARKS.sub("", words)
    if asked == words.rstrip() and not asked.endswith(("吗", "嗎")):
        return words
    stated = _CHOOSES.sub(r"\1", asked, count=1)
    for whether, what in _WHETHER.items():
        stated = stated.replace(whether, what, 1)
    if stated == asked and not _ASKS.search(asked):
        return words
    return _ENDS.sub("", stated) or words


def is_question(words: str) -> bool:
    """Tell whether words stay a question when they are read as a statement."""
    return as_statement(words).rstrip().endswith(("?", "？"))
