"""A decoder of bytes whose logits are a fixed function of all it has read: knows nothing, but keeps to the protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from umbel.decoding.base import Counters, Floats, Prefix, Stem, Tokens

START, END = 256, 257
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
SPECIAL = {"<|im_start|>": START, "<|im_end|>": END}

Says = Callable[[bytes], bytes | None]  # what follows a text so far, or None for anything


class ToyDecoder:
    """`says` gives the bytes of an answer from the conversation's bytes; without it any byte may follow."""

    name, sha256, vocabulary = "toy", "0" * 64, 258
    begin: tuple[int, ...] = ()
    ends = frozenset({END})

    def __init__(self, says: Says | None = None, context: int = 4096, template: str = TEMPLATE) -> None:
        self.context, self.template, self.counters = context, template, Counters()
        self._says = says
        self.read: list[tuple[int, ...]] = []

    def tokens(self, text: str, special: bool = False) -> list[int]:
        if special:
            for words, token in SPECIAL.items():
                head, found, tail = text.partition(words)
                if found:
                    return [*self.tokens(head, True), token, *self.tokens(tail, True)]
        return list(text.encode("utf-8", "replace"))

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < START else b""

    def logits(self, tokens: Tokens) -> Floats:
        digest = hashlib.sha256(np.asarray(tokens, np.int32).tobytes()).digest()
        found = np.random.default_rng(list(digest)).normal(size=self.vocabulary).astype(np.float32)
        if self._says:
            last = max((at for at, token in enumerate(tokens) if token == START), default=0)
            asked = b"".join(map(self.piece, tokens[:last]))
            answer, done = self._says(asked), b"".join(map(self.piece, tokens[last:])).removeprefix(b"assistant\n")
            if answer is not None:
                found[END if len(done) >= len(answer) else answer[len(done)]] = 50
        return found

    def keep(self, tokens: Tokens, seconds: float | None = None) -> Prefix:
        self.read.append(tuple(tokens))
        return Prefix(tuple(tokens), self.logits(tokens))

    def score(self, prefix: Prefix, stems: Sequence[Stem], adapter: str | None = None) -> list[list[Floats]]:
        return [[self._score([*prefix.tokens, *stem.tokens], leaf) for leaf in stem.leaves] for stem in stems]

    def _score(self, before: list[int], leaf: Tokens) -> Floats:
        rows = np.stack([self.logits([*before, *leaf[:at]]) for at in range(len(leaf))]).astype(np.float64)
        rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
        return rows[np.arange(len(leaf)), list(leaf)].astype(np.float32)

    def grow(self, prefix: Prefix, rows: Sequence[Tokens], adapter: str | None = None) -> ToyBranches:
        return ToyBranches(self, [[*prefix.tokens, *row] for row in rows])


class ToyBranches:
    def __init__(self, decoder: ToyDecoder, rows: list[list[int]]) -> None:
        self._decoder, self._rows = decoder, rows
        self.closed = False
        self.logits = np.stack([decoder.logits(row) for row in rows])

    def grow(self, tokens: Sequence[int | None]) -> None:
        for row, token in enumerate(tokens):
            if token is not None:
                self._rows[row].append(token)
                self.logits[row] = self._decoder.logits(self._rows[row])

    def close(self) -> None:
        self.closed = True
