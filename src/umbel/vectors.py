"""Keeps the vectors of a joint training near the backbone's own, so that texts can still be compared by their cosine.

The target of a text is what the untouched backbone makes of it behind its prefix for queries ("query: " for the e5
family, Wang et al. 2024); the trained encoder learns to give the same vector without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from umbel.backbones.bert import BertEncoder
from umbel.records import Window
from umbel.weights import Backbone
from umbel.windows import behind


class VectorTeacher:
    """The untouched backbone; `loss` tells how far other hidden states are from its vectors."""

    def __init__(self, backbone: Backbone) -> None:
        self.encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).requires_grad_(False).eval()
        self.prefix = backbone.tokenizer.windows(backbone.prefix)[0].ids[1:-1] if backbone.prefix else None
        self.positions = backbone.shape.positions - backbone.shape.first_position
        self.pad = backbone.tokenizer.pad

    def loss(self, hidden: Tensor, mask: Tensor, windows: Sequence[Window]) -> Tensor:
        """Return one minus the cosine of each row's mean hidden to its target `[rows]`."""
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return 1 - functional.cosine_similarity(mean, self.vectors(windows), dim=-1)

    @torch.no_grad()
    def vectors(self, windows: Sequence[Window]) -> Tensor:
        """Return the untouched backbone's vectors of windows, of length 1 `[rows, hidden]`."""
        rows = [self._prefixed(window) for window in windows]
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.pad, np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        mask = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        hidden = self.encoder(torch.from_numpy(ids), mask)
        return functional.normalize(((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).float(), dim=-1)

    def _prefixed(self, window: Window) -> np.ndarray:
        return window.ids if self.prefix is None else behind(self.prefix, window.ids, self.positions)
