"""A Llama-family decoder in torch: Llama, SmolLM2, Qwen2, Qwen2.5, Qwen3 and Gemma 3, which differ in a few lines.

Parameter names are the hub's, so weights load without a map. Equal to transformers' models on the same weights
(tests/integration/test_llama_parity.py). `encode` reads a prefix, `branch` appends tokens one way; low-rank adapters
act on branches alone (activated LoRA, Greenewald et al. 2025), so all branches share one prefix. Knows nothing of
tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from umbel.errors import BackboneError
from umbel.shapes import DecoderShape

KeyValue = tuple[Tensor, Tensor]  # each [batch, kv_heads, tokens, head]
LowRank = Mapping[str, tuple[Tensor, Tensor]]  # by projection: down [rank, inputs], up [outputs, rank], scale applied
NO_ADAPTER: LowRank = {}


@dataclass(frozen=True)
class Encoding:
    """What reading prefixes gave: `hidden` `[batch, tokens, hidden]`, `mask`, each layer's keys and values."""

    hidden: Tensor
    mask: Tensor
    kept: Sequence[KeyValue]


class _Norm(nn.Module):
    """Divides by the root of the mean square; Gemma's weights are differences from one."""

    def __init__(self, width: int, shape: DecoderShape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.epsilon, self.offset = shape.epsilon, float(shape.gemma)

    def forward(self, hidden: Tensor) -> Tensor:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return hidden * scale * (self.offset + self.weight)


class _Attention(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        wide, narrow = shape.heads * shape.head, shape.kv_heads * shape.head
        self.q_proj = nn.Linear(shape.hidden, wide, shape.biased)
        self.k_proj = nn.Linear(shape.hidden, narrow, shape.biased)
        self.v_proj = nn.Linear(shape.hidden, narrow, shape.biased)
        self.o_proj = nn.Linear(wide, shape.hidden, bias=False)
        if shape.normed_heads:
            self.q_norm, self.k_norm = _Norm(shape.head, shape), _Norm(shape.head, shape)

    def forward(
        self, hidden: Tensor, turn: Tensor, mask: Tensor, before: KeyValue | None, adapter: LowRank
    ) -> tuple[Tensor, KeyValue]:
        batch, tokens, _ = hidden.shape
        query, key, value = (
            _project(self, name, hidden, adapter).view(batch, tokens, -1, self.shape.head).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )  # [batch, heads or kv_heads, tokens, head]
        if self.shape.normed_heads:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = _turned(query, turn), _turned(key, turn)
        own = key, value
        if before:
            key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        scale = self.shape.query_scale or self.shape.head**-0.5
        mixed = functional.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=True)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, -1)  # [batch, tokens, heads * head]
        return _project(self, "o_proj", mixed, adapter), own


class _FeedForward(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.gelu = shape.gemma
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, hidden: Tensor, adapter: LowRank) -> Tensor:
        gate = _project(self, "gate_proj", hidden, adapter)
        gate = functional.gelu(gate, approximate="tanh") if self.gelu else functional.silu(gate)
        return _project(self, "down_proj", gate * _project(self, "up_proj", hidden, adapter), adapter)


