"""Questions made by rule of what Chinese passages say: a date, a number, a place, a name, asked for and marked exactly.

People's questions on passages are few under licences that let weights ship. These are plainer and repeat the passage's
words, but their answers end where they should. No dev row is seen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

MOST = 3  # made of a passage
LONGEST_CLAUSE = 40  # letters of one that becomes a question
TITLE = re.compile(r"^[「《“]?([^，。；！？（(、「」《》“”\n\d是为於于在]{2,12})[」》”]?(?=[（(，是为]|\n)")
VAGUE = re.compile(r"^(?:它|他|她|牠|其|该|本|此|这|目前|现时|现在|由于|因为|虽然|根据|在)")
BROKEN = re.compile(  # no clause of its own
    r"^[的及并並而又且或和与與即 ]|(?:后|後|时|時|前|间|間|以来|以來|起|中|上|日|生日那天)$"
)
CLAUSE = re.compile(r"[^，。；！？：\n（）()]+")
YEAR = re.compile(r"(?<!\d)(\d{4}年)(?:\d{1,2}月(?:\d{1,2}日)?)?")
UNITS = (
    "平方公里|平方千米|平方米|公里|千米|公顷|厘米|毫米|公斤|美元|港元|小时|分钟|"
    "[米吨人名座个岁种元次部集场层间所辆艘条位站]"
)
NUMBER = re.compile(rf"(?<![\d.年月第至到~～—-])(\d[\d.,]*[万亿]?({UNITS}))(?![\d至到])")
WORK = re.compile(r"《[^》，。]{1,20}》")
BECAUSE = re.compile(r"(?:因为|由于|因)([^，。；！？（）\n]{4,30})，")
NAME, NAMES, END = r"[^，。；！？（）、「」“”\n]", r"[^，。；！？（）\n]", r"(?=[」”，。；（）])"
SAID = (  # how an answer is said, and questions with the passage's subject in place of {}
    (rf"(?:^|[，。；])\w{{0,3}}位[于於]({NAMES}{{2,24}}){END}", "{}位于哪里？", "{}在什么地方？"),
    (rf"(?:又名|又称|也称|亦称|别名|别称|俗称)[为是]?({NAME}{{2,12}}){END}", "{}又叫什么？", "{}又称什么？"),
    (rf"(?:原名|本名|旧称)[为是叫]?({NAME}{{2,12}}){END}", "{}原名是什么？", "{}的原名叫什么？"),
    (rf"[，。]字({NAME}{{1,3}}){END}", "{}的字是什么？", "{}字什么？"),
    (rf"[，。]号({NAME}{{2,5}}){END}", "{}的号是什么？", "{}号什么？"),
    (rf"简称为?[「“]?({NAME}{{2,10}}){END}", "{}简称什么？", "{}的简称是什么？"),
    (rf"毕业于((?!\d){NAME}{{3,20}}){END}", "{}毕业于哪里？", "{}是哪所学校毕业的？"),
    (rf"(?:出生于|生于)((?!\d){NAME}{{2,16}}){END}", "{}出生在哪里？", "{}是哪里人？"),
    (rf"分布于({NAMES}{{2,40}}){END}", "{}分布在哪里？", "{}分布于哪些地区？"),
    (r"面积[为约达有]{0,2}(\d[\d.,]*万?(?:平方公里|平方千米|平方米|公顷))", "{}的面积是多少？", "{}面积有多大？"),
    (rf"人口[为约达有]{{0,2}}(\d[\d.,]*[万亿]?人?){END}", "{}的人口是多少？", "{}有多少人口？"),
    (r"全长[为约达]{0,2}(\d[\d.,]*(?:公里|千米|米))", "{}全长多少？", "{}有多长？"),
    (r"海拔(?:高度)?[为约达]{0,2}(\d[\d.,]*(?:公尺|米))", "{}的海拔是多少？", "{}海拔多高？"),
    (rf"由({NAME}{{2,12}}?)(?:执导|导演)", "{}由谁执导？", "{}的导演是谁？"),
    (rf"由({NAMES}{{2,20}}?)(?:领衔)?主演", "{}由谁主演？", "谁主演了{}？"),
)
PATTERNS = tuple((re.compile(pattern), questions) for pattern, *questions in SAID)


def made(text: str) -> list[Row]:
    """Return questions with their answers of a passage, at most MOST, always the same for a text."""
    return found(text)[:MOST]


def found(text: str) -> list[Row]:
    """Return all questions that can be made of a passage, in an order that does not depend on the rules."""
    apart: dict[str, Row] = {}
    for question, start, end in sorted(
        [*_said(text), *_why(text), *_in_clauses(text)], key=lambda each: _order(text, each)
    ):
        answer = text[start:end]
        if answer.strip() and text.count(answer) == 1:
            apart.setdefault(question, {"question": question, "answers": [{"start": start, "text": answer}]})
    return list(apart.values())


def _order(text: str, found: tuple[str, int, int]) -> bytes:
    return hashlib.sha256(f"{found[0]} {text}".encode("utf-8", "replace")).digest()


def subject(text: str) -> str:
    """Return what a passage is about: what its first clause begins with, nothing where that is no name."""
    match = TITLE.match(text)
    return "" if match is None or VAGUE.match(match[1]) else match[1].strip()


def _said(text: str) -> Iterator[tuple[str, int, int]]:
    about = subject(text)
    for pattern, questions in PATTERNS if about else ():
        if match := pattern.search(text):
            yield _one(questions, text).format(about), *match.span(1)


def _why(text: str) -> Iterator[tuple[str, int, int]]:
    for match in BECAUSE.finditer(text):
        clause = CLAUSE.match(text, match.end())
        rest = re.sub(r"^(?:所以|因此|因而|故此|故|于是|便|就|遂)", "", clause[0]) if clause else ""
        if 6 <= len(rest) <= LONGEST_CLAUSE and not BROKEN.search(rest) and not re.match("[而令使则則其它他她]", rest):
            yield f"{_about(text, rest)}为什么{rest}？", *match.span(1)


def _in_clauses(text: str) -> Iterator[tuple[str, int, int]]:
    for clause in CLAUSE.finditer(text):
        if len(clause[0]) > LONGEST_CLAUSE:
            continue
        for words, start, end in (*_when(clause), *_how_many(clause), *_what(clause)):
            if len(words) >= 6 and not BROKEN.search(words):
                yield f"{_about(text, words)}{words}？", start, end


def _when(clause: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    found = list(YEAR.finditer(clause[0]))
    if len(found) != 1:
        return
    (match,) = found
    whole = match.end() > match.end(1) and len(clause[0]) % 2  # the day is asked for, or the year alone
    asked = ("什么时候", "何时")[len(clause[0]) % 4 // 2] if whole else "哪一年"
    end = match.end() if whole else match.end(1)
    rest = clause[0][match.end() :].removeprefix("，")
    if len(rest) < 3:  # nothing happened then that could be asked for
        return
    yield clause[0][: match.start()] + asked + rest, clause.start() + match.start(), clause.start() + end


def _how_many(clause: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    found = list(NUMBER.finditer(clause[0]))
    if len(found) == 1:
        (match,) = found
        words = f"{clause[0][: match.start()]}多少{match[2]}{clause[0][match.end() :]}"
        yield words, clause.start() + match.start(), clause.start() + match.end()


def _what(clause: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    found = list(WORK.finditer(clause[0]))
    if len(found) == 1 and found[0].start() > 2:
        (match,) = found
        words = f"{clause[0][: match.start()]}什么{clause[0][match.end() :]}"
        yield words, clause.start() + match.start(), clause.start() + match.end()


def _about(text: str, words: str) -> str:
    """Return the passage's subject where the words do not name it."""
    about = subject(text)
    return "" if about in words else about


def _one(values: list[str], text: str) -> str:
    return values[int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[4:6], "big") % len(values)]
