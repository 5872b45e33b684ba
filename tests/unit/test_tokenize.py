"""Tokenising: offsets in the given text, windows that cover it, both vocabularies."""

from itertools import pairwise

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


ODD = "aä ÄA\u0308éfiﬁ你好🇩🇪😀👩\u200d🚀\u0000\u0007\u200e\u202eשלום½①\n\t\u3000\ufeff\ud800\udfff..."


@pytest.fixture(scope="module")
def wordpieces(tmp_path_factory):
    """A BERT tokenizer as the hub keeps one: WordPiece over lower-cased words without accents."""
    from tokenizers import BertWordPieceTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, "good", "to", "par", "##is", "a", "##a", "é", "e", "你", "好", "."]
    library = BertWordPieceTokenizer({word: number for number, word in enumerate(words)}, strip_accents=True)
    path = tmp_path_factory.mktemp("wordpieces") / "tokenizer.json"
    library.enable_truncation(4)  # as some are published: windows must not fall to it
    library.enable_padding(length=9)
    library.save(str(path))
    return Tokenizer.from_file(path, 12)


def test_word_pieces_have_offsets_in_the_given_text(wordpieces):
    text = "Good  to PARIS\u0301.\n你好 aA"
    assert pieces_of(wordpieces, text) == ["Good", "to", "PAR", "IS", ".", "你", "好", "a", "A"]
    (window,) = wordpieces.windows(text)
    assert window.ids.tolist() == [2, 5, 6, 7, 8, 15, 13, 14, 9, 10, 3]
    assert (wordpieces.first, wordpieces.last, wordpieces.pad) == (2, 3, 0)


@settings(max_examples=150)
@given(st.one_of(st.text(alphabet=ODD, max_size=60), st.text(max_size=60)))
def test_any_text_is_cut_into_pieces_of_it(wordpieces, text):
    starts, ends = np.concatenate([window.offsets for window in wordpieces.windows(text)]).T
    assert ((starts >= 0) & (starts <= ends) & (ends <= len(text))).all()


@pytest.mark.parametrize("kind", ["tokenizer", "wordpieces"])
def test_a_lone_surrogate_reads_as_the_replacement_character(request, kind):
    cutter = request.getfixturevalue(kind)
    lone, replaced = cutter.windows("good \ud800 a\udfffb"), cutter.windows("good \ufffd a\ufffdb")
    for first, second in zip(lone, replaced, strict=True):
        assert np.array_equal(first.ids, second.ids)
        assert np.array_equal(first.offsets, second.offsets)


@pytest.mark.parametrize("kind", ["tokenizer", "wordpieces"])
@pytest.mark.parametrize("text", ["good to ", "你好", "x" * 100 + " ", "\u200b.", "①½"])
def test_a_megabyte_is_cut_whole(request, kind, text):
    text *= 1_000_000 // len(text.encode())
    windows = request.getfixturevalue(kind).windows(text)
    assert windows[0].offsets[1, 0] <= 1  # a character of no width is in no token
    assert windows[-1].offsets[-2, 1] >= len(text.rstrip())
    for before, after in pairwise(windows):
        assert after.first - before.first == 8
        assert len(before.ids) == 12
    assert windows[-1].offsets.max() <= len(text)


@given(st.integers(1, 200), st.integers(3, 40))
def test_windows_cover_every_token_and_share_a_quarter(tokenizer, words, size):
    text = " ".join(["good"] * words)
    windows = Tokenizer(tokenizer._cutter, (0, 2, 1), 512).windows(text, size)
    content = size - 2
    covered = [place for window in windows for place in range(window.first, window.first + len(window.ids) - 2)]
    assert set(covered) == set(range(words))
    assert all(len(window.ids) <= size for window in windows)
    for before, after in pairwise(windows):
        assert before.first + len(before.ids) - 2 - after.first == content // 4
    if words <= content:
        assert len(windows) == 1


def test_a_limit_beyond_the_backbone_is_that_of_the_backbone(tokenizer):
    text = " ".join(["good"] * 40)
    assert [len(w.ids) for w in tokenizer.windows(text, 99)] == [len(w.ids) for w in tokenizer.windows(text)]


def test_many_texts_are_cut_as_one_by_one(wordpieces):
    texts = ["good", "", "to Paris " * 9, "你好"]
    for text, windows in zip(texts, wordpieces.windows_many(texts), strict=True):
        for first, second in zip(windows, wordpieces.windows(text), strict=True):
            assert np.array_equal(first.ids, second.ids)


def test_a_hub_file_without_special_tokens_is_refused(tmp_path):
    from tokenizers import Tokenizer as Library
    from tokenizers import models

    Library(models.WordLevel({"a": 0}, "a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BackboneError, match="found 0 special tokens around a text, expected one at either end"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
