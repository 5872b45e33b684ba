"""Answers from logits: probabilities, expected levels, spans within and across windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel import decide
from umbel.decide import Pointed
from umbel.overhangs import Sheds
from umbel.questions import Choice, Extract, ExtractAnswer, Mentions, Option, Score
from umbel.records import Span

TEXT = "Anna met Bob in Paris"
WORDS = [(0, 4), (5, 8), (9, 12), (13, 15), (16, 21)]
LOW = -12.0


def options(*names):
    return tuple(Option(name) for name in names)


def window(words=WORDS, **peaks):
    """Return logits that are low but for `start=[(place, logit), ...]` and so on; places count the first token as 0."""
    offsets = np.array([(0, 0), *words, (0, 0)], np.int32)
    arrays = {}
    for name in ("start", "end", "inside"):
        arrays[name] = np.full(len(offsets), LOW, np.float32)
        for place, value in peaks.get(name, []):
            arrays[name][place] = value
    return Pointed(offsets, **arrays)


def test_a_choice_is_the_likeliest_option():
    answer = decide.choose(Choice("?", options("a", "b", "c")), np.array([0.0, 2.0, 1.0]))
    assert answer.label == "b"
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.probability == pytest.approx(np.exp(2) / (1 + np.exp(2) + np.exp(1)))


def test_a_temperature_flattens():
    question, logits = Choice("?", options("a", "b")), np.array([0.0, 2.0])
    assert decide.choose(question, logits, 4.0).probability < decide.choose(question, logits).probability
    assert decide.judge(2.0, 4.0).probability < decide.judge(2.0).probability


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=10))
def test_a_score_is_the_expected_level(logits):
    question = Score("?", options(*(f"level {n}" for n in range(len(logits)))))
    answer = decide.rate(question, np.array(logits))
    assert answer.score == pytest.approx(sum(n * p for n, p in enumerate(answer.probabilities.values())), abs=1e-5)
    assert answer.level == max(answer.probabilities, key=answer.probabilities.get)


def test_a_statement_holds_from_one_half():
    assert decide.judge(0.0).holds
    assert not decide.judge(-0.1).holds


def test_the_best_span_is_given_with_its_offsets():
    answer = decide.extract(TEXT, [window(start=[(3, 8), (0, LOW)], end=[(3, 8)])])
    assert (answer.span.start, answer.span.end, answer.span.text) == (9, 12, "Bob")
    assert answer.probability > 0.99


def test_an_end_before_its_start_is_no_span():
    answer = decide.extract(TEXT, [window(start=[(4, 8)], end=[(2, 9), (5, 6)])])
    assert answer.span.text == "in Paris"


def test_no_answer_wins_where_the_first_token_does():
    answer = decide.extract(TEXT, [window(start=[(0, 5), (1, 1)], end=[(0, 5), (1, 1)])])
    assert answer.span is None
    assert answer.probability > 0.99


def test_a_question_that_must_be_answered_gets_the_likeliest_span():
    unsure = [window(start=[(0, 5), (1, 1)], end=[(0, 5), (1, 1)])]
    answer = decide.extract(TEXT, unsure, must_answer=True)
    assert answer.span.text == "Anna"
    assert answer.probability < 0.01


def test_special_tokens_are_never_in_a_span():
    answer = decide.extract(TEXT, [window(start=[(6, 9), (1, 2)], end=[(6, 9), (1, 2)])])
    assert answer.span.text == "Anna"


def test_windows_compete_each_against_its_own_no_answer():
    unsure = window(start=[(1, 3), (0, 6)], end=[(1, 3), (0, 6)])
    sure = window(start=[(5, 3), (0, -5)], end=[(5, 3), (0, -5)])
    assert decide.extract(TEXT, [unsure, sure]).span.text == "Paris"
    assert decide.extract(TEXT, [sure, unsure]).span.text == "Paris"


def test_a_span_seen_in_two_windows_counts_once():
    seen = window(start=[(5, 2), (0, 1)], end=[(5, 2), (0, 1)])
    assert decide.extract(TEXT, [seen, seen]) == decide.extract(TEXT, [seen])


TWICE = "Anna met Bob and Anna left"
PIECES = [(0, 4), (5, 8), (9, 12), (13, 16), (17, 21), (22, 26)]


def test_an_answer_said_twice_counts_with_both_places():
    peaks = [(1, 2.0), (3, 2.3), (5, 2.1)]  # Anna, Bob, Anna: Bob alone is the likeliest place
    alone = np.exp([0, *(2 * value for _, value in peaks)])
    answer = decide.extract(TWICE, [window(PIECES, start=[(0, 0), *peaks], end=[(0, 0), *peaks])])
    assert (answer.span.text, answer.span.start) == ("Anna", 17)
    across = [np.exp(first + last) for n, (_, first) in enumerate(peaks) for _, last in peaks[n + 1 :]]
    expected = (alone[1] + alone[3]) / (alone.sum() + sum(across))
    assert answer.probability == answer.span.probability == pytest.approx(expected, rel=1e-3)


def test_places_that_say_the_same_outweigh_no_answer_together():
    said = [(1, 1.4), (5, 1.4)]
    weak = window(PIECES, start=[(0, 1.6), *said], end=[(0, 1.6), (1, 1.4), (5, 1.4)])
    assert decide.extract(TWICE, [weak]).span.text == "Anna"
    once = window(PIECES, start=[(0, 1.6), (1, 1.4)], end=[(0, 1.6), (1, 1.4)])
    assert decide.extract(TWICE, [once]).span is None


SERVED = "The waiter was kind"
PARTS = [(0, 3), (4, 8), (8, 10), (11, 14), (15, 19)]  # The wait|er was kind


LONG_OR_SHORT = {"start": [(0, 0), (1, 3), (5, 0)], "end": [(0, 0), (1, 1.5), (5, 2)]}  # "Anna", or all of the text


def test_brevity_prefers_the_shorter_of_two_likely_answers():
    assert decide.extract(TEXT, [window(**LONG_OR_SHORT)]).span.text == TEXT
    assert decide.extract(TEXT, [window(**LONG_OR_SHORT)], brevity=0.5).span.text == "Anna"


@given(st.floats(0, 3), st.floats(0.3, 3))
def test_brevity_leaves_the_probability_of_no_answer(brevity, temperature):
    sure = window(start=[(0, 6), (1, 3)], end=[(0, 6), (1, 1.5), (5, 2)])
    plain, short = (decide.extract(TEXT, [sure], temperature, brevity=each) for each in (0.0, brevity))
    assert plain.span is short.span is None
    assert short.probability == pytest.approx(plain.probability, abs=1e-6)


def test_brevity_counts_the_tokens_of_spans_that_several_windows_see():
    one, two = (window(**LONG_OR_SHORT) for _ in range(2))
    assert decide.extract(TEXT, [one, two], brevity=0.5) == decide.extract(TEXT, [one], brevity=0.5)


@pytest.mark.parametrize("part", [2, 3])
def test_an_answer_is_whole_words(part):
    cut = window(PARTS, start=[(part, 6), (0, LOW)], end=[(part, 6)])
    assert decide.extract(SERVED, [cut]).span.text == "waiter"


def test_an_answer_has_no_commas_around_it_and_is_not_one():
    text, pieces = "在北京，很大", [(0, 1), (1, 3), (3, 4), (4, 6)]
    found = decide.extract(text, [window(pieces, start=[(0, 0), (2, 5)], end=[(0, 0), (3, 5)])])
    assert (found.span.text, found.span.start, found.span.end) == ("北京", 1, 3)
    comma = window(pieces, start=[(0, 0), (3, 5), (4, 4)], end=[(0, 0), (3, 5), (4, 4)])
    assert decide.extract(text, [comma], must_answer=True).span.text == "很大"


def test_an_answer_sheds_what_its_tokens_carry_over_its_borders():
    text, pieces = "因大雪的缘故", [(0, 4), (4, 6)]
    found = [window(pieces, start=[(0, 0), (1, 5)], end=[(0, 0), (1, 5)])]
    assert decide.extract(text, found).span.text == "因大雪的"
    span = decide.extract(text, found, sheds=Sheds("因", "的")).span
    assert (span.text, span.start, span.end) == ("大雪", 1, 3)
    assert decide.extract(text, found, sheds=Sheds("因大雪的", "的")).span.text == "的"  # never a whole token
    twice = decide.extract(text, found * 2, sheds=Sheds("因", "的"))
    assert twice == decide.extract(text, found, sheds=Sheds("因", "的"))


@pytest.mark.parametrize(
    ("golds", "found", "f1"),
    [
        ([(0, 4)], (0, 4), 1),
        ([(0, 4)], (2, 6), 0.5),
        ([(0, 4)], (4, 8), 0),
        ([(0, 4), (2, 6)], (2, 6), 1),
        ([], None, 1),
        ([(0, 4)], None, 0),
        ([], (0, 4), 0),
    ],
)
def test_overlap_is_that_of_places(golds, found, f1):
    answer = ExtractAnswer(Span(*found, "answer", "") if found else None, 0.5)
    assert decide.overlap([(*gold, "") for gold in golds], answer) == f1


@pytest.mark.parametrize(
    ("golds", "said", "right"),
    [
        (["snow"], "snow", True),
        (["rain", " snow,"], "snow", True),  # any of them, without what answers never hold at their ends
        (["snow"], "snows", False),
        ([], "snow", False),
        (["snow"], None, False),
        ([], None, True),
    ],
)
def test_an_answer_is_right_that_says_what_a_gold_one_says(golds, said, right):
    answer = ExtractAnswer(Span(7, 11, "answer", said, 0.5) if said else None, 0.5)
    found = decide.is_right(Extract("?"), tuple((0, len(words), words) for words in golds), answer)
    assert found == right


def test_parts_of_one_word_are_one_answer():
    both = window(PARTS, start=[(0, 0), (2, 1), (3, 1)], end=[(0, 0), (2, 1), (3, 1)])
    answer = decide.extract(SERVED, [both])
    assert answer.probability == pytest.approx(3 * np.exp(2) / (3 * np.exp(2) + 1), rel=1e-3)


def test_mentions_that_are_cut_inside_a_word_are_left_out():
    def found(first, last):
        inside = [(place, 8) for place in range(first, last + 1)]
        cut = window(PARTS, start=[(first, 8)], end=[(last, 8)], inside=inside)
        return [span.text for span in decide.mentions(Mentions(options("person")), SERVED, [[cut]])]

    assert found(2, 3) == ["waiter"]
    assert found(2, 2) == found(3, 3) == []


PEOPLE = Mentions(options("person", "place"))


def typed(place, value=8.0):
    return window(start=[(place, value)], end=[(place, value)], inside=[(place, value)])


def test_types_give_their_spans_in_the_order_of_the_text():
    person = window(start=[(3, 8), (1, 8)], end=[(3, 8), (1, 8)], inside=[(3, 8), (1, 8)])
    found = decide.mentions(PEOPLE, TEXT, [[person], [typed(5)]])
    assert [(span.text, span.label) for span in found] == [("Anna", "person"), ("Bob", "person"), ("Paris", "place")]


def test_a_span_needs_its_inside():
    broken = window(start=[(1, 9)], end=[(5, 9)], inside=[(1, 9), (5, 9)])
    assert len(decide.mentions(Mentions(options("all")), TEXT, [[broken]])) == 0
    whole = window(start=[(1, 9)], end=[(5, 9)], inside=[(n, 9) for n in range(1, 6)])
    assert decide.mentions(Mentions(options("all")), TEXT, [[whole]])[0].text == TEXT


def test_overlapping_types_are_flat_unless_wanted():
    likely, less = typed(5, 9.0), typed(5, 3.0)
    assert [span.label for span in decide.mentions(PEOPLE, TEXT, [[less], [likely]])] == ["place"]
    both = decide.mentions(Mentions(PEOPLE.types, overlapping=True), TEXT, [[less], [likely]])
    assert {span.label for span in both} == {"person", "place"}


@given(st.permutations(range(3)), st.integers(0, 1000))
def test_the_order_of_types_changes_nothing(order, seed):
    random = np.random.default_rng(seed)
    types = options("a", "b", "c")
    offsets = np.array([(0, 0), *WORDS, (0, 0)], np.int32)
    windows = [[Pointed(offsets, *random.normal(0, 4, (3, 7)).astype(np.float32))] for _ in types]
    straight = decide.mentions(Mentions(types), TEXT, windows)
    turned = decide.mentions(Mentions(tuple(types[n] for n in order)), TEXT, [windows[n] for n in order])
    assert straight == turned
