"""Spans shed characters of tokens that reach over their borders, as learnt from the train rows."""

import numpy as np
import pytest

from umbel.kinds.spans import TokenClassification
from umbel.records import Task, Window

KIND = TokenClassification()
TASK = Task("slots", "token-classification", ("score",))
TEXT = "评分4.5分以上的餐馆"
OFFSETS = np.array([[0, 0], [0, 2], [2, 5], [5, 6], [6, 9], [9, 11], [0, 0]], np.int32)  # 以上的 is one token
GOLD = ((2, 8, "score"),)


def observed(rows):
    return KIND.observe(TASK, rows)


def spans_of(task):
    window = Window(np.zeros(7, np.int32), OFFSETS)
    tags = KIND.target(task, GOLD, window)[1:-1]
    logits = np.full((5, 3), -9.0, np.float32)
    logits[np.arange(5), tags] = 9.0
    return [(s.start, s.end) for s in KIND.predict(task, logits, TEXT, OFFSETS[1:-1], "zh")]


def test_a_character_that_often_reaches_over_is_shed():
    task = observed([(TEXT, GOLD, Window(np.zeros(7, np.int32), OFFSETS))] * 3)
    assert (task.trim_start, task.trim_end) == ("", "的")
    assert spans_of(TASK) == [(2, 9)]
    assert spans_of(task) == [(2, 8)]


def test_one_that_was_seen_seldom_or_ends_spans_as_often_stays():
    row = (TEXT, GOLD, Window(np.zeros(7, np.int32), OFFSETS))
    assert observed([row] * 2).trim_end == ""
    whole = (TEXT, ((2, 9, "score"),), Window(np.zeros(7, np.int32), OFFSETS))
    assert observed([row] * 3 + [whole] * 3).trim_end == ""


@pytest.mark.parametrize(
    ("character", "shed"), [("s", ""), ("5", ""), ("é", ""), ("и", ""), ("Ｓ", ""), (".", "."), ("的", "的")]
)
def test_letters_with_a_case_and_digits_are_parts_of_a_word_and_stay(character, shed):
    text, offsets = f"x{character}", np.array([[0, 0], [0, 2], [0, 0]], np.int32)
    row = (text, ((0, 1, "score"),), Window(np.zeros(3, np.int32), offsets))
    assert observed([row] * 9).trim_end == shed
    text = f"{character}x"
    row = (text, ((1, 2, "score"),), Window(np.zeros(3, np.int32), offsets))
    assert observed([row] * 9).trim_start == shed


def test_a_token_is_never_shed_whole():
    text, offsets = "好的的", np.array([[0, 0], [0, 1], [1, 3], [0, 0]], np.int32)
    task = Task("t", "token-classification", ("x",), trim_start="的", trim_end="的")
    logits = np.array([[9, -9, -9], [-9, 9, -9]], np.float32)
    (span,) = KIND.predict(task, logits, text, offsets[1:-1], "zh")
    assert span.start < span.end
    assert span.text == "的"
