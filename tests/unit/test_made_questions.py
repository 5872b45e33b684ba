"""Questions made by rule of passages: what they ask, and that their answers stand where they say."""

import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "packs/base"))
import made  # type: ignore[import-not-found]
import reading  # type: ignore[import-not-found]

from umbel.kinds.asked import Asked
from umbel.questions import Extract
from umbel.records import Task

TASK = Task("own", "asked")
PASSAGE = (
    "沼鹿（学名），又名泽鹿，是一种鹿。沼鹿位于印度中部的湿地，全长180米。1988年4月5日沼鹿首次被人工饲养。"
    "由于湿地被排干，沼鹿的数目减少至4000头以下。书中《鹿鸣》一篇写的是它。"
)


def test_questions_are_made_of_what_a_passage_says():
    asked = {row["question"]: row["answers"][0] for row in made.found(PASSAGE)}
    texts = {question: answer["text"] for question, answer in asked.items()}
    assert texts.items() >= {"沼鹿又叫什么？": "泽鹿"}.items() or texts["沼鹿又称什么？"] == "泽鹿"
    assert "印度中部的湿地" in texts.values()
    assert texts["为什么沼鹿的数目减少至4000头以下？"] == "湿地被排干"
    assert {"1988年", "1988年4月5日"} & set(texts.values())
    for answer in asked.values():
        assert PASSAGE[answer["start"] :].startswith(answer["text"])


def test_some_of_them_are_taken_and_always_the_same():
    taken = made.made(PASSAGE)
    assert len(taken) == made.MOST < len(made.found(PASSAGE))
    assert taken == made.made(PASSAGE)
    assert made.made("没有什么可问的。") == []


@given(st.text("甲乙（，。）是位于1234年月日《》由于又名\n", max_size=80))
def test_any_text_gives_questions_whose_answers_stand_in_it_once(text):
    for row in made.found(text):
        (answer,) = row["answers"]
        assert text.count(answer["text"]) == 1
        assert text.index(answer["text"]) == answer["start"]
        ((question, golds),) = Asked().parse(TASK, [row], text)
        assert isinstance(question, Extract)
        assert golds


def test_they_are_added_to_what_people_asked_of_a_passage():
    people = {"question": "是什么？", "answers": []}
    (row,) = reading.with_made([{"text": PASSAGE, "asked": [people]}])
    assert row == {"text": PASSAGE, "asked": [people, *made.made(PASSAGE)]}
