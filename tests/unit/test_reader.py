"""What is remembered of words: never more than may be, and never missed."""

import math

import numpy as np
import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel import brancher, reader
from umbel.brancher import Brancher
from umbel.decide import UNCALIBRATED
from umbel.errors import InputError
from umbel.novelty import MOST, PLAIN, doubt
from umbel.pack import read_pack
from umbel.packing import write_branches
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.reader import Reader
from umbel.readouts import KNOWN
from umbel.records import Window


class Letters:
    """Words as the code points of their letters."""

    asked, max_tokens = 0, 512

    def windows(self, words):
        self.asked += 1
        ids = np.array([2, *map(ord, words), 3], np.int32)
        offsets = [(0, 0), *((place, place + 1) for place in range(len(words))), (0, 0)]
        return [Window(ids, np.array(offsets, np.int32), 0)]


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


def test_how_new_options_are_their_names_tell(asked, encoded):
    def choice(*names):
        return Choice("?", tuple(Option(name, "described") for name in names))

    asked.weights = {KNOWN: asked.vectors(["a", "bb"])}
    encoded.clear()
    assert asked._newness(choice("a", "bb")) == pytest.approx(0, abs=1e-6)
    likeness = float((asked.weights[KNOWN] @ asked.vectors(["cccccc"])[0]).max())
    assert likeness < 0.999
    for names, unlike in (
        (("a", "cccccc"), 1 / 2),
        (("cccccc", "a", "bb"), 1 / 3),
        (("a", "bb", "cccccc", "a"), 1 / 4),
    ):
        assert asked._newness(choice(*names)) == pytest.approx(unlike * (1 - likeness), rel=1e-3)
    assert encoded == ["cccccc"]


@pytest.mark.parametrize(("nearer", "surer"), [(0.005, False), (PLAIN, None), (0.05, True)])
def test_a_choice_among_new_options_is_as_sure_as_the_text_is_near_to_one(nearer, surer):
    assert doubt(0, nearer) == 1
    assert (doubt(0.1, nearer) < 1) == (surer is True)
    assert (doubt(0.1, nearer) > 1) == (surer is False)
    if surer is not None:
        assert abs(math.log(doubt(1, -1 if nearer < PLAIN else 1))) == pytest.approx(MOST)
        assert doubt(0.1, -1) == doubt(0.1, 0) < math.exp(MOST)
        assert MOST >= abs(math.log(doubt(0.2, nearer))) > abs(math.log(doubt(0.1, nearer)))


