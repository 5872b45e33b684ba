"""Reads news text whose words carry part-of-speech tags into sentences with named persons, places and organisations.

The text is the People's Daily of January 1998 in the tags of Peking University, without its brackets: tags mark single
words, so `中国/ns 科学院/n` is not marked as one organisation and `江/nr 泽民/nr` is two persons. Three rules put names
together again: a surname and its given name, a name and the words up to one that ends an organisation's name, and a
place and the words up to one that ends a region's name. Knows nothing of files, splits or other sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

Word = tuple[str, str]  # text and tag

LABELS = {"nr": "person", "ns": "place", "nt": "organisation"}
DOUBLE_SURNAMES = frozenset(
    ["欧阳", "司马", "诸葛", "上官", "司徒", "皇甫", "令狐", "慕容", "东方", "尉迟", "公孙", "夏侯", "端木", "闻人"]
)
ORGANISATION_ENDS = re.compile(
    "大学|学院|中学|小学|党校|科学院|研究所|研究院|研究会|公司|总公司|分公司|集团|集团公司|银行|交易所|医院|法院|检察院|委员会|"
    "协会|联合会|总会|基金会|俱乐部|共产党|政协|省委|市委|县委|区委|总局|出版社|报社|日报社|通讯社|电视台|电台|博物馆|图书馆|"
    "剧院|歌舞团|乐团"
)
REGION_ENDS = frozenset(["自治区", "自治州", "自治县", "特别行政区"])
STARTS = frozenset(["ns", "nt", "nz"])  # place, organisation, other name
INSIDE = frozenset(["n", "vn", "nz", "j", "b"])  # noun, verbal noun, other name, short form, distinguishing word
LONGEST = 6  # words of a compound after its places
CLOSING = frozenset("”’》）」』。！？")


def read_words(line: str) -> list[Word]:
    """Return the words of a line `word/tag  word/tag` with their tags."""
    words = (word.rpartition("/") for word in line.split())
    return [(word, tag) for word, _, tag in words if word]


def sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Split a paragraph after each full stop, question or exclamation mark and the quotes that close on it."""
    sentence: list[Word] = []
    ended = False
    for word, tag in words:
        if ended and word not in CLOSING:
            yield sentence
            sentence, ended = [], False
        sentence.append((word, tag))
        ended = ended or word in ("。", "！", "？")
    if sentence:
        yield sentence


def to_row(words: Sequence[Word]) -> dict[str, Any]:
    """Return a sentence as a row: `text` and its `names`."""
    names: list[dict[str, Any]] = []
    text, position = "", 0
    while position < len(words):
        end, label = name_at(words, position)
        name = "".join(word for word, _ in words[position:end])
        if label:
            names.append({"start": len(text), "end": len(text) + len(name), "label": label})
        text, position = text + name, end
    return {"text": text, "names": names}


def name_at(words: Sequence[Word], start: int) -> tuple[int, str]:
    """Return where the name that starts at a word ends, and its label; the next word and no label if none starts."""
    word, tag = words[start]
    if tag in STARTS and (end := compound_end(words, start)):
        return end, "place" if words[end - 1][0] in REGION_ENDS else "organisation"
    if tag == "nr" and is_surname(word) and is_given_name(words[start + 1 : start + 2]):
        return start + 2, "person"
    return start + 1, LABELS.get(tag, "")


def is_surname(word: str) -> bool:
    """Tell whether a word tagged as a person is a Chinese surname."""
    return len(word) == 1 or word in DOUBLE_SURNAMES


def is_given_name(after: Sequence[Word]) -> bool:
    """Tell whether the word after a surname, if there is one, is the given name."""
    return any(tag == "nr" and len(word) <= 2 for word, tag in after)


def compound_end(words: Sequence[Word], start: int) -> int:
    """Return the end of the longest compound from `start`: names, then nouns up to one that ends it; 0 if none.

    A region ends at once, since an organisation may follow: `西藏 自治区 | 政协`.
    """
    first = start
    while first < len(words) and words[first][1] in ("ns", "nt"):
        first += 1
    end = 0
    for position in range(max(first, start + 1), min(first + LONGEST, len(words))):
        word, tag = words[position]
        if tag not in INSIDE:
            break
        if word in REGION_ENDS:
            return position + 1
        if ORGANISATION_ENDS.fullmatch(word):
            end = position + 1
    return end
