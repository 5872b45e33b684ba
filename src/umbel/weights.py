"""A backbone as loaded: sizes, embedding table, tensors, tokenizer. Knows nothing of sources or torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umbel.shapes import EncoderShape
from umbel.tokenize import Tokenizer

Floats = NDArray[np.float32]

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"


class Embedding(Protocol):
    """A table of word embeddings `[vocabulary, hidden]`, kept as small as its file keeps it."""

    shape: tuple[int, int]

    def rows(self, indices: NDArray[np.integer[Any]]) -> Floats:
        """Return the rows at `indices` `[...]` as fp32 `[..., hidden]`."""

    def dense(self) -> Floats:
        """Return the whole table as fp32 `[vocabulary, hidden]`."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder. `sha256` names its weights; `tensors` carry the hub's BertModel names.

    The word embeddings are in `embedding` alone, for a runtime reads rows of them and never needs the fp32 table.
    `prefix` is what the backbone expects before a text that is compared with others by its vector.
    """

    name: str
    sha256: str
    shape: EncoderShape
    embedding: Embedding
    tensors: Mapping[str, Floats]
    tokenizer: Tokenizer
    licence: str = ""
    languages: tuple[str, ...] = ()
    prefix: str = ""

    def all_tensors(self) -> dict[str, Floats]:
        """Return every tensor, the word embeddings as fp32 among them: what a torch module is filled from."""
        return {**self.tensors, WORD_EMBEDDINGS: self.embedding.dense()}


def tensor_shapes(shape: EncoderShape) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor an encoder of `shape` has, by the hub's BertModel names."""
    hidden, wide = shape.hidden, shape.intermediate
    shapes: dict[str, tuple[int, ...]] = {
        WORD_EMBEDDINGS: (shape.vocabulary, hidden),
        "embeddings.position_embeddings.weight": (shape.positions, hidden),
        "embeddings.token_type_embeddings.weight": (shape.types, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(shape.layers):
        block = f"encoder.layer.{layer}"
        dense = dict.fromkeys([f"attention.self.{part}" for part in ("query", "key", "value")], (hidden, hidden))
        dense |= {"attention.output.dense": (hidden, hidden)}
        dense |= {"intermediate.dense": (wide, hidden), "output.dense": (hidden, wide)}
        for part, (outputs, inputs) in dense.items():
            shapes |= {f"{block}.{part}.weight": (outputs, inputs), f"{block}.{part}.bias": (outputs,)}
        norms += [f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"]
    return shapes | {f"{norm}.{part}": (hidden,) for norm in norms for part in ("weight", "bias")}
