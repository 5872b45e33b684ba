"""What is remembered of words: never more than may be, and never missed."""

import numpy as np
import pytest

from umbel import brancher, reader
from umbel.brancher import Brancher
from umbel.decide import UNCALIBRATED
from umbel.reader import Reader
from umbel.records import Window


class Letters:
    """Words as the code points of their letters."""

    asked = 0

    def windows(self, words):
        self.asked += 1
        ids = np.array([2, *map(ord, words), 3], np.int32)
        return [Window(ids, np.zeros((len(ids), 2), np.int32), 0)]


@pytest.fixture
def encoded():
    return []


@pytest.fixture
def asked(encoded):
    def encode(texts):
        encoded.extend(texts)
        return [np.array([[len(text), 1.0], [1.0, 1.0]], np.float32) for text in texts]

    return Reader(None, {}, UNCALIBRATED, None, Letters(), encode)


def test_vectors_of_options_are_made_once(asked, encoded):
    first = asked.vectors(["a", "bb", "a"])
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(asked.vectors(["bb", "ccc"])[0], first[1])
    assert encoded == ["a", "bb", "ccc"]


def test_vectors_that_are_let_go_of_are_made_again(asked, encoded, monkeypatch):
    monkeypatch.setattr(reader, "MOST_VECTORS", 2)
    wanted = asked.vectors(["a", "bb"])
    found = asked.vectors(["a", "ccc", "bb"])  # does not fit beside them
    np.testing.assert_array_equal(found[[0, 2]], wanted)
    np.testing.assert_array_equal(asked.vectors(["a", "bb"]), wanted)
    assert encoded == ["a", "bb", "ccc", "a", "bb"]


def test_ids_of_words_are_remembered_within_a_bound(monkeypatch):
    monkeypatch.setattr(brancher, "MOST_REMEMBERED", 2)
    letters = Letters()
    known = Brancher(letters, most_tokens=4)
    for words in ("a", "b", "a", "c", "a"):
        np.testing.assert_array_equal(known.ids(words), [2, ord(words), 3])
    assert letters.asked == 4
    np.testing.assert_array_equal(known.ids("abcdef"), [2, ord("a"), ord("b"), 3])
