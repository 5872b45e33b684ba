"""The next token of a text, where it stops, and its bytes as characters. Knows nothing of decoders."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umbel.decoding.base import Floats, Limits
from umbel.errors import InputError

REMEMBERED = 64  # tokens whose repetition is made less likely


def check(limits: Limits) -> Limits:
    """Return limits that can be kept.

    Raises:
        InputError: with everything that is wrong with them.
    """
    faults = [
        f"{name}: found {found}, expected {expected}"
        for name, found, expected, fine in (
            ("max_tokens", limits.max_tokens, "1 or more", limits.max_tokens >= 1),
            ("temperature", limits.temperature, "0 to 5", 0 <= limits.temperature <= 5),
            ("top_p", limits.top_p, "more than 0, at most 1", 0 < limits.top_p <= 1),
            ("seed", limits.seed, "0 or more", limits.seed >= 0),
            ("seconds", limits.seconds, "more than 0", limits.seconds > 0),
            ("repeat", limits.repeat, "1 or more", limits.repeat >= 1),
            ("stop", limits.stop, "texts that are not empty", all(limits.stop)),
        )
        if not fine
    ]
    if faults:
        raise InputError("\n  ".join(faults))
    return limits


class Sampler:
    """Picks the tokens of text `number`: the same ones for the same seed, whatever is written beside it."""

    def __init__(self, limits: Limits, number: int) -> None:
        self._limits = limits
        self._random = np.random.default_rng([limits.seed, number])
        self._last: list[int] = []

    def pick(self, logits: Floats, allowed: NDArray[np.bool_] | None = None) -> int:
        """Return the next token from logits `[vocabulary]`, of those that are `allowed`."""
        weighed = logits.copy()
        seen = list(set(self._last))
        held = weighed[seen]
        weighed[seen] = np.where(held > 0, held / self._limits.repeat, held * self._limits.repeat)
        if allowed is not None:
            weighed[~allowed] = -np.inf
        token = int(weighed.argmax()) if self._limits.temperature == 0 else self._draw(weighed.astype(np.float64))
        self._last = [*self._last, token][-REMEMBERED:]
        return token

    def _draw(self, logits: NDArray[np.float64]) -> int:
        """Draw from the likeliest tokens that together reach `top_p` (Holtzman et al. 2020)."""
        scaled = (logits - logits.max()) / self._limits.temperature
        weights = np.exp(scaled)
        weights /= weights.sum()
        order = np.argsort(-weights, kind="stable")
        reached = np.cumsum(weights[order])
        order = order[: int(np.searchsorted(reached, self._limits.top_p)) + 1]
        return int(self._random.choice(order, p=weights[order] / weights[order].sum()))


class Reader:
    """Turns bytes into characters as they come, and ends at stop strings, which it does not give out."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def feed(self, piece: bytes, last: bool = False) -> str:
        """Return the characters that are certain by now; what may begin a stop string is held back."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(piece, last)
        found = [at for word in self._stop if (at := self._held.find(word)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = 0 if last else self._may_begin()
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def _may_begin(self) -> int:
        """Return the length of the longest end of what is held that begins a stop string."""
        longest = max((len(word) for word in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(word.startswith(self._held[-length:]) for word in self._stop):
                return length
        return 0
