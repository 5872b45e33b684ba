"""Character n-grams: which a text has, equal on every machine, and what a task reads off them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.ngrams import Ngrams, Vocabulary, counted, ngrams_of

GOLDEN = {"a": 2723926297, "好": 3886550454}  # stored in packs: another hash would make them unreadable


def hash_of(gram):
    hashes, counts = counted(gram, len(gram))
    whole = [each for each in hashes if each not in set().union(*(counted(gram[:-1], 9)[0], counted(gram[1:], 9)[0]))]
    assert counts.sum() == len(gram) * (len(gram) + 1) / 2
    return whole[0] if len(gram) > 1 else hashes[0]


def reading(**weights):
    keys = {hash_of(gram): weight for gram, weight in weights.items()}
    order = np.array(sorted(keys), np.uint32)
    rows = np.array([keys[key] for key in order], np.float32)
    return Ngrams(3, Vocabulary(order, np.ones(len(order), np.float32)), rows, np.array([0.5, 0.0], np.float32))


def test_hashes_are_those_that_packs_hold():
    assert {gram: int(hash_of(gram)) for gram in GOLDEN} == GOLDEN


def test_every_ngram_is_counted_once_for_each_place():
    hashes, counts = counted("abab", 2)
    assert sorted(counts.tolist()) == [1, 2, 2, 2]  # ba, a, b, ab
    assert dict(zip(hashes.tolist(), counts.tolist(), strict=True))[int(hash_of("ab"))] == 2
    assert (np.diff(hashes.astype(np.int64)) > 0).all()


def test_width_and_case_do_not_matter():
    for text in ("ＡＢＣ", "ABC"):
        assert all(np.array_equal(*pair) for pair in zip(counted(text, 3), counted("abc", 3), strict=True))


@given(text=st.text(st.characters(), max_size=40), longest=st.integers(1, 8))
def test_any_text_has_as_many_ngrams_as_its_length_says(text, longest):
    import unicodedata

    length = len(unicodedata.normalize("NFKC", text).lower())
    _, counts = counted(text, longest)
    assert counts.sum() == sum(max(length - size + 1, 0) for size in range(1, longest + 1))


def test_lone_surrogates_are_read():
    assert counted("a\ud800", 1)[1].sum() == 2


def test_logits_are_of_features_of_length_one():
    read = reading(a=[1, 0], bc=[0, 2])
    np.testing.assert_allclose(read.of("a"), [1.5, 0], rtol=1e-6)
    np.testing.assert_allclose(read.of("abc"), np.array([1, 2]) / math.sqrt(2) + [0.5, 0], rtol=1e-6)
    counts = np.array([1 + math.log(2), 1])
    np.testing.assert_allclose(read.of("aabc"), counts / np.linalg.norm(counts) * [1, 2] + [0.5, 0], rtol=1e-6)


def test_a_text_of_which_nothing_is_known_adds_what_every_text_adds():
    np.testing.assert_array_equal(reading(a=[1, 0]).of("zzz"), np.float32([0.5, 0]))
    np.testing.assert_array_equal(reading(a=[1, 0]).of(""), np.float32([0.5, 0]))


def test_what_is_stored_is_read_again():
    read = reading(a=[1, 0], bc=[0, 2])
    again = ngrams_of(3, read.tensors(), 2)
    np.testing.assert_array_equal(again.of("abc"), read.of("abc"))


@pytest.mark.parametrize(
    "change", [{"keys": np.zeros(0, np.uint32)}, {"bias": np.zeros(3, np.float32)}, {"more": np.zeros(1)}]
)
def test_other_arrays_are_refused(change):
    with pytest.raises(ValueError, match="not the n-grams"):
        ngrams_of(3, reading(a=[1, 0]).tensors() | change, 2)


@given(st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=300), st.sets(st.integers(0, 2**32 - 1), max_size=30))
def test_every_key_is_found_and_nothing_else(keys, others):
    known = np.array(sorted(keys), np.uint32)
    vocabulary = Vocabulary(known, np.ones(len(known), np.float32))
    wanted = np.array(sorted(keys | others), np.uint32)
    places, values = vocabulary.features(wanted, np.ones(len(wanted), np.int64))
    np.testing.assert_array_equal(places, np.arange(len(known)))
    np.testing.assert_allclose(values, 1 / math.sqrt(len(known)), rtol=1e-5)
