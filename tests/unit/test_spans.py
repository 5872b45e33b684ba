"""Spans: cells, tags, the search for the best allowed tags, windows, borders, calibration."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional

from umbel.borders import inside_a_word
from umbel.kinds.spans import UNTRAINED, TokenClassification
from umbel.model import Reading
from umbel.records import Span, SpansPrediction, Task, Window

KIND = TokenClassification()
TASK = Task("entities", "token-classification", ("place", "person"), metric="f1")
CHARACTERS = "ab巴黎é😀ß,."


def cell(start, end, label="place"):
    return {"start": start, "end": end, "label": label}


def test_cells_are_read_in_the_order_of_the_text():
    assert KIND.parse(TASK, [cell(5, 8, "person"), cell(0, 5)], "ParisBob") == ((0, 5, "place"), (5, 8, "person"))
    assert KIND.parse(TASK, [], "text") == ()
    numbered = Task("t", "token-classification", ("1", "2"))
    assert KIND.labels_in([cell(0, 1, 2)]) == ["2"]
    assert KIND.parse(numbered, [cell(0, 1, 2)], "text") == ((0, 1, "2"),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Paris", "expected a list of"),
        ([["a"]], "expected a list of"),
        ([{"start": 0, "end": "3", "label": "place"}], "expected whole numbers `start` and `end`"),
        ([cell(0, 9)], "span 0:9 lies outside the text of 8 characters"),
        ([cell(-1, 2)], "lies outside"),
        ([cell(3, 3)], "or is empty"),
        ([cell(0, 1, "plaec")], "'plaec' is not a label; did you mean 'place'"),
        ([cell(0, 1, None)], "found None, expected a label"),
        ([{"start": 0, "end": 1}], "found None, expected a label"),
        ([cell(0, 3), cell(2, 4)], "overlap; expected flat spans"),
        ([cell(0, 3), cell(0, 3)], "overlap"),
    ],
)
def test_what_is_no_list_of_flat_spans_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        KIND.parse(TASK, value, "ParisBob")


def reading_of(borders):
    """A text's one window with a token between each pair of neighbouring borders."""
    content = np.array(list(pairwise(borders)), np.int32).reshape(-1, 2)
    return Window(np.zeros(len(content) + 2, np.int32), np.pad(content, ((1, 1), (0, 0))))


def logits_of(tags, width, sure=9.0):
    logits = np.full((len(tags), width), -sure, np.float32)
    logits[np.arange(len(tags)), np.maximum(tags, 0)] = sure
    return logits


def triples(prediction):
    return tuple((span.start, span.end, span.label) for span in prediction)


@st.composite
def tokenised(draw):
    """A text, its borders of tokens, and flat gold spans between such borders, of whole words."""
    text = draw(st.text(CHARACTERS, min_size=1, max_size=40))
    cuts = draw(st.sets(st.integers(1, len(text) - 1))) if len(text) > 1 else set()
    borders = sorted({0, len(text)} | cuts)
    between = [border for border in borders if not inside_a_word(text, border)]
    edges = sorted(draw(st.lists(st.sampled_from(between), max_size=10, unique=True)))
    labels = st.sampled_from(TASK.labels)
    golds = tuple((a, b, draw(labels)) for a, b in pairwise(edges) if draw(st.booleans()))
    return text, borders, golds


@given(tokenised())
def test_targets_decode_to_the_spans_they_were_made_of(case):
    text, borders, golds = case
    window = reading_of(borders)
    tags = KIND.target(TASK, golds, window)
    assert tags[0] == tags[-1] == UNTRAINED
    found = KIND.predict(TASK, logits_of(tags[1:-1], 5), text, window.offsets[1:-1], "en")
    assert triples(found) == golds
    assert all(span.text == text[span.start : span.end] for span in found)


def test_a_token_belongs_to_a_span_that_holds_half_of_it():
    window = reading_of([0, 2, 5, 6])
    assert KIND.target(TASK, ((1, 3, "place"),), window).tolist() == [UNTRAINED, 1, 0, 0, UNTRAINED]
    assert KIND.target(TASK, ((0, 4, "person"),), window).tolist() == [UNTRAINED, 3, 4, 0, UNTRAINED]
    neighbours = ((0, 1, "place"), (1, 5, "person"))  # the first token is half of each
    assert KIND.target(TASK, neighbours, window).tolist() == [UNTRAINED, 1, 3, 0, UNTRAINED]


def test_tokens_that_cover_nothing_are_untrained_and_break_no_span():
    window = reading_of([0, 2, 2, 5])
    tags = KIND.target(TASK, ((0, 5, "place"),), window)
    assert tags.tolist() == [UNTRAINED, 1, UNTRAINED, 2, UNTRAINED]
    logits = logits_of([1, 0, 2], 5)
    assert triples(KIND.predict(TASK, logits, "Paris", window.offsets[1:-1], "en")) == ((0, 5, "place"),)


