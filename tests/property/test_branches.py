"""The operation itself on a random encoder: states of branch tokens, bit by bit, and against the training engine."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.backbones.bert import BertEncoder
from umbel.branch_graph import BranchEngine, build_branching_graph
from umbel.shapes import EncoderShape
from umbel.tree import Branch, rows_of
from umbel.weights import tensor_shapes

SHAPE = EncoderShape(50, 64, 3, 4, 128, 70, 2, 1e-12, first_position=2)
WORDS = "embeddings.word_embeddings.weight"
PAD, LENGTH = 1, 80  # a question of 10 tokens, six options of 9 and one more fit
WITHIN = {"float32": 1e-4, "bfloat16": 0.1}

nodes = st.lists(st.integers(3, 49), min_size=1, max_size=9).map(lambda ids: np.array(ids, np.int32))
questions = st.tuples(st.integers(3, 49), nodes).map(lambda parts: np.append(*parts).astype(np.int32))  # two at least
options = st.lists(nodes, max_size=6, unique_by=lambda ids: tuple(ids.tolist())).map(tuple)  # as questions have them
branches = st.builds(Branch, questions, st.just(0), options, st.just(1))
texts = st.lists(st.integers(3, 49), min_size=1, max_size=40).map(lambda ids: np.array(ids, np.int32))
FEW = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def tensors():
    random = np.random.default_rng(0)
    found = {n: (random.normal(size=s) * 0.3).astype(np.float32) for n, s in tensor_shapes(SHAPE).items()}
    return {n: v + 1 if n.endswith("LayerNorm.weight") else v for n, v in found.items()}


@pytest.fixture(scope="module")
def roles():
    return np.random.default_rng(1).normal(size=(2, SHAPE.hidden)).astype(np.float32)


class Reads:
    """Reads branches under a text: each one's states `[read, hidden]` of the tokens that `Rows.read` names."""

    def __init__(self, tensors, roles, precision):
        self.tensors, self.words, self.roles = tensors, tensors[WORDS], roles
        self.precision = precision
        self.engine = BranchEngine(build_branching_graph(SHAPE, tensors), SHAPE, precision)

    def keep(self, text, length=0):
        ids = np.full((1, length or len(text)), PAD)
        ids[0, : len(text)] = text
        (kept,) = self.engine.keep(self.words[ids], np.array([len(text)], np.int32))
        return kept

    def branch(self, kept, found, length=LENGTH):
        rows = rows_of(found, PAD, length)
        embedded = self.words[rows.ids[rows.used]] + self.roles[rows.roles[rows.used]]
        return np.split(self.engine.branch(embedded, rows, kept), np.cumsum([len(read) for read in rows.read])[:-1])


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def reads(request, tensors, roles):
    return Reads(tensors, roles, request.param)


@FEW
@given(texts, st.lists(branches, min_size=1, max_size=12), st.data())
def test_a_branch_has_the_same_bits_in_any_company_and_order(reads, text, found, data):
    kept = reads.keep(text)
    together = reads.branch(kept, found)
    order = data.draw(st.permutations(range(len(found))))
    some = order[: data.draw(st.integers(1, len(found)))]
    for place, states in zip(some, reads.branch(kept, [found[place] for place in some]), strict=True):
        np.testing.assert_array_equal(states, together[place])


@FEW
@given(texts, branches, st.integers(1, 30), st.integers(1, 30))
def test_a_branch_has_the_same_bits_however_many_tokens_are_read_with_it(reads, text, branch, before, after):
    """From two tokens to a thousand: no number of them may be computed in another way."""
    kept = reads.keep(text)
    (alone,) = reads.branch(kept, [branch])
    other = Branch(np.arange(3, 38, dtype=np.int32), 0)
    found = reads.branch(kept, [*[other] * before, branch, *[other] * after])
    np.testing.assert_array_equal(found[before], alone)


@FEW
@given(texts, branches, st.randoms())
def test_the_order_of_options_changes_no_bit(reads, text, branch, random):
    kept = reads.keep(text)
    order = random.sample(range(len(branch.options)), len(branch.options))
    (first,) = reads.branch(kept, [branch])
    (second,) = reads.branch(kept, [Branch(branch.question, 0, tuple(branch.options[place] for place in order), 1)])
    asked = len(first) - len(order)
    np.testing.assert_array_equal(first[:asked], second[:asked])
    np.testing.assert_array_equal(first[asked:][order], second[asked:])


