"""The low-rank change of one weight matrix as a torch parametrisation; `adapters` attaches it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """`W -> W + b @ a`, with `a` `[rank, inputs]` drawn at random and `b` `[outputs, rank]` starting at zero."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) * layer.in_features**-0.5)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight `[outputs, inputs]`."""
        return weight + self.b @ self.a
