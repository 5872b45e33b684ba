"""A BERT-family encoder (BERT, RoBERTa, XLM-R, e5) in torch, with post-layer normalisation and learned positions.

Parameter names are the hub's BertModel names, so weights load without a map. Equal to `transformers.BertModel` and
`XLMRobertaModel` on the same weights (tests/integration/test_bert_parity.py). Knows nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from umbel.errors import BackboneError
from umbel.shapes import EncoderShape

KeyValue = tuple[Tensor, Tensor]  # each [batch, heads, tokens, hidden/heads]


@dataclass(frozen=True)
class Encoding:
    """What reading a batch of texts gives: `hidden` `[batch, tokens, hidden]`, `mask`, each layer's keys and values."""

    hidden: Tensor
    mask: Tensor
    kept: Sequence[KeyValue]


class _Projections(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))


class _Residual(nn.Module):
    """`LayerNorm(residual + dense(x))`."""

    def __init__(self, inputs: int, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, epsilon)

    def forward(self, inputs: Tensor, residual: Tensor, dropout: float) -> Tensor:
        update = functional.dropout(self.dense(inputs), dropout, self.training)
        return self.LayerNorm(residual + update)  # type: ignore[no-any-return]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attend by plain products while training on a CPU, where the fused kernel's backward pass is twice as slow."""
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return functional.scaled_dot_product_attention(query, key, value, mask)
    scores = query @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    mixed: Tensor = weights.to(value.dtype) @ value
    return mixed


class _Attention(nn.Module):
    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.self = _Projections(shape.hidden)
        self.output = _Residual(shape.hidden, shape.hidden, shape.epsilon)

    def forward(self, hidden: Tensor, mask: Tensor, dropout: float, before: KeyValue | None) -> tuple[Tensor, KeyValue]:
        batch, tokens, width = hidden.shape
        query, key, value = (
            project(hidden).view(batch, tokens, self.heads, -1).transpose(1, 2)  # [batch, heads, tokens, hidden/heads]
            for project in (self.self.query, self.self.key, self.self.value)
        )
        own = key, value
        if before:
            key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        mixed = _attend(query, key, value, mask)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)  # [batch, tokens, hidden]
        return self.output(mixed, hidden, dropout), own


class _Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class _Layer(nn.Module):
    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.attention = _Attention(shape)
        self.intermediate = _Dense(shape.hidden, shape.intermediate)
        self.output = _Residual(shape.intermediate, shape.hidden, shape.epsilon)

    def forward(self, hidden: Tensor, mask: Tensor, dropout: float, before: KeyValue | None) -> tuple[Tensor, KeyValue]:
        hidden, own = self.attention(hidden, mask, dropout, before)
        wide = functional.gelu(self.intermediate.dense(hidden))  # [batch, tokens, intermediate]
        return self.output(wide, hidden, dropout), own


class _Embeddings(nn.Module):
    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.first_position = shape.first_position
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, shape.epsilon)

    def forward(self, ids: Tensor, positions: Tensor, roles: Tensor | None = None) -> Tensor:
        """Embed ids; `positions` count from 0, `roles` `[..., hidden]` are added to what marks no role."""
        embedded = self.word_embeddings(ids) + self.position_embeddings(positions + self.first_position)
        embedded = embedded + self.token_type_embeddings.weight[0]
        return self.LayerNorm(embedded if roles is None else embedded + roles)  # type: ignore[no-any-return]


class _Stack(nn.Module):
    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))


class BertEncoder(nn.Module):
    """Encodes right-padded token ids. Dropout acts on the sublayers' outputs while training."""

    def __init__(self, shape: EncoderShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.dropout = shape, dropout
        self.embeddings = _Embeddings(shape)
        self.encoder = _Stack(shape)

    @classmethod
    def from_tensors(cls, shape: EncoderShape, tensors: Mapping[str, Any], dropout: float = 0.0) -> BertEncoder:
        """Build the encoder from tensors under the hub's names (numpy arrays or torch tensors).

        Raises:
            BackboneError: a tensor is missing or has another shape.
        """
        with torch.device("meta"):
            model = cls(shape, dropout)
        wanted = dict(model.named_parameters())
        for name, parameter in wanted.items():
            if name not in tensors or tuple(tensors[name].shape) != tuple(parameter.shape):
                found = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise BackboneError(f"{name}: found {found}, expected {tuple(parameter.shape)}")
        state = {name: torch.tensor(tensors[name], dtype=torch.float32) for name in wanted}
        model.load_state_dict(state, assign=True)
        return model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states `[batch, tokens, hidden]`.

        `ids` is `[batch, tokens]`; `mask` is `[batch, tokens]` boolean, true where a token may be attended to.
        """
        return self.encode(ids, mask).hidden

    def encode(self, ids: Tensor, mask: Tensor) -> Encoding:
        """Return the last hidden states with the keys and values of every layer, for branches to hang from."""
        hidden = self.embeddings(ids, torch.arange(ids.shape[1], device=ids.device))
        attend = mask[:, None, None, :]  # [batch, 1, 1, tokens]
        kept = []
        for layer in self.encoder.layer:
            hidden, own = layer(hidden, attend, self.dropout, None)
            kept.append(own)
        return Encoding(hidden, mask, kept)

    def branch(
        self, encoding: Encoding, texts: Tensor, ids: Tensor, positions: Tensor, roles: Tensor, attends: Tensor
    ) -> Tensor:
        """Return the hidden states `[rows, length, hidden]` of branch tokens, which the encoding never sees.

        `texts` `[rows]` names each row's text in the encoding. `ids` and `positions` are `[rows, length]`, `roles`
        `[rows, length, hidden]` what is added to the embeddings, `attends` `[rows, length, length]` boolean: which
        tokens of its row a token sees. It sees all tokens of its text.
        """
        hidden = self.embeddings(ids, positions, roles)
        text = encoding.mask[texts][:, None, :].expand(-1, ids.shape[1], -1)  # [rows, length, tokens]
        mask = torch.cat([text, attends], 2)[:, None]
        for layer, (key, value) in zip(self.encoder.layer, encoding.kept, strict=True):
            hidden, _ = layer(hidden, mask, self.dropout, (key[texts], value[texts]))
        return hidden  # type: ignore[no-any-return]