@FEW
@given(texts, branches, nodes)
def test_an_option_sees_no_other_option(reads, text, branch, added):
    """Within what rounding does to a row that is laid out in another way."""
    kept = reads.keep(text)
    more = Branch(branch.question, 0, (*branch.options, added), 1)
    (before,), (after,) = reads.branch(kept, [branch]), reads.branch(kept, [more])
    np.testing.assert_allclose(after[:-1], before[-len(after) + 1 :], atol=WITHIN[reads.precision])


@FEW
@given(texts, branches)
def test_the_text_knows_nothing_of_branches(reads, text, branch):
    """Encoding gives the same hidden states whether or not they are kept, before and after branches are read."""
    embedded, lengths = reads.words[text[None]], np.array([len(text)], np.int32)
    before = reads.engine.encode(embedded, lengths)[0]
    kept = reads.keep(text)
    copies = [each.copy() for each in kept.layers]
    reads.branch(kept, [branch])
    np.testing.assert_array_equal(kept.hidden, before)
    np.testing.assert_array_equal(reads.engine.encode(embedded, lengths)[0], before)
    for each, copied in zip(kept.layers, copies, strict=True):
        np.testing.assert_array_equal(each, copied)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_scores_however_large_give_states(tensors, roles, precision):
    louder = {n: v * 50 if n.endswith(("query.weight", "key.weight")) else v for n, v in tensors.items()}
    reads = Reads(louder, roles, precision)
    branch = Branch(np.arange(3, 12, dtype=np.int32), 0, (np.arange(12, 20, dtype=np.int32),), 1)
    for text in (np.arange(3, 40, dtype=np.int32), np.array([7], np.int32)):
        (states,) = reads.branch(reads.keep(text), [branch])
        assert np.isfinite(states).all()


@FEW
@given(st.lists(texts, min_size=1, max_size=6), branches)
def test_a_text_kept_in_a_batch_answers_as_one_kept_alone(reads, found, branch):
    ids = np.full((len(found), 40), PAD)
    for row, text in enumerate(found):
        ids[row, : len(text)] = text
    together = reads.engine.keep(reads.words[ids], np.array([len(text) for text in found], np.int32))
    for text, kept in zip(found, together, strict=True):
        alone = reads.keep(text, length=40)
        np.testing.assert_array_equal(kept.hidden, alone.hidden)
        np.testing.assert_array_equal(reads.branch(kept, [branch])[0], reads.branch(alone, [branch])[0])


@FEW
@given(texts, st.lists(branches, min_size=1, max_size=5))
def test_both_engines_agree(reads, text, found):
    rows = rows_of(found, PAD, LENGTH)
    encoder = BertEncoder.from_tensors(SHAPE, reads.tensors).eval()
    with torch.no_grad():
        ids = torch.from_numpy(text[None].astype(np.int64))
        encoding = encoder.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        added = torch.from_numpy(reads.roles)[torch.from_numpy(rows.roles)]
        given_rows = (torch.from_numpy(each) for each in (rows.ids, rows.positions))
        first = torch.zeros(len(found), dtype=torch.long)
        wanted = encoder.branch(encoding, first, *given_rows, added, torch.from_numpy(rows.attends)).numpy()
    states = np.concatenate(reads.branch(reads.keep(text), found))
    wanted = wanted[rows.used][np.concatenate(rows.read)]
    away = np.linalg.norm(states - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert away.max() < WITHIN[reads.precision]


def test_threads_that_read_at_once_get_their_own_answers(reads):
    random = np.random.default_rng(2)
    draw = lambda count: random.integers(3, 50, count).astype(np.int32)  # noqa: E731
    kept = [reads.keep(draw(20 + place)) for place in range(4)]
    found = [[Branch(draw(9), 0, (draw(4), draw(5)), 1) for _ in range(3 + place)] for place in range(4)]
    wanted = [np.concatenate(reads.branch(*each)) for each in zip(kept, found, strict=True)]

    def ask(place):
        return place, np.concatenate(reads.branch(kept[place], found[place]))

    with ThreadPoolExecutor(4) as pool:
        for place, states in pool.map(ask, [place % 4 for place in range(80)]):
            np.testing.assert_array_equal(states, wanted[place])
