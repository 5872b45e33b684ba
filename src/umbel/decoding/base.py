"""What Umbel asks of a decoder, and of what writes; the records that pass between them.

A decoder reads a prefix once and keeps it; branches hang from it, each blind to the others. Knows nothing of packs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tokens = Sequence[int]

Finish = Literal["end", "stop", "length", "time", "cancelled"]


@dataclass(frozen=True)
class Prefix:
    """Tokens that a decoder has read and may still keep, and the logits of what follows `[vocabulary]`."""

    tokens: tuple[int, ...]
    logits: Floats


@dataclass(frozen=True)
class Stem:
    """A branch with leaves: the tokens of a question, and under them its options, blind to each other."""

    tokens: Tokens
    leaves: Sequence[Tokens]


@dataclass
class Counters:
    """What a decoder has done: prefixes read and found kept, tokens of each sort, seconds."""

    prefixes: int = 0
    kept: int = 0
    prefix_tokens: int = 0
    branch_tokens: int = 0
    grown_tokens: int = 0
    seconds_prefix: float = 0.0
    seconds_branches: float = 0.0


class Branches(Protocol):
    """Branches that grow together from one prefix."""

    logits: Floats  # [branches, vocabulary], of each branch's next token

    def grow(self, tokens: Sequence[int | None]) -> None:
        """Append a token to each branch, or none where it is None; renews those branches' `logits`."""

    def close(self) -> None:
        """Let go of the branches; the prefix stays."""


class Decoder(Protocol):
    """A decoder-only backbone. One prefix with one branch may take `context` tokens together."""

    name: str
    sha256: str
    context: int
    vocabulary: int
    template: str  # the model's own chat template, empty where it has none
    begin: tuple[int, ...]  # tokens that every prefix begins with
    ends: frozenset[int]  # tokens that end a text
    counters: Counters

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Return the tokens of a text; `special` reads control tokens in it, which no user's text may have read."""

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for, nothing for a control token."""

    def keep(self, tokens: Tokens, seconds: float | None = None) -> Prefix:
        """Read a prefix, or what of it is new, and keep it, in a bounded memory that starts anew when it is full.

        Raises:
            InputError: it is longer than the context, or empty.
            TimeLimitError: it took longer than `seconds`.
        """

    def score(self, prefix: Prefix, stems: Sequence[Stem], adapter: str | None = None) -> list[list[Floats]]:
        """Return for each stem's leaves the log-probability of each of its tokens, all read in two passes."""

    def grow(self, prefix: Prefix, rows: Sequence[Tokens], adapter: str | None = None) -> Branches:
        """Start branches; a row may be empty. `adapter` names a low-rank adapter, active on the branches alone."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `after` is what the program adds behind it, cut into tokens by itself.

    So a text that was read for one task is the beginning of the next task's prefix.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    after: str = ""


@dataclass(frozen=True)
class Limits:
    """How a text is written. `temperature` 0 takes the likeliest token; one `seed` gives one text, alone or not.

    `schema` is a JSON schema that the text must validate against.
    """

    max_tokens: int = 200
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0
    stop: tuple[str, ...] = ()
    seconds: float = 60.0
    schema: Mapping[str, Any] | None = None
    repeat: float = 1.1  # divides the logits of the last tokens' repetitions (Keskar et al. 2019); 1: not at all


@dataclass(frozen=True)
class Chunk:
    """A piece of the text `number`; the last one says why it ended."""

    text: str
    number: int = 0
    finish: Finish | None = None


@dataclass(frozen=True)
class Written:
    """A whole text: why it ended, how many tokens it took, what of the conversation was left out for want of room."""

    text: str
    finish: Finish
    tokens: int = 0
    dropped_turns: int = 0
    cut_tokens: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0  # to the first token
    prompt_tokens: int = 0  # of the conversation; 0 where a server elsewhere counts


Cancelled = Callable[[], bool]


class Stream(Protocol):
    """Texts being written: iterate over their chunks; `written` holds the texts once they have ended."""

    written: list[Written]

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks as they come."""


class Writer(Protocol):
    """What writes an answer to a conversation: a decoder here, or a server elsewhere."""

    name: str

    def stream(
        self,
        messages: Sequence[Message],
        limits: Limits,
        texts: int = 1,
        cancelled: Cancelled | None = None,
        adapter: str | None = None,
    ) -> Stream:
        """Write `texts` answers at once.

        Raises:
            InputError: the conversation is empty or does not fit, or a limit is impossible.
            DecoderError: it cannot be done, here or over there.
        """
