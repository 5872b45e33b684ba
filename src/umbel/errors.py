"""The exceptions a user can meet. Each says where, what was found, what was expected and what to do.

UmbelError
├── SpecError        a pack's declaration has faults (all of them, collected)
├── DataError        data rows have faults (all of them, by file and line)
├── InputError       a text, task name or option given at request time is wrong
│   └── ContextError     a conversation and the answer wanted to it are longer than a decoder's context
├── PackError        a pack on disk is damaged, missing, too new or made for another backbone
├── BackboneError    weights are unknown, unreadable or not of a supported architecture
├── DownloadError    weights could not be fetched or failed their hash; a retry may help
├── CacheError       the cache cannot be read or written
├── DecoderError     a decoder cannot run, or a server that stands in for one fails; a retry may help
│   └── TimeLimitError   a text was not begun within its time limit
├── RetrievalError   a search index is missing, damaged, too new, of another pack, or cannot be written
├── NotFoundError    a server does not serve a pack or index of this name
├── AccessError      a server's key is missing or unknown, or may not do what was asked
├── TooLargeError    a request is larger than a server takes
├── BusyError        a server's queue is full, or a key's limit is reached; a retry helps after `retry_after` seconds
├── UnavailableError a server is not ready, ends, or lost what was at work on the request; a retry may help
└── MissingExtraError  an optional dependency is not installed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches


class UmbelError(Exception):
    """Base of all errors raised on purpose; `hint` says what to do, `retry` whether trying again may help."""

    retry = False

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        super().__init__(f"{message}\n  {hint}" if hint else message)

    def __reduce__(self) -> tuple[object, ...]:
        """Pass whole from process to process, whatever a subclass is made of."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[UmbelError], args: tuple[object, ...], state: dict[str, object]) -> UmbelError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


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
    """A text, task name or option given at request time is wrong; `field` names it where a request has fields.

    `details` are what a protocol of a server tells programs besides, in its own terms.
    """

    def __init__(
        self, message: str, hint: str = "", field: str = "", details: Mapping[str, object] | None = None
    ) -> None:
        self.field, self.details = field, dict(details or {})
        super().__init__(message, hint)


class ContextError(InputError):
    """A conversation and the answer wanted to it are longer than a decoder's context."""


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


class NotFoundError(UmbelError):
    """A server does not serve a pack or index of this name."""


class AccessError(UmbelError):
    """A server's key is missing (`known` is False) or may not do what was asked (`known` is True)."""

    def __init__(self, message: str, hint: str = "", known: bool = False) -> None:
        self.known = known
        super().__init__(message, hint)


class TooLargeError(UmbelError):
    """A request is larger than a server takes."""


class BusyError(UmbelError):
    """A server's queue is full, or a key's limit is reached; `retry_after` says in how many seconds to try again."""

    retry = True

    def __init__(self, message: str, hint: str = "", retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message, hint)


class UnavailableError(UmbelError):
    """A server is not ready, ends, or lost what was at work on the request."""

    retry = True


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