def test_loss_is_the_mean_over_each_rows_trained_tokens():
    logits, target = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)), torch.full((2, 4), UNTRAINED)
    target[0, 1:3] = torch.tensor([1, 2])
    losses = KIND.loss(TASK, logits, target)
    assert losses[0] == pytest.approx(float(functional.cross_entropy(logits[0, 1:3], target[0, 1:3])))
    assert losses[1] == 0


@given(st.text(CHARACTERS + " \n", min_size=1, max_size=30), st.data())
def test_whatever_the_logits_spans_are_ordered_apart_and_inside_the_text(text, data):
    place = st.tuples(st.integers(0, len(text)), st.integers(0, 3))
    offsets = sorted((start, min(start + size, len(text))) for start, size in data.draw(st.lists(place, max_size=12)))
    offsets = np.array(offsets, np.int32).reshape(-1, 2)  # tokens may share characters
    logits = data.draw(arrays(np.float32, (len(offsets), 5), elements=st.floats(-9, 9, width=32)))
    task = replace(TASK, trim_start="a", trim_end="b.")
    spans = KIND.predict(task, logits, text, offsets, "en").spans
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert span.text == text[span.start : span.end] == span.text.strip()
        assert 0 < span.probability <= 1
    assert all(before.end <= after.start for before, after in pairwise(spans))


def test_a_character_cut_into_two_tokens_is_given_to_one_span():
    offsets = np.array([[0, 1], [0, 1]], np.int32)
    assert triples(KIND.predict(TASK, logits_of([1, 3], 5), "½", offsets, "en")) == ((0, 1, "place"),)


def test_a_spans_probability_is_the_mean_of_its_tags_and_follows_the_temperature():
    window = reading_of([0, 3, 5])
    logits = np.array([[0, 1, 0, 0, 0], [0, 0, 3, 0, 0]], np.float32)
    (span,) = KIND.predict(TASK, logits, "Paris", window.offsets[1:-1], "en")
    first, second = np.exp(1) / (np.exp(1) + 4), np.exp(3) / (np.exp(3) + 4)
    assert span.probability == pytest.approx(float(np.sqrt(first * second)))
    (surer,) = KIND.predict(replace(TASK, temperature={"en": 0.1}), logits, "Paris", window.offsets[1:-1], "en")
    assert surer.probability > span.probability
    assert triples([surer]) == triples([span])


def test_spans_come_as_readily_as_the_bias_says_and_keep_their_probability():
    window = reading_of([0, 3, 5])
    logits = np.array([[1, 0.5, 0, 0, 0], [1, 0, 0.5, 0, 0]], np.float32)
    assert triples(KIND.predict(TASK, logits, "Paris", window.offsets[1:-1], "en")) == ()
    (span,) = KIND.predict(replace(TASK, outside_bias=-0.75), logits, "Paris", window.offsets[1:-1], "en")
    assert triples([span]) == ((0, 5, "place"),)
    assert span.probability == pytest.approx(float(np.exp(0.5) / (np.exp(1) + np.exp(0.5) + 3)))


def test_spans_below_the_bound_are_withheld():
    window = reading_of([0, 3, 5, 6, 9])
    logits = np.array([[0, 9, 0, 0, 0], [0, 0, 9, 0, 0], [9, 0, 0, 0, 0], [0, 0.5, 0, 1, 0]], np.float32)
    said = KIND.predict(TASK, logits, "Paris Bob", window.offsets[1:-1], "en")
    bounded = KIND.predict(replace(TASK, abstain_below=0.5), logits, "Paris Bob", window.offsets[1:-1], "en")
    assert [span.probability >= 0.5 for span in said] == [True, False]
    assert list(bounded) == [next(iter(said))]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ([0, 1, 0, 0], ((4, 10, "place"),)),
        ([0, 0, 1, 2], ((4, 14, "place"),)),
        ([0, 1, 3, 0], ((4, 10, "place"),)),  # the second would be inside the first one's word
        ([0, 1, 3, 4], ((4, 10, "place"), (11, 14, "person"))),
        ([0, 0, 0, 1], ((11, 14, "place"),)),
    ],
)
def test_a_span_is_whole_words(tags, found):
    window = reading_of([0, 4, 8, 10, 14])  # The |wait|er| was
    said = KIND.predict(TASK, logits_of(tags, 5), "The waiter was", window.offsets[1:-1], "en")
    assert triples(said) == found


def test_space_at_the_ends_of_a_span_is_left_out():
    window = reading_of([0, 3, 7])
    found = KIND.predict(TASK, logits_of([0, 1], 5), "in  Bo ", window.offsets[1:-1], "en")
    assert triples(found) == ((4, 6, "place"),)
    assert triples(KIND.predict(TASK, logits_of([1, 0], 5), "   Bo  ", window.offsets[1:-1], "en")) == ()


