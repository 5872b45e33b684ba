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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from umbel.answers import prediction_from
from umbel.decide import Answer
from umbel.errors import (
    AccessError,
    BusyError,
    InputError,
    MissingExtraError,
    NotFoundError,
    PackError,
    RetrievalError,
    TooLargeError,
    UmbelError,
    UnavailableError,
)
from umbel.inquiries import answer_from, asked
from umbel.questions import Extract, ExtractAnswer, Question
from umbel.records import Result
from umbel.server import schemas

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
By = Literal["both", "vectors", "words"]

ADDRESS = "http://127.0.0.1:8000"
SECONDS = 60.0
RETRIES = 3
LONGEST_PAUSE = 30.0
KINDS: Mapping[str, type[UmbelError]] = {
    "not_found": NotFoundError,
    "too_large": TooLargeError,
    "pack": PackError,
    "index": RetrievalError,
}


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    body: Mapping[str, Any] | None
    read: Callable[[Any], T]


class _Calls:
    """The requests that both clients make; `pack` names one where a call does not."""

    def __init__(self, pack: str | None) -> None:
        self.pack = pack

    def analyze(self, texts: Sequence[str], tasks: Sequence[str] | None, pack: str | None) -> Call[list[Result]]:
        body = {"texts": list(texts), "tasks": None if tasks is None else list(tasks), "pack": pack or self.pack}

        def read(found: Any) -> list[Result]:
            pairs = zip(texts, found["results"], strict=True)
            return [_result(text, each["language"], each["answers"]) for text, each in pairs]

        return Call("POST", "/v1/analyze", body, read)

    def ask(self, text: str, questions: Sequence[Question], exact: bool, pack: str | None) -> Call[list[Answer]]:
        given = [asked(question) for question in questions]
        body = {"text": text, "questions": given, "exact": exact, "pack": pack or self.pack}
        return Call("POST", "/v1/ask", body, lambda found: _answers(text, questions, found))

    def answer(
        self, document: str, questions: Sequence[str], must_answer: bool, pack: str | None
    ) -> Call[list[ExtractAnswer]]:
        body = {"document": document, "questions": list(questions), "must_answer": must_answer}
        extracts = [Extract(words, must_answer) for words in questions]

        def read(found: Any) -> list[ExtractAnswer]:
            answers = _answers(document, extracts, found)
            return [each for each in answers if isinstance(each, ExtractAnswer)]

        return Call("POST", "/v1/answer", body | {"pack": pack or self.pack}, read)

    def search(
        self, index: str, query: str, k: int, where: Mapping[str, str] | None, by: By
    ) -> Call[list[dict[str, Any]]]:
        body = {"index": index, "query": query, "k": k, "where": dict(where or {}), "by": by}
        return Call("POST", "/v1/search", body, lambda found: list(found["hits"]))

    def teach(self, lesson: Mapping[str, Any], pack: str | None, name: str | None) -> Call[schemas.TeachAnswer]:
        body = {**lesson, "pack": pack or self.pack, "name": name}
        return Call("POST", "/v1/teach", body, schemas.TeachAnswer.model_validate)

    def deploy(self, name: str, source: str) -> Call[schemas.PackShown]:
        return Call("PUT", f"/v1/packs/{name}", {"source": source}, schemas.PackShown.model_validate)

    def remove(self, name: str) -> Call[list[schemas.PackShown]]:
        return Call("DELETE", f"/v1/packs/{name}", None, _packs)

    def packs(self) -> Call[list[schemas.PackShown]]:
        return Call("GET", "/v1/packs", None, _packs)

    def tasks(self, pack: str | None) -> Call[list[schemas.TaskShown]]:
        chosen = pack or self.pack
        path = f"/v1/tasks?pack={chosen}" if chosen else "/v1/tasks"
        return Call("GET", path, None, lambda found: schemas.TasksAnswer.model_validate(found).tasks)


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
        self._calls, self._retries = _Calls(pack), retries

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
        return self._do(self._calls.teach(_lesson(task, examples, instruction, labels, dev), pack, name))

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
                return call.read(_checked(self._http.request(call.method, call.path, json=call.body)))
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
        self._calls, self._retries = _Calls(pack), retries

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
        return await self._do(self._calls.teach(_lesson(task, examples, instruction, labels, dev), pack, name))

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
                return call.read(_checked(await self._http.request(call.method, call.path, json=call.body)))
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


def _checked(response: httpx2.Response) -> Any:
    """Return a good answer's JSON.

    Raises:
        UmbelError: the one that the server tells of.
    """
    if response.is_success:
        return response.json()
    try:
        told = response.json()["error"]
        message, hint, code = told["message"], told.get("hint", ""), told.get("code", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UmbelError(
            f"the server answered {response.status_code}, not as Umbel does", "check the address"
        ) from None
    if response.status_code in (401, 403):
        raise AccessError(message, hint, known=response.status_code == 403)
    if response.status_code == 429:
        raise BusyError(message, hint, float(response.headers.get("retry-after", 1)))
    if response.status_code == 503:
        raise UnavailableError(message, hint)
    if code in KINDS:
        raise KINDS[code](message, hint)
    if response.status_code in (400, 422):
        raise InputError(message, hint, told.get("field", ""))
    raise UmbelError(message, hint)


def _result(text: str, language: str, answers: Mapping[str, Any]) -> Result:
    return Result(text, {task: prediction_from(each) for task, each in answers.items()}, language)


def _answers(text: str, questions: Sequence[Question], found: Any) -> list[Answer]:
    pairs = zip(questions, found["answers"], strict=True)
    return [answer_from(question, each, text) for question, each in pairs]


def _packs(found: Any) -> list[schemas.PackShown]:
    return schemas.PacksAnswer.model_validate(found).packs


def _lesson(
    task: str,
    examples: Sequence[tuple[str, str]],
    instruction: str,
    labels: Mapping[str, str] | None,
    dev: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Return a lesson as `schemas.TeachRequest` has it."""
    rows = [[{"text": text, "label": label} for text, label in given] for given in (examples, dev)]
    described = [{"name": name, "description": words} for name, words in (labels or {}).items()]
    return {"task": task, "instruction": instruction, "labels": described, "examples": rows[0], "dev": rows[1]}
