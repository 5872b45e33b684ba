"""Weights for gradients of several tasks that conflict, from their Gramian `[tasks, tasks]`; knows nothing of models.

The combined gradient is the sum of the tasks' gradients times these weights. PCGrad (Yu et al. 2020), CAGrad (Liu et
al. 2021), Aligned-MTL (Senushkin et al. 2023) and UPGrad (Quinton and Rey 2024) are TorchJD's. Its Nash-MTL and the
default projector of its UPGrad need solvers under the GPL, so both problems are solved here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from umbel.errors import MissingExtraError

if TYPE_CHECKING:
    from torchjd.linalg import DualConeProjector

GRADIENT_WAYS = ("pcgrad", "cagrad", "nash-mtl", "aligned-mtl", "upgrad")
CAUTION = 0.4  # how far CAGrad may leave the mean gradient; the paper's value for several tasks
TOLERANCE, RIDGE = 1e-9, 1e-8  # of slopes and weights; what makes a gramian invertible
NEWTON_STEPS = 100

Weigh = Callable[[Tensor], Tensor]


def weighing(way: str) -> Weigh:
    """Return the function from a Gramian to weights `[tasks]` of one of `GRADIENT_WAYS`.

    Raises:
        MissingExtraError: TorchJD, or the solver that its CAGrad needs, is not installed.
    """
    if way == "nash-mtl":
        return nash
    try:
        from torchjd.aggregation import AlignedMTLWeighting, CAGradWeighting, PCGradWeighting, UPGradWeighting

        made: Callable[..., Tensor]
        if way == "pcgrad":
            made = PCGradWeighting()
        elif way == "aligned-mtl":
            made = AlignedMTLWeighting()
        elif way == "cagrad":
            made = CAGradWeighting(c=CAUTION)
        else:
            made = UPGradWeighting(projector=_projector())
    except ImportError as error:
        raise MissingExtraError("torchjd, or cvxpy,", "balance") from error
    return lambda gramian: made(gramian)


def nash(gramian: Tensor) -> Tensor:
    """Return the weights `a` of Nash-MTL (Navon et al. 2022): `gramian @ a == 1 / a`, all positive.

    They minimise `a G a / 2 - sum(log a)`, which is convex; found by Newton steps that stay positive. The Gramian is
    scaled to a mean length of 1 first, which scales all weights alike.
    """
    size = float(gramian.diagonal().mean().clamp(min=1e-20))
    # A gradient of no length would ask for a weight without bound.
    scaled = gramian.double() / size + 1e-6 * torch.eye(len(gramian), dtype=torch.float64)
    weights = scaled.diagonal().rsqrt()
    for _ in range(NEWTON_STEPS):
        slope = scaled @ weights - 1 / weights
        if slope.norm() < 1e-9:
            break
        step = torch.linalg.solve(scaled + torch.diag(weights**-2), slope)
        length = 1.0
        while _too_far(scaled, weights, step, slope, length):
            length /= 2
        weights = weights - length * step
    return (weights / weights.sum()).to(gramian.dtype)  # only their proportions matter to Adam


def _too_far(scaled: Tensor, weights: Tensor, step: Tensor, slope: Tensor, length: float) -> bool:
    """Tell whether a step leaves the positive numbers, or lowers the function less than its slope promises."""
    moved = weights - length * step
    if length < 1e-12:
        return False
    if bool((moved <= 0).any()):
        return True

    def value(at: Tensor) -> Tensor:
        return at @ scaled @ at / 2 - at.log().sum()

    return bool(value(moved) > value(weights) - 1e-4 * length * (slope @ step) + 1e-12)


def project(wishes: Tensor, gramian: Tensor) -> Tensor:
    """Return for each row `u` of `wishes` the `v >= u` that minimises `v G v`: weights of UPGrad's projections.

    Exact, by active sets (Lawson and Hanson 1974, as for non-negative least squares); `[..., tasks]`.
    """
    size = gramian.diagonal().mean().clamp(min=1e-20)
    scaled = gramian.double() / size + RIDGE * torch.eye(len(gramian))  # tasks may outnumber directions
    rows = [_projected(row, scaled) for row in wishes.double().reshape(-1, len(scaled))]
    return torch.stack(rows).reshape(wishes.shape).to(wishes.dtype)


def _projected(wish: Tensor, gramian: Tensor) -> Tensor:
    """Add to `wish` what is missing: tasks are freed one by one, those that would fall below it are held again."""
    added = torch.zeros_like(wish)
    free = torch.zeros(len(wish), dtype=torch.bool)
    for _ in range(3 * len(wish)):
        slope = gramian @ (wish + added)
        slope[free] = 0.0
        if slope.min() > -TOLERANCE:
            break
        free[slope.argmin()] = True
        while free.any():
            solved = torch.zeros_like(wish)
            solved[free] = torch.linalg.solve(gramian[free][:, free], -(gramian @ wish)[free])
            falling = free & (solved <= 0)
            if not falling.any():
                added = solved
                break
            share = (added[falling] / (added[falling] - solved[falling])).min()
            added = added + share * (solved - added)
            free &= ~(falling & (added <= TOLERANCE))
            added[~free] = 0.0
    return wish + added


def _projector() -> DualConeProjector:
    from torchjd.linalg import DualConeProjector, PSDMatrix

    class Projector(DualConeProjector):
        def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:  # noqa: N803  (the library's names)
            return project(U, G)

    return Projector()