def windows_of(count, size):
    """Cut `count` tokens into windows of `size` that share a quarter, as the tokenizer does."""
    step = size - size // 4
    firsts = range(0, max(count - size, 0) + step, step)
    return [Window(np.zeros(min(size, count - f) + 2, np.int32), np.zeros((0, 2), np.int32), f) for f in firsts]


@given(st.integers(1, 60), st.integers(2, 16))
def test_each_token_comes_from_the_window_with_most_context(count, size):
    windows = windows_of(count, size)
    logits = []
    for number, window in enumerate(windows):  # every token's logits name its place and its window
        places = np.arange(window.first, window.first + len(window.ids) - 2)
        inner = np.stack([places, np.full(len(places), number)], axis=1)
        logits.append(np.pad(inner, ((1, 1), (0, 0)), constant_values=-1).astype(np.float32))
    merged = KIND.merge(TASK, logits, windows)
    assert merged[:, 0].tolist() == list(range(count))
    for place, number in merged.astype(int).tolist():
        room = [min(place - w.first, w.first + len(w.ids) - 3 - place) for w in windows]
        assert room[number] == max(room)


@given(tokenised(), st.integers(2, 8))
def test_a_windows_edge_cuts_no_entity(case, size):
    text, borders, golds = case
    whole = reading_of(borders)
    values = logits_of(KIND.target(TASK, golds, whole)[1:-1], 5)
    cut = windows_of(len(values), size)
    parts = [np.pad(values[w.first : w.first + len(w.ids) - 2], ((1, 1), (0, 0))) for w in cut]
    merged = KIND.merge(TASK, parts, cut)
    assert triples(KIND.predict(TASK, merged, text, whole.offsets[1:-1], "en")) == golds


@given(tokenised(), st.integers(2, 8))
def test_windows_join_to_the_text_read_as_one(case, size):
    _, borders, _ = case
    whole = reading_of(borders)
    ids = np.arange(100, 100 + len(whole.ids), dtype=np.int32)
    content, offsets = ids[1:-1], whole.offsets[1:-1]
    cut = [
        Window(
            np.concatenate([ids[:1], content[w.first : w.first + len(w.ids) - 2], ids[-1:]]),
            np.pad(offsets[w.first : w.first + len(w.ids) - 2], ((1, 1), (0, 0))),
            w.first,
        )
        for w in windows_of(len(content), size)
    ]
    joined = Reading(cut).whole
    assert np.array_equal(joined.ids, ids)
    assert np.array_equal(joined.offsets, whole.offsets)


def test_scores_are_of_exact_spans():
    found = [SpansPrediction((Span(0, 5, "place"), Span(6, 9, "person"))), SpansPrediction(())]
    scores = KIND.score(TASK, [((0, 5, "place"), (6, 9, "place")), ((0, 1, "person"),)], found)
    assert scores == {
        "precision": pytest.approx(50),
        "recall": pytest.approx(100 / 3),
        "f1": pytest.approx(40),
    }
    assert set(scores) == set(KIND.metrics)


def test_calibration_is_fitted_on_trained_tokens_alone():
    random = np.random.default_rng(0)
    honest = random.normal(size=(200, 6, 5)) * 1.5
    chances = np.exp(honest) / np.exp(honest).sum(-1, keepdims=True)
    golds = np.array([[random.choice(5, p=row) for row in rows] for rows in chances])
    logits = (honest * 3).astype(np.float32)
    logits[:, 0] = 99 * np.eye(5, dtype=np.float32)[0]  # untrained and sure of a wrong tag
    golds[:, 0] = UNTRAINED
    task, errors = KIND.calibrate(TASK, list(logits), list(golds), ["en", "zh"] * 100)
    assert set(task.temperature) == {"*", "en", "zh"}
    assert task.temperature["*"] == pytest.approx(3, rel=0.2)
    assert errors["ece-after"] < errors["ece-before"] / 2


def test_calibration_finds_how_readily_spans_come_if_f1_is_what_counts():
    golds = [np.array([UNTRAINED, 0, 1, 2, 0]), np.array([UNTRAINED, 3, 0, 0, 1])] * 20
    logits = [shy(target) for target in golds]
    assert KIND.calibrate(TASK, logits, golds, ["en"] * 40)[0].outside_bias < -0.5
    assert KIND.calibrate(replace(TASK, metric="precision"), logits, golds, ["en"] * 40)[0].outside_bias == 0


def shy(target):
    """Return logits by which each span is missed by half a unit."""
    logits = np.eye(5, dtype=np.float32)[np.maximum(target, 0)] * 2
    logits[:, 0] = 2.5
    return logits
