"""The reading head in torch, to train it: the same names and the same arithmetic as `reading`, for whole batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from umbel.reading import HEADS, REACH


class ReadingModel(nn.Module):
    """Where answers stand in texts; `reading` says what its inputs are."""

    def __init__(self, hidden: int, features: int, width: int = 128, blocks: int = 2, dropout: float = 0.15) -> None:
        super().__init__()
        self.hidden, self.dropout = hidden, dropout
        self.text, self.question = nn.Linear(features, width), nn.Linear(features, width)
        self.branch, self.root = nn.Linear(hidden, width), nn.Linear(hidden, width)
        self.seek, self.sought = nn.Linear(width, width), nn.Linear(width, width)
        self.shared_word = nn.Parameter(torch.randn(width) * 0.1)
        self.text_norm, self.question_norm, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.fuse = nn.Linear(5 * width, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.ends = nn.Linear(width, 2)

    def forward(
        self,
        texts: Tensor,
        mask: Tensor,
        which: Tensor,
        shared: Tensor,
        questions: Tensor,
        states: Tensor,
        asked: Tensor,
    ) -> Tensor:
        """Return the logits of beginnings and ends `[questions, tokens, 2]`.

        `texts` `[texts, tokens, features]` with `mask` `[texts, tokens]`; `which` `[questions]` is each question's
        text, `shared` `[questions, tokens]`; `questions` `[questions, length, features]`, `states` `[questions, length,
        hidden]`, `asked` `[questions, length]` their mask.
        """
        text = self.text_norm(self.text(self._by_part(texts)))[which]  # [questions, tokens, width]
        states = self._by_part(states)
        question = self.question_norm(self.question(self._by_part(questions)) + self.branch(states))
        found = _attend(self.seek(text), self.sought(question), question, asked)
        last = states[torch.arange(len(states)), asked.sum(1) - 1]  # [questions, hidden]
        root = self.root(last)[:, None]
        words = shared[..., None] * self.shared_word
        joined = torch.cat([text, found, text * found, root * text, words], -1)
        mixed = self.fuse(functional.dropout(joined, self.dropout, self.training))
        for block in self.blocks:
            mixed = block(mixed, mask[which])
        return self.ends(self.norm(mixed))  # type: ignore[no-any-return]

    def _by_part(self, features: Tensor) -> Tensor:
        parts = features.view(*features.shape[:-1], -1, self.hidden)
        return functional.layer_norm(parts, (self.hidden,)).flatten(-2)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.conv_norm, self.attention_norm, self.feed_norm = (nn.LayerNorm(width) for _ in range(3))
        self.conv = nn.Conv1d(width, width, 2 * REACH + 1, padding=REACH, groups=width)
        self.conv_out, self.attention_out = nn.Linear(width, width), nn.Linear(width, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.feed_in, self.feed_out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, mixed: Tensor, mask: Tensor) -> Tensor:
        near = (self.conv_norm(mixed) * mask[..., None]).transpose(1, 2)  # [questions, width, tokens]
        near = functional.silu(self.conv(near).transpose(1, 2))
        mixed = mixed + self._dropped(self.conv_out(near))
        query, key, value = self.qkv(self.attention_norm(mixed)).chunk(3, -1)
        mixed = mixed + self._dropped(self.attention_out(_attend(query, key, value, mask)))
        inner = functional.silu(self.feed_in(self.feed_norm(mixed)))
        return mixed + self._dropped(self.feed_out(inner))

    def _dropped(self, inputs: Tensor) -> Tensor:
        return functional.dropout(inputs, self.dropout, self.training)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attend in HEADS parts to the places of `mask` `[batch, keys]`, by plain products (backbones/bert.py says why)."""
    query, key, value = (each.reshape(*each.shape[:2], HEADS, -1).transpose(1, 2) for each in (query, key, value))
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # [batch, heads, queries, keys]
    weights = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min).softmax(-1)
    mixed: Tensor = weights @ value  # [batch, heads, queries, width/heads]
    return mixed.transpose(1, 2).flatten(-2)
