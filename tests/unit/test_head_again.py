"""A shipped head that is taught rows which nobody rated: what it learns, and what it keeps."""

from dataclasses import replace

import head
import numpy as np
import pytest
import torch
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.errors import InputError
from umbel.model import PooledHead

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
