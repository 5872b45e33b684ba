"""A client of the server: answers come as the library's own types, errors as its own errors. Needs the extra `client`.

`Client` and `AsyncClient` have the same methods. A full queue and a server that is not ready are waited for, a few
times, as long as the server says.

>>> from umbel.client import Client
>>> from umbel.questions import Predicate
>>> with Client("http://127.0.0.1:8000") as client:
...     (result,) = client.analyze(["I was charged twice!"], tasks=["sentiment"])
...     (refund,) = client.ask("I was charged twice!", [Predicate("The customer wants money back")])
>>> result["sentiment"].label
'negative'
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from umbel.client_calls import By, Call, Calls, T, checked, lesson_of
from umbel.client_streams import AsyncFlowing, AsyncWriting, Flowing, Writing
from umbel.decide import Answer
from umbel.decoding.base import Message
from umbel.errors import BusyError, MissingExtraError, UmbelError, UnavailableError
from umbel.questions import ExtractAnswer, Question
from umbel.records import Result
from umbel.server import schemas

if TYPE_CHECKING:
    import httpx2

ADDRESS = "http://127.0.0.1:8000"
SECONDS = 60.0
RETRIES = 3
LONGEST_PAUSE = 30.0


class Client:
    """Calls a server and waits for it. Close it, or use it as a context.

    Every call raises the error that the server tells of: `InputError` with its `field`, `NotFoundError`, `AccessError`,
    `TooLargeError`, `PackError`, `RetrievalError`; `BusyError` and `UnavailableError` once it has tried often enough.
    """

    def __init__(
        self,
        url: str = ADDRESS,
        key: str = "",
        pack: str | None = None,
        timeout: float = SECONDS,
        retries: int = RETRIES,
    ) -> None:
        self._http = _httpx().Client(base_url=url, headers=_headers(key), timeout=timeout)
        self._calls, self._retries = Calls(pack), retries

    def analyze(
        self, texts: Sequence[str], tasks: Sequence[str] | None = None, pack: str | None = None
    ) -> list[Result]:
        """Answer tasks for texts, in order; all but those of vectors where none are named."""
        return self._do(self._calls.analyze(texts, tasks, pack))

    def ask(
        self, text: str, questions: Sequence[Question], exact: bool = False, pack: str | None = None
    ) -> list[Answer]:
        """Answer questions on a text, in order."""
        return self._do(self._calls.ask(text, questions, exact, pack))

    def answer(
        self, document: str, questions: Sequence[str], must_answer: bool = False, pack: str | None = None
    ) -> list[ExtractAnswer]:
        """Answer questions from a document in its own words."""
        return self._do(self._calls.answer(document, questions, must_answer, pack))

    def search(
        self, index: str, query: str, k: int = 5, where: Mapping[str, str] | None = None, by: By = "both"
    ) -> list[dict[str, Any]]:
        """Find the passages of an index that fit a query best, as plain values."""
        return self._do(self._calls.search(index, query, k, where, by))

    def teach(
        self,
        task: str,
        examples: Sequence[tuple[str, str]] = (),
        instruction: str = "",
        labels: Mapping[str, str] | None = None,
        dev: Sequence[tuple[str, str]] = (),
        pack: str | None = None,
        name: str | None = None,
    ) -> schemas.TeachAnswer:
        """Teach a pack one task by texts with labels, by an instruction and described labels, or both."""
        return self._do(self._calls.teach(lesson_of(task, examples, instruction, labels, dev), pack, name))

    def deploy(self, name: str, source: str) -> schemas.PackShown:
        """Load a pack under a name, or swap the one that has it."""
        return self._do(self._calls.deploy(name, source))

    def remove(self, name: str) -> list[schemas.PackShown]:
        """Serve a pack no longer; return those that are left."""
        return self._do(self._calls.remove(name))

    def packs(self) -> list[schemas.PackShown]:
        """Return the packs that are served, the default first."""
        return self._do(self._calls.packs())

    def tasks(self, pack: str | None = None) -> list[schemas.TaskShown]:
        """Return the tasks of a pack."""
        return self._do(self._calls.tasks(pack))

    def generate(
        self,
        given: str | Sequence[Message],
        task: str | None = None,
        pack: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Writing:
        """Write with a task of a pack about a message, or go on with a conversation; iterate over the sentences.

        The whole answer is `result` at the end, or at once by `wait()`.
        """
        limits = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "stop": stop, "seed": seed}
        return Writing(self._opened(self._calls.generate(given, task, pack, limits)))

    def flow(self, text: str, pack: str | None = None) -> Flowing:
        """Take a text through a pack's flow; iterate over its events. The whole answer is `result`, or `wait()`."""
        return Flowing(self._opened(self._calls.flow(text, pack)))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _do(self, call: Call[T]) -> T:
        for pause in _pauses(self._retries):
            try:
                return call.read(checked(self._http.request(call.method, call.path, json=call.body)))
            except _httpx().TransportError as error:
                raise _unreached(error) from error
            except (BusyError, UnavailableError) as error:
                if pause is None:
                    raise
                time.sleep(_wait(error, pause))
        raise AssertionError  # the last pause is None

    def _opened(self, call: Call[T]) -> httpx2.Response:
        """Return an answer that has begun and will come in parts."""
        for pause in _pauses(self._retries):
            try:
                request = self._http.build_request(call.method, call.path, json=call.body)
                response: httpx2.Response = self._http.send(request, stream=True)
                if not response.is_success:
                    response.read()
                    checked(response)
                return response
            except _httpx().TransportError as error:
                raise _unreached(error) from error
            except (BusyError, UnavailableError) as error:
                if pause is None:
                    raise
                time.sleep(_wait(error, pause))
        raise AssertionError  # the last pause is None