def test_doubt_changes_how_sure_a_choice_is_and_no_order(tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    pack = write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"), branches=True)
    plain = umbel.load(pack.folder, precision="float32")
    vectors = plain.reader.vectors(["Paris"])
    again = tmp_path / "again"
    write_branches(pack, again, {**pack.branches(), KNOWN: vectors}, {"known": 1}, "0.2.0", lambda _: "")
    assert read_pack(again).manifest.format == 7
    read_pack(again).verify()
    doubting, text = umbel.load(again, precision="float32"), "good to Paris"
    questions = [Choice("to", (Option("Paris"), Option(name))) for name in ("bad", "Paris to", "这 good bad to")]
    factors = []
    for question in questions:
        before, after = plain.ask(text, [question])[0], doubting.ask(text, [question])[0]
        likeness = plain.reader.vectors([option.name for option in question.options]) @ vectors[0]
        cosines = plain.reader._cosines(plain.read(text), question)
        likeliest = [option.name for option in question.options].index(before.label)
        factor = doubt(1 - float(np.minimum(likeness, 1).mean()), float(cosines[likeliest] - cosines.mean()))
        first, second = ([math.log(p) for p in each.probabilities.values()] for each in (before, after))
        factors.append(factor)
        assert (first[0] - first[1]) / (second[0] - second[1]) == pytest.approx(factor, rel=1e-3)
        assert before.label == after.label
    assert max(abs(math.log(factor)) for factor in factors) > 0.01
    np.testing.assert_array_equal(
        [p for each in doubting.ask(text, questions) for p in each.probabilities.values()],
        [p for question in questions for p in doubting.ask(text, [question])[0].probabilities.values()],
    )


def test_questions_are_laid_out_once_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    pack = write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"), branches=True)
    model, rows_of, laid = umbel.load(pack.folder, precision="float32"), reader.rows_of, []

    def counting(branches, pad, length):
        laid.append(len(branches))
        return rows_of(branches, pad, length)

    def asked(text, question):
        (found,) = model.ask(text, [question])
        return list(found.probabilities.values())

    monkeypatch.setattr(reader, "rows_of", counting)
    one = Choice("to", (Option("Paris"), Option("bad")))
    other = Score("to", one.options)
    first = [asked(text, one) for text in ("good to Paris", "bad")]
    assert laid == [1]
    assert asked("good to Paris", other) != first[0]  # of the same words, with other roles
    assert laid == [1, 1]
    assert [asked(text, one) for text in ("good to Paris", "bad")] == first
    assert laid == [1, 1]
    monkeypatch.setattr(reader, "MOST_LAID", 1)  # too few for any
    for _ in range(2):
        assert asked("bad", Choice("good", one.options)) != first[1]
    assert len(laid) == 4
    assert model.reader._laid == {}


def test_ids_of_words_are_remembered_within_a_bound(monkeypatch):
    monkeypatch.setattr(brancher, "MOST_REMEMBERED", 2)
    letters = Letters()
    known = Brancher(letters, most_tokens=4)
    for words in ("a", "b", "a", "c", "a"):
        np.testing.assert_array_equal(known.ids(words), [2, ord(words), 3])
    assert letters.asked == 4
    np.testing.assert_array_equal(known.ids("abcdef"), [2, ord("a"), ord("b"), 3])


LONG = "x" * 255  # with special tokens one more than may be


def test_words_of_as_many_tokens_as_may_be_pass_whole():
    known = Brancher(Letters())
    known.check([Predicate("x" * 254), Choice("x" * 254, (Option("y" * 254), Option("z")))])
    assert len(known.ids("x" * 254)) == 256


@pytest.mark.parametrize(
    ("question", "place"),
    [
        (Choice(LONG, (Option("a"), Option("b"))), "instruction"),
        (Choice("?", (Option("a"), Option("b", LONG))), r"options\[1\]"),
        (Score("?", (Option("a"), Option(LONG))), r"levels\[1\]"),
        (Score(LONG, (Option("a"), Option("b"))), "instruction"),
        (Predicate(LONG), "statement"),
        (Extract(LONG), "question"),
        (Mentions((Option(LONG),)), r"types\[0\]"),
    ],
)
def test_words_of_too_many_tokens_are_refused_with_their_place(asked, question, place):
    with pytest.raises(InputError, match=rf"questions\[1\]\.{place}: found \d+ tokens, expected at most 256; say it"):
        asked.checked([Predicate("it is so"), question])


def test_all_words_that_are_too_long_are_told_at_once(asked):
    with pytest.raises(InputError) as caught:
        asked.checked([Choice(LONG, (Option(LONG), Option("b"))), Extract(LONG)])
    assert str(caught.value).count("found 257 tokens") == 3


def test_a_backbone_that_reads_little_bounds_words_by_half_of_it():
    letters = Letters()
    letters.max_tokens = 64
    with pytest.raises(InputError, match="found 33 tokens, expected at most 32"):
        Brancher(letters).check([Predicate("x" * 31)])


def test_a_chinese_question_is_read_as_the_statement_it_asks_about():
    known = Brancher(Letters())
    asked, stated = (known.branches(Predicate(words))[0].question for words in ("顾客满意吗？", "顾客满意"))
    np.testing.assert_array_equal(asked, stated)


def test_as_much_of_words_as_fits_is_as_long_as_may_be():
    known = Brancher(Letters(), most_tokens=6)
    assert known.fitting("abcd") == "abcd"
    assert known.fitting("abcde") == "abcd"
