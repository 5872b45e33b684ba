"""Branches in rows: what sees what, positions, places to read, cuts; and the torch engine against a dense forward."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_pack import write_tiny_backbone

from umbel import tree
from umbel.backbones.bert import BertEncoder
from umbel.catalogue import load_backbone
from umbel.tree import Branch, rows_of

ids = st.lists(st.integers(3, 40), min_size=1, max_size=6).map(lambda found: np.array(found, np.int32))
branches = st.builds(
    Branch, ids, st.just(1), st.lists(ids, max_size=5, unique_by=lambda o: tuple(o)).map(tuple), st.just(2)
)


@given(st.lists(branches, min_size=1, max_size=4))
def test_a_token_sees_its_own_node_and_its_question(found):
    rows = rows_of(found, pad=0)
    nodes, attends = rows.nodes, rows.attends
    for row, one, other in np.argwhere(np.ones_like(attends)):
        wanted = nodes[row, other] != tree.PADDING and nodes[row, other] in (nodes[row, one], tree.QUESTION)
        assert attends[row, one, other] == wanted


@given(st.lists(branches, min_size=1, max_size=4))
def test_reads_are_the_last_tokens_of_question_and_options(found):
    rows = rows_of(found, pad=0)
    for row, branch in enumerate(found):
        for place, part in zip(rows.reads[row], [branch.question, *branch.options], strict=True):
            first = place + 1 - len(part)
            np.testing.assert_array_equal(rows.ids[row, first : place + 1], part)
            start = 0 if part is branch.question else len(branch.question)
            np.testing.assert_array_equal(rows.positions[row, first : place + 1], start + np.arange(len(part)))
            assert set(rows.roles[row, first : place + 1]) == {1 if part is branch.question else 2}


@given(branches, st.randoms())
def test_the_order_of_options_changes_no_token_of_the_row(branch, random):
    order = list(range(len(branch.options)))
    random.shuffle(order)
    turned = Branch(branch.question, 1, tuple(branch.options[place] for place in order), 2)
    one, other = rows_of([branch], 0), rows_of([turned], 0)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.nodes, other.nodes)
    np.testing.assert_array_equal(one.reads[0][1:][order], other.reads[0][1:])


@given(branches, st.integers(8, 30))
def test_a_cut_keeps_every_option_once_within_the_bound(branch, most):
    parts = tree.cut(branch, most)
    places = [place for _, part in parts for place in part]
    assert sorted(places) == list(range(len(branch.options)))
    for part, held in parts:
        assert len(part) <= most or len(held) <= 1
        assert [option.tolist() for option in part.options] == [branch.options[place].tolist() for place in held]


@given(st.lists(branches, min_size=1, max_size=4))
def test_tokens_in_a_line_find_their_rows_and_back(found):
    rows = rows_of(found, pad=0, length=48)
    spread, place = rows.spread
    line = rows.ids[rows.used]
    assert len(line) == sum(map(len, found))
    np.testing.assert_array_equal(line[spread][rows.used], line)
    np.testing.assert_array_equal(rows.ids.reshape(-1)[place], line)
    for row, (branch, first) in enumerate(zip(found, rows.firsts, strict=True)):
        np.testing.assert_array_equal(line[first : first + len(branch)], rows.ids[row, : len(branch)])
        assert (line[spread[row, len(branch) :]] == rows.ids[row, len(branch) - 1]).all()


@given(st.lists(branches, min_size=1, max_size=4))
def test_answers_are_read_from_the_ends_of_parts_or_from_all_of_a_question_alone(found):
    rows = rows_of(found, pad=0, length=48)
    line = rows.ids[rows.used]
    for branch, read in zip(found, rows.read, strict=True):
        ends = [part[-1] for part in (branch.question, *branch.options)]
        assert line[read].tolist() == (ends if branch.options else branch.question.tolist())


def test_rows_are_padded_to_a_step():
    rows = rows_of([Branch(np.arange(3, 20, dtype=np.int32), 0)], pad=9)
    assert rows.ids.shape == (1, 32)
    assert (rows.ids[0, 17:] == 9).all()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    backbone = load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("tree") / "backbone"))
    return BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).eval()


def branched(encoder, encoding, texts, rows, roles):
    tensors = (torch.from_numpy(each) for each in (rows.ids, rows.positions))
    return encoder.branch(
        encoding, texts, *tensors, roles[torch.from_numpy(rows.roles)], torch.from_numpy(rows.attends)
    )


def inputs(encoder, seed=0):
    random = np.random.default_rng(seed)
    highest = encoder.shape.vocabulary
    text = torch.from_numpy(random.integers(3, highest, (2, 9)))
    mask = torch.arange(9) < torch.tensor([9, 6])[:, None]
    draw = lambda count: random.integers(3, highest, count).astype(np.int32)  # noqa: E731
    found = [Branch(draw(5), 0, (draw(2), draw(3)), 1), Branch(draw(4), 2), Branch(draw(6), 0, (draw(3),) * 1, 1)]
    roles = torch.from_numpy(random.normal(size=(3, encoder.shape.hidden)).astype(np.float32))
    return text, mask, found, roles


@torch.no_grad()
def test_a_branch_equals_one_dense_forward_in_which_the_text_sees_no_branch(encoder):
    """Text and branch in one sequence under a dense mask, layer by layer, through the modules of the encoder."""
    text, mask, found, roles = inputs(encoder)
    rows = rows_of(found, pad=0)
    texts = torch.tensor([0, 1, 1])
    got = branched(encoder, encoder.encode(text, mask), texts, rows, roles)
    for row, branch in enumerate(found):
        size, tokens = len(branch), 9
        ids = torch.cat([text[texts[row]], torch.from_numpy(rows.ids[row, :size])])[None]
        positions = torch.cat([torch.arange(tokens), torch.from_numpy(rows.positions[row, :size])])[None]
        added = torch.cat([torch.zeros(tokens, roles.shape[1]), roles[torch.from_numpy(rows.roles[row, :size])]])[None]
        dense = torch.zeros(tokens + size, tokens + size, dtype=torch.bool)
        dense[:, :tokens] = mask[texts[row]]
        dense[tokens:, tokens:] = torch.from_numpy(rows.attends[row, :size, :size])
        hidden = encoder.embeddings(ids, positions, added)
        for layer in encoder.encoder.layer:
            hidden, _ = layer(hidden, dense[None, None], 0.0, None)
        torch.testing.assert_close(got[row, :size], hidden[0, tokens:], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoder(text, mask)[texts[row]], hidden[0, :tokens], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_branch_does_not_depend_on_those_beside_it(encoder):
    text, mask, found, roles = inputs(encoder)
    encoding = encoder.encode(text, mask)
    together = branched(encoder, encoding, torch.tensor([0, 0, 0]), rows_of(found, 0), roles)
    for row, branch in enumerate(found):
        alone = branched(encoder, encoding, torch.tensor([0]), rows_of([branch], 0), roles)[0]
        torch.testing.assert_close(together[row, : len(branch)], alone[: len(branch)], atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_text_through_its_keys_and_values(encoder):
    text, mask, found, roles = inputs(encoder)
    states = branched(encoder, encoder.encode(text, mask), torch.tensor([0, 0, 1]), rows_of(found, 0), roles)
    states.sum().backward()
    first = encoder.encoder.layer[0].attention.self
    with torch.no_grad():
        assert first.key.weight.grad.abs().sum() > 0
    encoder.zero_grad()