class AsyncClient:
    """The same as `Client`, for coroutines."""

    def __init__(
        self,
        url: str = ADDRESS,
        key: str = "",
        pack: str | None = None,
        timeout: float = SECONDS,
        retries: int = RETRIES,
    ) -> None:
        self._http = _httpx().AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)
        self._calls, self._retries = Calls(pack), retries

    async def analyze(
        self, texts: Sequence[str], tasks: Sequence[str] | None = None, pack: str | None = None
    ) -> list[Result]:
        """Answer tasks for texts, in order; all but those of vectors where none are named."""
        return await self._do(self._calls.analyze(texts, tasks, pack))

    async def ask(
        self, text: str, questions: Sequence[Question], exact: bool = False, pack: str | None = None
    ) -> list[Answer]:
        """Answer questions on a text, in order."""
        return await self._do(self._calls.ask(text, questions, exact, pack))

    async def answer(
        self, document: str, questions: Sequence[str], must_answer: bool = False, pack: str | None = None
    ) -> list[ExtractAnswer]:
        """Answer questions from a document in its own words."""
        return await self._do(self._calls.answer(document, questions, must_answer, pack))

    async def search(
        self, index: str, query: str, k: int = 5, where: Mapping[str, str] | None = None, by: By = "both"
    ) -> list[dict[str, Any]]:
        """Find the passages of an index that fit a query best, as plain values."""
        return await self._do(self._calls.search(index, query, k, where, by))

    async def teach(
        self,
        task: str,
        examples: Sequence[tuple[str, str]] = (),
        instruction: str = "",
        labels: Mapping[str, str] | None = None,
        dev: Sequence[tuple[str, str]] = (),
        pack: str | None = None,
        name: str | None = None,
    ) -> schemas.TeachAnswer:
        """Teach a pack one task by texts with labels, by an instruction and described labels, or both."""
        return await self._do(self._calls.teach(lesson_of(task, examples, instruction, labels, dev), pack, name))

    async def deploy(self, name: str, source: str) -> schemas.PackShown:
        """Load a pack under a name, or swap the one that has it."""
        return await self._do(self._calls.deploy(name, source))

    async def remove(self, name: str) -> list[schemas.PackShown]:
        """Serve a pack no longer; return those that are left."""
        return await self._do(self._calls.remove(name))

    async def packs(self) -> list[schemas.PackShown]:
        """Return the packs that are served, the default first."""
        return await self._do(self._calls.packs())

    async def tasks(self, pack: str | None = None) -> list[schemas.TaskShown]:
        """Return the tasks of a pack."""
        return await self._do(self._calls.tasks(pack))

    async def generate(
        self,
        given: str | Sequence[Message],
        task: str | None = None,
        pack: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: Sequence[str] | None = None,
        seed: int = 0,
    ) -> AsyncWriting:
        """Write with a task of a pack about a message, or go on with a conversation; iterate over the sentences.

        The whole answer is `result` at the end, or at once by `wait()`.
        """
        limits = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "stop": stop, "seed": seed}
        return AsyncWriting(await self._opened(self._calls.generate(given, task, pack, limits)))

    async def flow(self, text: str, pack: str | None = None) -> AsyncFlowing:
        """Take a text through a pack's flow; iterate over its events. The whole answer is `result`, or `wait()`."""
        return AsyncFlowing(await self._opened(self._calls.flow(text, pack)))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _do(self, call: Call[T]) -> T:
        for pause in _pauses(self._retries):
            try:
                return call.read(checked(await self._http.request(call.method, call.path, json=call.body)))
            except _httpx().TransportError as error:
                raise _unreached(error) from error
            except (BusyError, UnavailableError) as error:
                if pause is None:
                    raise
                await asyncio.sleep(_wait(error, pause))
        raise AssertionError  # the last pause is None

    async def _opened(self, call: Call[T]) -> httpx2.Response:
        """Return an answer that has begun and will come in parts."""
        for pause in _pauses(self._retries):
            try:
                request = self._http.build_request(call.method, call.path, json=call.body)
                response: httpx2.Response = await self._http.send(request, stream=True)
                if not response.is_success:
                    await response.aread()
                    checked(response)
                return response
            except _httpx().TransportError as error:
                raise _unreached(error) from error
            except (BusyError, UnavailableError) as error:
                if pause is None:
                    raise
                await asyncio.sleep(_wait(error, pause))
        raise AssertionError  # the last pause is None


def _httpx() -> Any:
    try:
        import httpx2
    except ImportError as error:
        raise MissingExtraError("httpx2", "client") from error
    return httpx2


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _pauses(retries: int) -> Iterator[float | None]:
    """Yield the least seconds to wait after each failure, and None after the last."""
    for number in range(retries):
        yield 0.25 * 2**number
    yield None


def _wait(error: UmbelError, pause: float) -> float:
    told = error.retry_after if isinstance(error, BusyError) else 0.0
    return min(max(told, pause), LONGEST_PAUSE)


def _unreached(error: Exception) -> UnavailableError:
    return UnavailableError(f"the server cannot be reached: {error}", "is it running? umbel serve base")
