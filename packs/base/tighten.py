"""Cuts answers that were marked loosely down to what the question asks for.

The train answers of cmrc2018 have 20 characters on average, its dev answers, marked by several people, 11: asked when,
the whole clause is marked; asked what something is, "is", too, and the question's own words. Whoever learns from these
answers in clauses. `tight` is for Chinese alone, and goes by what questions and answers look like, no dev row is seen.
"""

from __future__ import annotations

import re

PUNCTUATION = "，。；！？：、,.;!?: 　"
JOINING = (  # words that only join an answer to its clause
    "是因为|是由于|因为|由于|分别是|分别为|分别|包括了|包括|包含|也称|又称|亦称|称为|名为|又名|号称|位于|就是|就|是|在|于|为(?!了)|则|即|也|字|号"
)
LEADING = re.compile(JOINING)
NAMING, SHORT_NAME = "就于则即也字号", 4  # these begin names, too (于乐, 也门, 即墨), of so many letters at most
YEAR = re.compile(r"(?:约|公元前?|西元前?|前)?\d{1,4}年代?")
DATE = re.compile(
    r"(?:约|公元前?|西元前?|前)?\d{1,4}年(?:代|[初末底]|[中初末后]期|\d{1,2}月(?:\d{1,2}日|[初中下上]旬|[底末])?)?"
    r"|\d{1,2}月\d{1,2}日|\d{1,2}世纪(?:\d{1,2}年代)?(?:[初末]|[中初末后]期|[上下]半叶)?"
)
WHICH_YEAR = re.compile(r"哪一?年|几几年|何年")
WHEN = re.compile(r"何时|什么时候|什么时间|哪一天|哪天|哪一?年|几几年|何年|时间是")
HOW_MANY = re.compile(r"(?:多少|几)([\u4e00-\u9fff]{1,4})")
NUMBER = r"(?:约|大约|近|超过)?(?:[\d.,]+[万亿]?[至到~～—-])?[\d.,]*\d[万亿千百多余]*"
OPEN = re.compile(r"为什么|为何|原因|怎么|怎样|如何|特点|特征|哪些|分布|作用|介绍|情况|过程|影响|目的|意义|习性")
ERA = re.compile(r"[年元〇一二三四五六七八九十]$")  # before a date that is counted by an emperor's reign as well
AROUND = re.compile(r"(?:后|前|时|间|以来|起)$")  # ends what says when: after, before, during something
SHARED, SURELY = 2, 6  # letters of the question that an answer begins with, at least: before a joining word, else
LONGEST_FACT = 40  # letters of an answer to a question that wants a fact


def tight(question: str, answer: str) -> tuple[int, int] | None:
    """Return where in the answer what is asked for begins and ends; None where the answer is a clause and hides it."""
    start, end = _stripped(answer, 0, len(answer))
    if WHEN.search(question) and not AROUND.search(answer[start:end]):
        dates = _found(YEAR if WHICH_YEAR.search(question) else DATE, answer, start, end)
        if len(dates) == 1 and not ERA.search(answer[: dates[0][0]].rstrip("（( ")):
            return dates[0]
    if (many := HOW_MANY.search(question)) and not re.search("[、和]", answer):
        for size in range(len(many[1]), 0, -1):  # what is counted: as much of it as the answer has
            numbers = _found(re.compile(NUMBER + many[1][:size]), answer, start, end)
            if len(numbers) == 1:
                return _stripped(answer, *numbers[0])
    if answer[start] not in NAMING or end - start > SHORT_NAME or answer[start] in question:
        start, end = _without_lead(answer, start, end)
    said = _said_already(question, answer, start, end)
    if said > start:
        start, end = _without_lead(answer, *_stripped(answer, said, end))
    if not OPEN.search(question) and (end - start > LONGEST_FACT or "。" in answer[start:end]):
        return None
    return start, end


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out punctuation at both ends."""
    while end - start > 1 and text[end - 1] in PUNCTUATION:
        end -= 1
    while end - start > 1 and text[start] in PUNCTUATION:
        start += 1
    return start, end


def _without_lead(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out one word that only joins the answer to its clause, unless next to nothing would be left."""
    found = LEADING.match(text, start, end)
    return _stripped(text, found.end(), end) if found and end - found.end() > 1 else (start, end)


def _said_already(question: str, text: str, start: int, end: int) -> int:
    """Return where the longest beginning ends that stands in the question, too; `start` where it may be a name's."""
    place = start
    while place < end and text[start : place + 1] in question:
        place += 1
    joined = place < end and (text[place] in PUNCTUATION or LEADING.match(text, place, end))
    least = SHARED if joined else SURELY
    return place if least <= place - start < end - start else start


def _found(pattern: re.Pattern[str], text: str, start: int, end: int) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text, start, end)]
