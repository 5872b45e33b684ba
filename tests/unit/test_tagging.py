"""Tags: the search for the best allowed ones, the spans they make, and how readily spans are found."""

from itertools import pairwise, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from umbel.tagging import best_tags, fit_outside, runs

TAGS = 5
GOLDS = [np.array(tags) for tags in ([0, 1, 2, 0], [3, 4, 0, 0], [0, 0, 0, 0], [1, 3, 4, 0])] * 10


def is_allowed(tags):
    return all(tag == 0 or tag % 2 == 1 or before in (tag, tag - 1) for before, tag in pairwise((0, *tags)))


@given(arrays(np.float32, st.tuples(st.integers(0, 5), st.sampled_from([3, 5])), elements=st.integers(-6, 6)))
def test_the_best_allowed_tags_are_found(logits):
    tokens, width = logits.shape
    found = best_tags(logits).tolist()
    assert is_allowed(found)
    paths = (path for path in product(range(width), repeat=tokens) if is_allowed(path))
    best = max(sum(logits[token, tag] for token, tag in enumerate(path)) for path in paths)
    assert sum(logits[token, tag] for token, tag in enumerate(found)) == best


@given(arrays(np.float32, st.tuples(st.integers(0, 5), st.sampled_from([3, 5])), elements=st.integers(-6, 6)))
def test_a_bias_is_a_logit_more(logits):
    more = logits + np.eye(logits.shape[1], dtype=np.float32)[0] * -2
    assert best_tags(logits, -2.0).tolist() == best_tags(more).tolist()


@given(st.lists(st.integers(0, 4), max_size=8).filter(is_allowed))
def test_spans_of_tags_make_the_tags_again(tags):
    again = np.zeros(len(tags), int)
    for first, last, label in runs(np.array(tags, int)):
        again[first : last + 1] = 2 + 2 * label
        again[first] = 1 + 2 * label
    assert again.tolist() == tags


def of(golds, lead):
    """Return logits that name the gold tag, and that of being outside by `lead` less than the surest of them."""
    logits = [np.eye(TAGS, dtype=np.float32)[gold] * 4 for gold in golds]
    for values, gold in zip(logits, golds, strict=True):
        values[:, 0] = np.where(gold > 0, 4 + lead, 4)
    return logits


def test_a_head_that_is_too_careful_is_made_to_find_more():
    assert fit_outside(of(GOLDS, 0.6), GOLDS) in (-1.5, -1.25, -1.0, -0.75)


def test_a_head_that_finds_too_much_is_held_back():
    logits = of(GOLDS, -4)
    for values, gold in zip(logits, GOLDS, strict=True):
        values[gold == 0, 1] = 4.1  # a span on each token outside
    assert fit_outside(logits, GOLDS) > 0


def test_a_head_that_is_right_is_left_alone():
    assert fit_outside(of(GOLDS, -4), GOLDS) == 0


def test_what_half_of_the_rows_want_and_half_do_not_is_left_alone():
    rows = len(GOLDS) // 2
    shy, bold = of(GOLDS[:rows], 0.6), of(GOLDS[rows:], -4)
    for values, gold in zip(bold, GOLDS[rows:], strict=True):
        values[gold == 0, 1] = 3.9  # a span on each token outside as soon as more are wanted
    assert fit_outside(shy + bold, GOLDS) == 0


def test_rows_without_spans_and_no_rows_choose_none():
    nothing = [np.zeros(3, int)] * 4
    assert fit_outside([np.eye(TAGS, dtype=np.float32)[gold] for gold in nothing], nothing) == 0
    assert fit_outside([], []) == 0
