"""The exceptions a user can meet. Each says where, what was found, what was expected and what to do.

UmbelError
├── SpecError        a pack's declaration has faults (all of them, collected)
├── DataError        data rows have faults (all of them, by file and line)
├── InputError       a text, task name or option given at request time is wrong
├── PackError        a pack on disk is damaged, missing, too new or made for another backbone
├── BackboneError    weights are unknown, unreadable or not of a supported architecture
├── DownloadError    weights could not be fetched or failed their hash; a retry may help
├── CacheError       the cache cannot be read or written
├── DecoderError     a decoder cannot run, or a server that stands in for one fails; a retry may help
│   └── TimeLimitError   a text was not begun within its time limit
├── RetrievalError   a search index is missing, damaged, too new, of another pack, or cannot be written
└── MissingExtraError  an optional dependency is not installed
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class UmbelError(Exception):
    """Base of all errors raised on purpose; `hint` says what to do, `retry` whether trying again may help."""

    retry = False

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        super().__init__(f"{message}\n  {hint}" if hint else message)


class FaultsError(UmbelError):
    """An error that carries every fault found, one line each, so that a user mends a file in one go."""

    def __init__(self, source: str, faults: Sequence[str], hint: str = "") -> None:
        self.source, self.faults = source, tuple(faults)
        count = f"{len(self.faults)} fault" + ("s" if len(self.faults) != 1 else "")
        super().__init__("\n".join([f"{source}: {count}", *(f"  {fault}" for fault in self.faults)]), hint)


class SpecError(FaultsError):
    """A pack's declaration has faults."""


class DataError(FaultsError):
    """Data rows have faults."""


class InputError(UmbelError):
    """A text, task name or option given at request time is wrong."""


class PackError(UmbelError):
    """A pack on disk is damaged, missing, too new or made for another backbone."""


class BackboneError(UmbelError):
    """Weights are unknown, unreadable or not of a supported architecture."""


class DownloadError(UmbelError):
    """Weights could not be fetched or failed their hash."""

    retry = True


class CacheError(UmbelError):
    """The cache cannot be read or written."""


class DecoderError(UmbelError):
    """A decoder cannot run, or a server that stands in for one is down, slow or answers nonsense."""

    retry = True


class TimeLimitError(DecoderError):
    """A text was not begun within its time limit."""


class RetrievalError(UmbelError):
    """A search index is missing, damaged, too new, of another pack, or cannot be written."""


class MissingExtraError(UmbelError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", f'pip install "umbel[{extra}]"')


def suggest(found: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to `found`, or the list when it is short, or nothing."""
    close = get_close_matches(found, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of {', '.join(known)}" if 0 < len(known) <= 12 else ""
