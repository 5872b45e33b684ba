"""The sizes of an encoder, shared by the engines, the catalogue and training. Knows nothing of torch or files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of a BERT-family encoder. `first_position` is 0 for BERT and `pad + 1` for the RoBERTa family."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    types: int
    epsilon: float
    first_position: int = 0
