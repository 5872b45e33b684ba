"""A shipped head that is taught rows which nobody rated: what it learns, and what it keeps."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import head
import numpy as np
import pytest
import torch
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.errors import InputError
from umbel.model import MultiTaskModel, PooledHead, TokenHead
from umbel.records import Task, Window

HIDDEN = 8


def cluster(place, label, count=200):
    rows = torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(place))
    rows[:, place] += 6
    return rows, torch.full((count,), label)


@pytest.fixture
def rated():
    (first, zeros), (second, twos) = cluster(0, 0), cluster(1, 2)
    return torch.cat([first, second]), torch.cat([zeros, twos])


@pytest.fixture
def trained():
    """A head that tells the two rated labels apart, and knows nothing of label 1."""
    module = PooledHead(HIDDEN, 3)
    with torch.no_grad():
        module.weight.zero_()
        module.weight[0, 0] = module.weight[2, 1] = 1
    return module


def said(module, rows):
    return (rows @ module.weight.T + module.bias).argmax(1)


@pytest.mark.parametrize("had", [[True, True, True], [True, False, True]])
def test_it_learns_the_rows_and_keeps_what_it_said_of_rated_ones(trained, rated, had):
    rows, golds = rated
    plain, labels = cluster(2, 1)
    head.fit(trained, torch.tensor(had), rated, (plain, labels), 0.05)
    assert (said(trained, plain) == 1).float().mean() > 0.9
    assert (said(trained, rows) == golds).float().mean() > 0.97


def test_the_weight_decides_where_both_want_the_same_rows(trained, rated):
    _, golds = rated
    shares = []
    for weight in (0.01, 10.0):
        module = PooledHead(HIDDEN, 3)
        module.load_state_dict(trained.state_dict())
        head.fit(module, torch.tensor([True] * 3), rated, (rated[0], torch.ones_like(golds)), weight)
        shares.append(float((said(module, rated[0]) == 1).float().mean()))
    assert shares == [0, 1]


def test_it_moves_less_where_moving_costs(trained, rated):
    moved = []
    for near in (0.0, 0.1, 10.0):
        module = PooledHead(HIDDEN, 3)
        module.load_state_dict(trained.state_dict())
        head.fit(module, torch.tensor([True] * 3), rated, cluster(2, 1), 0.05, near)
        moved.append(float((module.weight - trained.weight).detach().norm()))
    assert moved[0] > 1.5 * moved[1] > 3 * moved[2]


def test_of_several_labels_those_that_texts_of_another_kind_lack_go_and_rated_ones_stay():
    rows = torch.cat([cluster(0, 0)[0], cluster(1, 0)[0]])
    golds = torch.zeros(len(rows), 2)
    golds[:200, 0] = golds[200:, 1] = 1
    module = PooledHead(HIDDEN, 2)
    with torch.no_grad():
        module.weight.zero_()
        module.weight[0, 0] = module.weight[1, 1] = module.weight[0, 2] = 1
        module.bias.fill_(-3)
    plain = cluster(2, 0)[0]
    assert said_any(module, plain).float().mean() > 0.9
    head.fit(module, torch.tensor([True, True]), (rows, golds), (plain, torch.zeros(len(plain), 2)), 0.05)
    assert said_any(module, plain).float().mean() < 0.05
    assert (((rows @ module.weight.T + module.bias) > 0) == (golds > 0)).all(1).float().mean() > 0.95


def said_any(module, rows):
    return ((rows @ module.weight.T + module.bias) > 0).any(1)


@pytest.mark.parametrize("kind", ["token-classification", "text-classification"])
def test_a_head_reads_the_tokens_that_cover_text_or_what_it_pools_of_them(kind, monkeypatch):
    task = Task("t", kind, ("a",), multi_label=kind == "text-classification")
    offsets = np.array([(0, 0), (0, 1), (1, 2), (2, 2), (0, 0)], np.int32)
    windows = [Window(np.full(length, length, np.int32), offsets[:length], 0) for length in (5, 3)]
    golds = [((1, 2, "a"),), ()] if kind == "token-classification" else [frozenset("a"), frozenset()]
    items = [SimpleNamespace(window=w, golds={"t": gold}) for w, gold in zip(windows, golds, strict=True)]
    items.append(SimpleNamespace(window=windows[0], golds={"other": 0}))
    module = (TokenHead if kind == "token-classification" else PooledHead)(2, 3 if "token" in kind else 1)
    model = SimpleNamespace(pad_windows=partial(MultiTaskModel.pad_windows, SimpleNamespace(pad=0)))

    def of(ids, mask):
        places = torch.arange(ids.shape[1], dtype=torch.float32).expand(ids.shape)
        return torch.stack([ids.float(), places], -1)  # tells each token by its row's length and its place

    part = SimpleNamespace(
        heads={"t": module},
        trainer=SimpleNamespace(model=model, items={"file": items, "not": items}),
        states=SimpleNamespace(of=of),
    )
    rows, labels = head.read(part, task, ["file"])
    found = sorted(zip(rows.tolist(), labels.tolist(), strict=True))
    if kind == "token-classification":  # by tag: outside, or the first of a span
        assert found == [([3, 1], 0), ([3, 2], 0), ([5, 1], 0), ([5, 2], 1)]
        monkeypatch.setattr(head, "MOST", 3)
        assert len(head.read(part, task, ["file"])[0]) == 3
    else:
        assert found == [([3, 1], [0]), ([5, 2], [1])]


def test_labels_are_added_as_zeros_and_none_is_taken_away(tmp_path):
    pack = write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"))
    before, task = pack.head("sentiment"), pack.tasks["sentiment"]
    declared = replace(task, labels=(task.labels[0], "none", *task.labels[1:]), out_of_scope="none")
    wider = head.as_declared(pack, declared, tmp_path / "wider")
    assert wider.tasks["sentiment"].labels[1] == wider.tasks["sentiment"].out_of_scope == "none"
    for name in ("weight", "bias"):
        found = wider.head("sentiment")[name]
        assert not found[1].any()
        np.testing.assert_array_equal(np.delete(found, 1, axis=0), before[name])
    np.testing.assert_array_equal(wider.head("sentiment")["query"], before["query"])
    with pytest.raises(InputError, match="no label"):
        head.as_declared(pack, replace(task, labels=task.labels[1:]), tmp_path / "fewer")
