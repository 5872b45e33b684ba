"""Texts written by a decoder here: K of them grow together on one prefix, streamed, within limits.

Knows nothing of tasks, packs or servers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umbel.decoding.base import Cancelled, Chunk, Decoder, Finish, Floats, Limits, Message, Prefix, Written
from umbel.decoding.chat import LEAST_ROOM, Chat, Fitted
from umbel.decoding.grammar import Constraint, Grammars
from umbel.decoding.sampling import Reader, Sampler, check
from umbel.errors import InputError

MOST_TEXTS = 32


class LocalWriter:
    """Writes with a decoder; the conversation so far stays read, so its next turn reads only what is new."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self.name = decoder, decoder.name
        self.chat, self.grammars = Chat(decoder), Grammars(decoder)

    def stream(
        self,
        messages: Sequence[Message],
        limits: Limits,
        texts: int = 1,
        cancelled: Cancelled | None = None,
        adapter: str | None = None,
    ) -> LocalStream:
        """Write `texts` answers at once; nothing is read before the first chunk is asked for.

        Raises:
            InputError: the conversation is empty or does not fit, or a limit is impossible.
        """
        check(limits)
        if not 1 <= texts <= MOST_TEXTS:
            raise InputError(f"texts: found {texts}, expected 1 to {MOST_TEXTS}")
        room = self.decoder.context - limits.max_tokens
        if room < LEAST_ROOM:
            most = self.decoder.context - LEAST_ROOM
            raise InputError(f"max_tokens: found {limits.max_tokens}, {self.name} has room for {most}")
        fitted = self.chat.fit(messages, room)
        constraints = [self.grammars.schema(limits.schema) for _ in range(texts)] if limits.schema else None
        own = len(self.chat.around("", "x")[1]) if adapter else 0  # an adapter acts from the answer's header on
        return LocalStream(self.decoder, fitted, limits, texts, cancelled, adapter, constraints, own)


@dataclass
class _Growing:
    """One text on its way."""

    number: int
    sampler: Sampler
    reader: Reader
    constraint: Constraint | None
    text: str = ""
    tokens: int = 0
    finish: Finish | None = None

    def take(self, token: int, decoder: Decoder, most: int) -> str:
        """Add a token and return the characters that are certain by it."""
        if token in decoder.ends:
            self.finish = "end"
            return self._give(b"", True)
        self.tokens += 1
        if self.constraint:
            self.constraint.take(token)
        full = self.tokens >= most
        done = bool(self.constraint and self.constraint.ended)
        given = self._give(decoder.piece(token), full or done)
        if self.reader.stopped:
            self.finish = "stop"
        elif done or full:
            self.finish = "end" if done else "length"
        return given

    def close(self, finish: Finish) -> str:
        """End the text where it stands and return what was held back."""
        self.finish = finish
        return self._give(b"", True)

    def _give(self, piece: bytes, last: bool) -> str:
        given = self.reader.feed(piece, last)
        self.text += given
        return given


class LocalStream:
    """Texts being written; iterate over their chunks. `written` holds the texts, in order, once they have ended."""

    def __init__(
        self,
        decoder: Decoder,
        fitted: Fitted,
        limits: Limits,
        texts: int,
        cancelled: Cancelled | None,
        adapter: str | None,
        constraints: Sequence[Constraint] | None,
        own: int = 0,
    ) -> None:
        self.written: list[Written] = []
        self._own = own  # tokens at the end of the prompt that are each branch's own
        self._decoder, self._fitted, self._limits, self._adapter = decoder, fitted, limits, adapter
        self._cancelled = cancelled or (lambda: False)
        self._growing = [
            _Growing(n, Sampler(limits, n), Reader(limits.stop), constraints[n] if constraints else None)
            for n in range(texts)
        ]

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks as they come.

        Raises:
            TimeLimitError: the conversation was not read in time.
        """
        began = time.perf_counter()
        cut = len(self._fitted.tokens) - self._own
        prefix = self._prefix(self._fitted.tokens[:cut], began)
        branches = self._decoder.grow(prefix, [self._fitted.tokens[cut:]] * len(self._growing), self._adapter)
        first = 0.0
        try:
            while any(each.finish is None for each in self._growing):
                yield from self._check_limits(began)
                picked = self._pick(branches.logits)
                first = first or time.perf_counter() - began
                for each, token in zip(self._growing, picked, strict=True):
                    if token is not None:
                        given = each.take(token, self._decoder, self._limits.max_tokens)
                        if given or each.finish:
                            yield Chunk(given, each.number, each.finish)
                alive = [t if each.finish is None else None for each, t in zip(self._growing, picked, strict=True)]
                if any(token is not None for token in alive):
                    branches.grow(alive)
        finally:
            branches.close()
            self.written = [self._result(each, first, time.perf_counter() - began) for each in self._growing]

    def _prefix(self, tokens: Sequence[int], began: float) -> Prefix:
        left = self._limits.seconds - (time.perf_counter() - began)
        return self._decoder.keep(tokens, max(left, 1e-6))

    def _pick(self, logits: Floats) -> list[int | None]:
        picked: list[int | None] = []
        for each in self._growing:
            allowed = each.constraint.allowed() if each.constraint and each.finish is None else None
            picked.append(None if each.finish else each.sampler.pick(logits[each.number], allowed))
        return picked

    def _check_limits(self, began: float) -> Iterator[Chunk]:
        """End all texts when time is up or nobody wants them any more."""
        over: Finish | None = "cancelled" if self._cancelled() else None
        if over is None and time.perf_counter() - began > self._limits.seconds:
            over = "time"
        if over:
            for each in self._growing:
                if each.finish is None:
                    yield Chunk(each.close(over), each.number, over)

    def _result(self, each: _Growing, first: float, seconds: float) -> Written:
        fitted = self._fitted
        finish = each.finish or "cancelled"  # the caller stopped reading
        left_out = (fitted.dropped_turns, fitted.cut_tokens)
        return Written(each.text, finish, each.tokens, *left_out, seconds, first, len(fitted.tokens))
