"""The optimiser of a training and its learning rate over time; needs torch, knows nothing of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from umbel.model import MultiTaskModel
    from umbel.spec import TrainSpec

MATRIX_SHARE = 0.2  # of the heads' rate for the readouts' square matrices


def optimizer_of(model: MultiTaskModel, settings: TrainSpec) -> torch.optim.Optimizer:
    """Return AdamW over what trains: each group with its `peak` rate, matrices of the encoder alone decayed."""
    read = list(model.readouts.values())
    heads = [*model.heads.parameters(), *(p for p in read if p.ndim < 2)]
    pointers = [p for p in read if p.ndim > 1]
    encoder = [p for p in model.encoder.parameters() if p.requires_grad]
    decayed = [p for p in encoder if p.ndim > 1]
    plain = [p for p in encoder if p.ndim < 2]
    groups = [
        {"params": decayed, "peak": settings.learning_rate, "weight_decay": settings.weight_decay},
        {"params": plain, "peak": settings.learning_rate, "weight_decay": 0.0},
        {"params": heads, "peak": settings.head_learning_rate, "weight_decay": 0.0},
        {"params": pointers, "peak": settings.head_learning_rate * MATRIX_SHARE, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), fused=True)


def schedule(fraction: float, warm_up: float) -> float:
    """Return the share of the peak learning rate: a linear warm-up, then a cosine to zero."""
    if fraction < warm_up:
        return min(max(fraction, 1e-3) / warm_up, 1.0)
    return 0.5 * (1 + float(np.cos(np.pi * (fraction - warm_up) / (1 - warm_up))))
