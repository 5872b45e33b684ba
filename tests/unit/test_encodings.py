"""Kept encodings: bounded in bytes, named by all they depend on, the ones unused for longest let go of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.branch_graph import Kept
from umbel.encodings import Encoding, EncodingCache, key_of

HIDDEN = 2


def encoding_of(text, tokens, maker="here"):
    hidden = np.arange(tokens * HIDDEN, dtype=np.float32).reshape(tokens, HIDDEN)
    return Encoding(text, (), (Kept(hidden, (np.zeros((1, tokens, 1), np.uint16),) * 2),), maker)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 9)), max_size=40), st.integers(0, 200))
def test_the_cache_holds_what_was_used_last_within_its_bytes(used, most):
    """Against a list of the texts in the order of their last use; a text has one size for good."""
    sizes = {text: encoding_of(text, tokens) for text, tokens in reversed(used)}
    cache, recent = EncodingCache(most), []
    for text, _ in used:
        found, encoding = cache.get("here", text), sizes[text]
        assert (found is None) == (text not in recent)
        cache.put(found or encoding)
        if encoding.nbytes <= most:
            recent = [*(other for other in recent if other != text), text]
        while sum(sizes[other].nbytes for other in recent) > most:
            del recent[0]
        assert cache.nbytes == sum(sizes[other].nbytes for other in recent) <= most
        assert len(cache) == len(recent)
    assert cache.hits + cache.misses == len(used)


def test_what_takes_bytes_is_counted():
    assert encoding_of("a", 3).nbytes == 3 * HIDDEN * 4 + 2 * 3 * 2


@pytest.mark.parametrize("other", [("here", "b"), ("there", "a"), ("her", "ea"), ("here ", "a")])
def test_a_key_covers_text_and_maker(other):
    cache = EncodingCache(1000)
    cache.put(encoding_of("a", 2))
    assert cache.get("here", "a") is not None
    assert cache.get(*other) is None
    assert key_of(*other) != key_of("here", "a")


def test_a_text_that_is_not_quite_unicode_has_a_key():
    assert key_of("here", "\ud800") != key_of("here", "\ud801")


def test_the_vector_is_the_mean_over_all_windows_at_length_one():
    one, other = encoding_of("a", 2).kept[0], encoding_of("a", 3).kept[0]
    mean = np.concatenate([one.hidden, other.hidden]).mean(axis=0)
    vector = Encoding("a", (), (one, other), "here").vector
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-6)