class _Layer(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.gemma = shape.gemma
        self.self_attn, self.mlp = _Attention(shape), _FeedForward(shape)
        self.input_layernorm, self.post_attention_layernorm = _Norm(shape.hidden, shape), _Norm(shape.hidden, shape)
        if shape.gemma:
            self.pre_feedforward_layernorm = _Norm(shape.hidden, shape)
            self.post_feedforward_layernorm = _Norm(shape.hidden, shape)

    def forward(
        self, hidden: Tensor, turn: Tensor, mask: Tensor, before: KeyValue | None, adapter: LowRank
    ) -> tuple[Tensor, KeyValue]:
        mixed, own = self.self_attn(self.input_layernorm(hidden), turn, mask, before, _within(adapter, "self_attn"))
        if self.gemma:
            hidden = hidden + self.post_attention_layernorm(mixed)
            wide = self.mlp(self.pre_feedforward_layernorm(hidden), _within(adapter, "mlp"))
            return hidden + self.post_feedforward_layernorm(wide), own
        hidden = hidden + mixed
        return hidden + self.mlp(self.post_attention_layernorm(hidden), _within(adapter, "mlp")), own


class _Body(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm = _Norm(shape.hidden, shape)


class LlamaDecoder(nn.Module):
    """Reads right-padded token ids; gives hidden states, and logits of the next token from them."""

    def __init__(self, shape: DecoderShape, tied: bool = True) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape)
        self.lm_head = None if tied else nn.Linear(shape.hidden, shape.vocabulary, bias=False)

    @classmethod
    def from_tensors(cls, shape: DecoderShape, tensors: Mapping[str, Any]) -> LlamaDecoder:
        """Build the decoder from tensors under the hub's names; without an `lm_head` the embeddings serve as one.

        Raises:
            BackboneError: a tensor is missing or has another shape.
        """
        with torch.device("meta"):
            model = cls(shape, "lm_head.weight" not in tensors)
        state = {}
        for name, parameter in model.named_parameters():
            value = tensors.get(name)  # dequantised here, once
            if value is None or tuple(value.shape) != tuple(parameter.shape):
                found = "nothing" if value is None else tuple(value.shape)
                raise BackboneError(f"{name}: found {found}, expected {tuple(parameter.shape)}")
            state[name] = torch.tensor(value, dtype=torch.float32)
        model.load_state_dict(state, assign=True)
        return model.eval()

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits of each next token `[batch, tokens, vocabulary]`."""
        return self.logits(self.encode(ids, torch.ones_like(ids, dtype=torch.bool) if mask is None else mask).hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits of the next token `[..., vocabulary]` from hidden states `[..., hidden]`."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return functional.linear(hidden, head.weight)

    def encode(self, ids: Tensor, mask: Tensor) -> Encoding:
        """Read prefixes `[batch, tokens]`; `mask` `[batch, tokens]` is true where a token stands."""
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        attends = mask[:, None, :] & (positions[:, None, :] <= positions[:, :, None])  # [batch, tokens, tokens]
        hidden, kept = self._read(ids, positions, attends, positions, None, NO_ADAPTER)
        return Encoding(hidden, mask, kept)

    def branch(
        self,
        encoding: Encoding,
        texts: Tensor,
        ids: Tensor,
        positions: Tensor,
        attends: Tensor,
        adapter: LowRank = NO_ADAPTER,
    ) -> Tensor:
        """Return the hidden states `[rows, length, hidden]` of branch tokens, which the encoding never sees.

        `texts` `[rows]` names each row's prefix. `ids` and `positions` are `[rows, length]`, `attends`
        `[rows, length, length]` boolean: which tokens of its row a token sees. It sees all of its prefix. `adapter`
        acts on these tokens alone.
        """
        length = ids.shape[1]
        before = torch.arange(encoding.mask.shape[1], device=ids.device)[None].expand(len(ids), -1)
        mask = torch.cat([encoding.mask[texts][:, None, :].expand(-1, length, -1), attends], 2)
        kept = [(key[texts], value[texts]) for key, value in encoding.kept]
        hidden, _ = self._read(ids, positions, mask, torch.cat([before, positions], 1), kept, adapter)
        return hidden

    def _read(
        self,
        ids: Tensor,
        positions: Tensor,
        attends: Tensor,
        seen: Tensor,
        before: Sequence[KeyValue] | None,
        adapter: LowRank,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run all layers; `seen` are the positions of all tokens that may be attended to `[batch, all tokens]`."""
        shape, kept = self.shape, []
        hidden = self.model.embed_tokens(ids) * (shape.hidden**0.5 if shape.gemma else 1.0)
        near = attends & (positions[:, :, None] - seen[:, None, :] < shape.window) if shape.window else attends
        turns = {True: _turn(shape, positions, shape.theta), False: _turn(shape, positions, shape.local_theta)}
        for number, layer in enumerate(self.model.layers):
            everything = shape.sees_all(number)
            mask = (attends if everything else near)[:, None]
            inner = _within(adapter, f"model.layers.{number}")
            hidden, own = layer(hidden, turns[everything], mask, before[number] if before else None, inner)
            kept.append(own)
        return self.model.norm(hidden), kept


def _project(module: nn.Module, name: str, hidden: Tensor, adapter: LowRank) -> Tensor:
    projected: Tensor = getattr(module, name)(hidden)
    if name not in adapter:
        return projected
    down, up = adapter[name]
    return projected + functional.linear(functional.linear(hidden, down), up)


def _within(adapter: LowRank, prefix: str) -> LowRank:
    if not adapter:
        return adapter
    start = prefix + "."
    return {name.removeprefix(start): pair for name, pair in adapter.items() if name.startswith(start)}


def _turn(shape: DecoderShape, positions: Tensor, theta: float) -> Tensor:
    """Return the cosines and sines of rotary positions (Su et al. 2021) `[2, batch, 1, tokens, head]`."""
    steps = torch.arange(0, shape.head, 2, device=positions.device, dtype=torch.float32) / shape.head
    speeds = theta**-steps
    if shape.frequencies:
        speeds = speeds / torch.tensor(shape.frequencies, device=positions.device)
    angles = positions[:, None, :, None].float() * speeds  # [batch, 1, tokens, head / 2]
    angles = torch.cat([angles, angles], -1)
    return torch.stack([angles.cos(), angles.sin()])


def _turned(states: Tensor, turn: Tensor) -> Tensor:
    first, second = states.chunk(2, -1)
    return states * turn[0] + torch.cat([-second, first], -1) * turn[1]
