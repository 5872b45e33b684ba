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


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a Llama-family decoder, and the few things in which the families differ.

    `head` is the width of one attention head. `window` is how far back a local layer sees (0: every layer sees all);
    then every `global_every`-th layer sees all, and the others turn positions by `local_theta`. `frequencies` divide
    the rotary frequencies of long-context Llamas `[head / 2]`.
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    intermediate: int
    positions: int
    epsilon: float
    theta: float
    biased: bool = False  # Qwen2: queries, keys and values have biases
    normed_heads: bool = False  # Qwen3, Gemma 3: queries and keys are normalised per head
    gemma: bool = False  # norms of `1 + weight` around each sublayer, scaled embeddings, gelu
    query_scale: float = 0.0  # 0: head ** -0.5
    window: int = 0
    global_every: int = 1
    local_theta: float = 10000.0
    frequencies: tuple[float, ...] = ()

    def sees_all(self, layer: int) -> bool:
        """Tell whether a layer attends to the whole context."""
        return not self.window or (layer + 1) % self.global_every == 0
