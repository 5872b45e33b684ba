"""Documents are cut into passages at sentences, paragraphs and headings; nothing is lost, nothing is too long."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from toy_encoder import token_starts

from umbel.retrieval import passages
from umbel.retrieval.passages import cut

TEXTS = st.text(st.sampled_from("ab 北京，。.!\n# "), max_size=300)


def texts_of(text, most):
    return [text[start:end] for start, end in cut(text, token_starts, most)]


@given(TEXTS, st.integers(2, 40))
def test_every_word_stands_in_a_passage_and_none_is_too_long(text, most):
    found = cut(text, token_starts, most)
    covered = np.zeros(len(text), bool)
    for start, end in found:
        covered[start:end] = True
        part = text[start:end]
        assert part == part.strip() != ""
        assert np.sum((token_starts(text) >= start) & (token_starts(text) < end)) <= most
    assert not "".join(np.array(list(text))[~covered]).strip()
    assert [start for start, _ in found] == sorted({start for start, _ in found})


def test_a_short_text_is_one_passage():
    assert texts_of("  One sentence. Another one.\n", 50) == ["One sentence. Another one."]


def test_a_text_without_words_has_no_passage():
    assert texts_of(" \n\n ", 50) == []


def test_sentences_stay_whole_in_both_languages():
    assert texts_of("我们九点开门。“五点关门。”周日休息！", 8) == ["我们九点开门。", "“五点关门。”", "周日休息！"]
    assert texts_of("It is 3.5 km away. Go now! Really?", 8) == ["It is 3.5 km away.", "Go now! Really?"]


def test_a_passage_ends_at_a_paragraph_once_it_is_half_full():
    text = "a b c d e\n\nf g h\n\ni j"
    assert texts_of(text, 10) == ["a b c d e", "f g h\n\ni j"]
    assert texts_of(text, 12) == ["a b c d e\n\nf g h", "i j"]


def test_a_passage_ends_before_a_heading_once_it_is_a_quarter_full():
    assert texts_of("a b c\n## Next\nd", 12) == ["a b c", "## Next\nd"]
    assert texts_of("a b\n## Next\nd", 12) == ["a b\n## Next\nd"]


def test_passages_overlap_by_a_sentence_where_a_paragraph_is_cut():
    text = ". ".join(f"w{n} x y z" for n in range(30)) + "."
    found = cut(text, token_starts, 50)
    assert all(later.start < earlier.end for earlier, later in pairwise(found))
    assert all(len(token_starts(text[b.start : a.end])) <= 50 // passages.OVERLAP for a, b in pairwise(found))


def test_a_sentence_that_is_too_long_is_cut_at_a_comma():
    assert texts_of("一二三四五，六七八九十", 8) == ["一二三四五，", "六七八九十"]
    assert texts_of("一二三四五六七八九十", 8) == ["一二三四五六七八", "九十"]


def test_a_long_text_is_cut_as_its_parts_are(monkeypatch):
    text = "\n\n".join(f"Paragraph {n} says this. And it says that." for n in range(40))
    whole = cut(text, token_starts, 12)
    monkeypatch.setattr(passages, "BLOCK", 200)
    assert cut(text, token_starts, 12) == whole
    assert "".join(texts_of("x" * 1000, 5)) == "x" * 1000
