"""Tokenising: offsets in the given text, windows that cover it, both vocabularies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pack import write_tiny_backbone

from umbel.blockfile import Vocabulary
from umbel.errors import BackboneError
from umbel.sentencepieces import model_file
from umbel.tokenize import SentencePieces, Tokenizer

PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁good",
    "▁to",
    "a",
    "b",
    "c",
    "ab",
    "你好",
    "你",
    "好",
    ".",
    "1",
    "2",
    "e",
]
TABLE = {
    ord("①"): "1",
    ord("½"): "1 2",
    ord("\n"): " ",
    ord("\u200b"): "",
    ord("Ａ"): "a",
    ord("\u3000"): " ",
    ord("ﬀ"): "ab",
}


@pytest.fixture(scope="module")
def tokenizer():
    vocabulary = Vocabulary(lambda: [(p, -float(n)) for n, p in enumerate(PIECES)], TABLE, 0, 2, 1, 3)
    return Tokenizer(SentencePieces(model_file(vocabulary), TABLE), (0, 2, 1), 12)


def pieces_of(tokenizer, text):
    (window,) = tokenizer.windows(text)
    return [text[start:end] for start, end in window.offsets[1:-1].tolist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good ab", ["good", "", "ab"]),
        ("你好 good", ["", "你好", "good"]),
        ("①ab", ["", "①", "ab"]),
        ("  good   to\n\ngood ", ["good", "to", "good"]),
        ("a\u200bb", ["", "a\u200bb"]),
        ("ﬀc", ["", "ﬀ", "c"]),
        ("ab\u3000good", ["", "ab", "good"]),
    ],
)
def test_offsets_are_those_of_the_given_text(tokenizer, text, expected):
    found = pieces_of(tokenizer, text)
    assert [piece for piece in found if piece] == [piece for piece in expected if piece]


def test_special_tokens_stand_at_both_ends(tokenizer):
    (window,) = tokenizer.windows("good")
    assert (window.ids[0], window.ids[-1]) == (0, 2)
    assert window.offsets[0].tolist() == window.offsets[-1].tolist() == [0, 0]


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_blank_texts_give_one_window_without_content(tokenizer, text):
    (window,) = tokenizer.windows(text)
    assert window.ids.tolist() == [0, 2]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="good to ab你好①½\n\u200bＡﬀ\ud800😀ü.", max_size=120))
def test_any_text_has_ordered_offsets_inside_it_and_windows_that_overlap(tokenizer, text):
    windows = tokenizer.windows(text)
    reached = 0
    for number, window in enumerate(windows):
        assert len(window.ids) == len(window.offsets) <= 12
        assert window.first == number * 8  # ten tokens of content, a quarter of them shared
        starts, ends = window.offsets[1:-1].T
        assert (starts <= ends).all()
        assert (ends <= len(text)).all()
        assert (np.diff(starts) >= 0).all()
        reached = window.first + len(window.ids) - 2
    whole = Tokenizer(tokenizer._cutter, (0, 2, 1), 10_000).windows(text)[0]
    assert reached == len(whole.ids) - 2


def test_a_vocabulary_is_named_by_its_hash(tokenizer):
    other = Tokenizer(SentencePieces(tokenizer._cutter._model, {}), (0, 2, 1), 12)
    assert tokenizer.sha256 != other.sha256
    assert len(tokenizer.sha256) == 64


def test_a_hub_file(tmp_path):
    tokenizer = Tokenizer.from_file(write_tiny_backbone(tmp_path / "backbone") / "tokenizer.json", 16)
    (window,) = tokenizer.windows("good unheard Paris")
    assert window.ids.tolist() == [2, 4, 1, 6, 3]
    assert window.offsets.tolist() == [[0, 0], [0, 4], [5, 12], [13, 18], [0, 0]]
    assert tokenizer.pad == 0


def test_a_hub_file_that_is_none(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(BackboneError, match=r"not a readable tokenizer\.json"):
        Tokenizer.from_file(path)
