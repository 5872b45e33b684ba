"""Answers that come in parts: sentences of a text, steps of a flow, and at the end the whole of it.

Close one, or leave its context, and the server stops.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from umbel.client_calls import error_of
from umbel.errors import UnavailableError
from umbel.server.generate_schemas import FlowAnswer, GenerateAnswer, StepEvent, TokenEvent

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
Part = TypeVar("Part")
EVENTS: dict[str, Callable[[Any], StepEvent | TokenEvent]] = {
    "step": StepEvent.model_validate,
    "token": TokenEvent.model_validate,
}


def _text(name: str, about: Any) -> str:
    return str(about["text"])


def _event(name: str, about: Any) -> StepEvent | TokenEvent:
    return EVENTS[name](about)


class _Parts(Generic[Part, T]):
    """Reads lines of server-sent events into parts; keeps what the last one gives."""

    def __init__(self, response: httpx2.Response, read: Callable[[Any], T], part: Callable[[str, Any], Part]) -> None:
        self.response = response
        self.result: T | None = None
        self._read, self._part = read, part
        self._name = ""

    def take(self, line: str) -> Part | None:
        """Return the part that a line ends, if it does.

        Raises:
            UmbelError: the one that the server tells of.
        """
        key, _, value = line.partition(": ")
        if key == "event":
            self._name = value
        if key != "data":
            return None
        about = json.loads(value)
        if self._name == "error":
            raise error_of(about["error"])
        if self._name == "result":
            self.result = self._read(about)
            return None
        return self._part(self._name, about)

    def whole(self) -> T:
        """Return the whole answer.

        Raises:
            UnavailableError: it did not come.
        """
        if self.result is None:
            raise UnavailableError("the answer broke off", "try again")
        return self.result


class _Stream(Generic[Part, T]):
    def __init__(self, parts: _Parts[Part, T]) -> None:
        self._parts = parts

    @property
    def result(self) -> T | None:
        """The whole answer, once it is there."""
        return self._parts.result

    def __iter__(self) -> Iterator[Part]:
        """Yield the parts as they come.

        Raises:
            UmbelError: the one that the server tells of.
        """
        with self:
            for line in self._parts.response.iter_lines():
                part = self._parts.take(line)
                if part is not None:
                    yield part

    def wait(self) -> T:
        """Pass over what is left of the parts and return the whole answer."""
        for _ in self:
            pass
        return self._parts.whole()

    def close(self) -> None:
        """Stop here."""
        self._parts.response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _AsyncStream(Generic[Part, T]):
    def __init__(self, parts: _Parts[Part, T]) -> None:
        self._parts = parts

    @property
    def result(self) -> T | None:
        """The whole answer, once it is there."""
        return self._parts.result

    async def __aiter__(self) -> AsyncIterator[Part]:
        """Yield the parts as they come.

        Raises:
            UmbelError: the one that the server tells of.
        """
        async with self:
            async for line in self._parts.response.aiter_lines():
                part = self._parts.take(line)
                if part is not None:
                    yield part

    async def wait(self) -> T:
        """Pass over what is left of the parts and return the whole answer."""
        async for _ in self:
            pass
        return self._parts.whole()

    async def close(self) -> None:
        """Stop here."""
        await self._parts.response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


class Writing(_Stream[str, GenerateAnswer]):
    """A text being written; iterate over its sentences."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(_Parts(response, GenerateAnswer.model_validate, _text))


class AsyncWriting(_AsyncStream[str, GenerateAnswer]):
    """The same as `Writing`, for coroutines."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(_Parts(response, GenerateAnswer.model_validate, _text))


class Flowing(_Stream[StepEvent | TokenEvent, FlowAnswer]):
    """A text on its way through a flow; iterate over what happens."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(_Parts(response, FlowAnswer.model_validate, _event))


class AsyncFlowing(_AsyncStream[StepEvent | TokenEvent, FlowAnswer]):
    """The same as `Flowing`, for coroutines."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(_Parts(response, FlowAnswer.model_validate, _event))
