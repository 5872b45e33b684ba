"""Where words begin and end, in scripts with spaces between them and in those without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.borders import AROUND, LONGEST_WORD, bare, inside_a_word, whole_words


@pytest.mark.parametrize(
    ("text", "part", "whole"),
    [
        ("the waiter left", "wait", "waiter"),
        ("the waiter left", "aiter le", "waiter left"),
        ("the waiter left", "waiter", "waiter"),
        ("the waiter's hat", "wait", "waiter"),
        ("well-known", "nown", "known"),
        ("zum Gärtner", "rtner", "Gärtner"),
        ("cafe\u0301s in Rome", "cafe", "cafe\u0301s"),
        ("12 500kWh", "500", "500kWh"),
        ("Подъезд открыт", "Подъ", "Подъезд"),
        ("买了iPhone15手机", "Phone", "iPhone15"),
        ("北京大学的学生", "京大", "京大"),
        ("東京タワーへ", "タワ", "タワ"),
        ("서울에서 만나", "서울", "서울"),
        ("กรุงเทพ", "กรุง", "กรุง"),
    ],
)
def test_a_part_of_a_word_becomes_the_word(text, part, whole):
    start = text.index(part)
    first, last = whole_words(text, start, start + len(part))
    assert text[first:last] == whole


def test_what_runs_on_for_too_long_is_no_word():
    assert whole_words("x" * 500, 100, 200) == (100, 200)
    assert whole_words("x" * LONGEST_WORD, 1, 2) == (0, LONGEST_WORD)


@given(st.text(), st.data())
def test_whole_words_hold_the_stretch_and_stay_as_they_are(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    first, last = whole_words(text, start, end)
    assert 0 <= first <= start <= end <= last <= len(text)
    assert whole_words(text, first, last) == (first, last)


@pytest.mark.parametrize("border", [0, 3, 4, 10])
def test_the_ends_of_a_text_and_of_words_are_inside_none(border):
    assert not inside_a_word("the waiter", border)


@given(st.text(alphabet=f"{AROUND} ab。.（", max_size=12), st.data())
def test_commas_and_spaces_at_the_ends_are_left_out_and_nothing_else(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    first, last = bare(text, start, end)
    assert start <= first <= last <= end
    assert text[first:last] == text[start:end].strip(f"{AROUND} ")
