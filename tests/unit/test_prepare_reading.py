"""Passages in pieces with the questions answered in them, and pairs of sentences as levels of closeness."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "packs/base"))
import reading  # type: ignore[import-not-found]

from umbel.kinds.asked import Asked
from umbel.questions import Extract, Score
from umbel.records import Task

TASK = Task("own", "asked")
FIRST = "安娜住在罗马。" * 40
SECOND = "鲍勃去了巴黎！" + "他很高兴。" * 60
TEXT = FIRST + SECOND


def question(words, answer):
    return {"text": TEXT, "question": words, "answers": [{"start": TEXT.index(answer), "text": answer}]}


@given(st.text("ab。！\n", max_size=900))
def test_pieces_cover_the_text_in_order(text):
    found = reading.pieces(text)
    assert "".join(text[start:end] for start, end in found) == text
    for start, end in found:
        assert end - start <= reading.LONGEST or not any(
            mark in text[start : end - 1].rstrip("。！\n") for mark in "。！\n"
        )


def test_a_question_stands_with_the_piece_that_answers_it_and_one_that_does_not():
    rows = reading.passages(
        [question("谁住在罗马？", "安娜"), question("鲍勃去了哪里？", "巴黎"), question(" ", "罗马")]
    )
    assert "".join(row["text"] for row in rows) == TEXT
    answered = {}
    for row in rows:
        for asked, gold in Asked().parse(TASK, row["asked"], row["text"]):
            assert isinstance(asked, Extract)
            answered.setdefault(asked.question, set()).add(row["text"][slice(*gold)] if gold else None)
    assert {question: found - {None} for question, found in answered.items()} == {
        "谁住在罗马？": {"安娜"},
        "鲍勃去了哪里？": {"巴黎"},
    }
    assert any(None in found for found in answered.values())


def test_a_question_is_not_unanswerable_where_its_answer_stands_by_chance():
    rows = reading.passages([question("谁很高兴？", "他很高兴"), question("谁住在罗马？", "安娜")])
    second = next(row for row in rows if row["text"].endswith("他很高兴。"))
    assert [asked for asked in second["asked"] if asked["question"] == "谁很高兴？" and not asked["answers"]] == []


@pytest.mark.parametrize("similarity", [0.0, 2.5, 5.0])
def test_pairs_become_scores_both_ways(similarity):
    rows = reading.pairs([{"text": "A man eats.", "text_pair": "A man is eating.", "similarity": similarity}])
    assert {row["text"] for row in rows} == {"A man eats.", "A man is eating."}
    for row in rows:
        ((asked, gold),) = Asked().parse(TASK, row["asked"], row["text"])
        assert isinstance(asked, Score)
        place = sum(number * share for number, share in enumerate(gold)) / (len(asked.levels) - 1)
        assert place == pytest.approx(similarity / 5, abs=1e-3)
