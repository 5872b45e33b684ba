"""Weights of conflicting gradients: what each way promises, against TorchJD and a slow, obvious search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.aggregation import GRADIENT_WAYS, nash, project, weighing
from umbel.errors import MissingExtraError

torchjd = pytest.importorskip("torchjd")
gramians = st.tuples(st.integers(2, 6), st.integers(2, 40), st.integers(0, 99)).map(
    lambda each: drawn(torch.randn(each[0], each[1], generator=torch.Generator().manual_seed(each[2])))
)


def drawn(gradients):
    return gradients @ gradients.T


@settings(max_examples=30)
@given(gramians)
def test_nash_weights_solve_their_equation(gramian):
    gramian = gramian.double()
    weights = nash(gramian)
    assert (weights > 0).all()
    solid = gramian + 1e-6 * gramian.diagonal().mean() * torch.eye(len(gramian))  # as `nash` makes it
    product = solid @ weights * weights
    assert torch.allclose(product, product.mean().expand_as(product), rtol=1e-3)  # each a_i (G a)_i is the same


def test_nash_weights_of_orthogonal_gradients_undo_their_lengths():
    weights = nash(torch.diag(torch.tensor([1.0, 4.0, 16.0])))
    assert torch.allclose(weights / weights[0], torch.tensor([1.0, 0.5, 0.25]), atol=1e-4)


@settings(max_examples=30)
@given(gramians)
def test_a_projection_is_the_best_of_those_it_may_take(gramian):
    wishes = torch.eye(len(gramian)) / len(gramian)
    found = project(wishes, gramian).double()
    scaled = gramian.double() / gramian.diagonal().mean()
    assert (found >= wishes - 1e-6).all()
    slope = found @ scaled
    assert (slope > -1e-4).all()  # the combined gradient opposes no task
    assert (slope * (found - wishes)).abs().max() < 1e-3  # and only what must move does


def test_upgrad_is_torchjds_with_its_own_solver():
    """The figures are TorchJD 0.18's with quadprog, which is under the GPL and so no dependency."""
    torch.manual_seed(0)
    gradients = torch.randn(5, 50)
    wanted = torch.tensor([0.3162, 0.2532, 0.2884, 0.2380, 0.2075])
    assert torch.allclose(weighing("upgrad")(drawn(gradients)), wanted, atol=1e-4)


@pytest.mark.parametrize("way", GRADIENT_WAYS)
def test_gradients_that_agree_keep_their_direction(way):
    gradient = torch.randn(1, 20, generator=torch.Generator().manual_seed(1))
    gradients = torch.cat([gradient, gradient, gradient])
    combined = weighing(way)(drawn(gradients)) @ gradients
    assert float(torch.cosine_similarity(combined, gradient[0], 0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("way", ["cagrad", "nash-mtl", "upgrad", "pcgrad"])
def test_two_that_conflict_are_both_served(way):
    gradients = torch.tensor([[1.0, 0.1], [-0.8, 0.3]])
    combined = weighing(way)(drawn(gradients)) @ gradients
    assert (gradients @ combined >= -1e-4).all()
    assert combined.norm() > 0.05


def test_a_missing_library_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchjd.aggregation", None)
    with pytest.raises(MissingExtraError, match=r"umbel\[balance\]"):
        weighing("pcgrad")
    weighing("nash-mtl")
