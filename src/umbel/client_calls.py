"""The calls that both clients make of a server, and how their answers are read; knows nothing of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from umbel.answers import prediction_from
from umbel.decide import Answer
from umbel.decoding.base import Message
from umbel.errors import (
    AccessError,
    BackboneError,
    BusyError,
    ContextError,
    DecoderError,
    DownloadError,
    InputError,
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
from umbel.server.generate_schemas import FlowAnswer, GenerateAnswer

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
By = Literal["both", "vectors", "words"]

KINDS: Mapping[str, type[UmbelError]] = {
    "not_found": NotFoundError,
    "too_large": TooLargeError,
    "pack": PackError,
    "index": RetrievalError,
    "decoder": DecoderError,
    "backbone": BackboneError,
    "download": DownloadError,
}


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    body: Mapping[str, Any] | None
    read: Callable[[Any], T]


class Calls:
    """The requests that both clients make; `pack` names one where a call does not."""

    def __init__(self, pack: str | None) -> None:
        self.pack = pack

    def analyze(self, texts: Sequence[str], tasks: Sequence[str] | None, pack: str | None) -> Call[list[Result]]:
        """Ask for answers of tasks."""
        body = {"texts": list(texts), "tasks": None if tasks is None else list(tasks), "pack": pack or self.pack}

        def read(found: Any) -> list[Result]:
            pairs = zip(texts, found["results"], strict=True)
            return [_result(text, each["language"], each["answers"]) for text, each in pairs]

        return Call("POST", "/v1/analyze", body, read)

    def ask(self, text: str, questions: Sequence[Question], exact: bool, pack: str | None) -> Call[list[Answer]]:
        """Ask questions on a text."""
        given = [asked(question) for question in questions]
        body = {"text": text, "questions": given, "exact": exact, "pack": pack or self.pack}
        return Call("POST", "/v1/ask", body, lambda found: _answers(text, questions, found))

    def answer(
        self, document: str, questions: Sequence[str], must_answer: bool, pack: str | None
    ) -> Call[list[ExtractAnswer]]:
        """Ask questions of a document."""
        body = {"document": document, "questions": list(questions), "must_answer": must_answer}
        extracts = [Extract(words, must_answer) for words in questions]

        def read(found: Any) -> list[ExtractAnswer]:
            answers = _answers(document, extracts, found)
            return [each for each in answers if isinstance(each, ExtractAnswer)]

        return Call("POST", "/v1/answer", body | {"pack": pack or self.pack}, read)

    def search(
        self, index: str, query: str, k: int, where: Mapping[str, str] | None, by: By
    ) -> Call[list[dict[str, Any]]]:
        """Search an index."""
        body = {"index": index, "query": query, "k": k, "where": dict(where or {}), "by": by}
        return Call("POST", "/v1/search", body, lambda found: list(found["hits"]))

    def teach(self, lesson: Mapping[str, Any], pack: str | None, name: str | None) -> Call[schemas.TeachAnswer]:
        """Teach a pack a task."""
        body = {**lesson, "pack": pack or self.pack, "name": name}
        return Call("POST", "/v1/teach", body, schemas.TeachAnswer.model_validate)

    def deploy(self, name: str, source: str) -> Call[schemas.PackShown]:
        """Load a pack under a name."""
        return Call("PUT", f"/v1/packs/{name}", {"source": source}, schemas.PackShown.model_validate)

    def remove(self, name: str) -> Call[list[schemas.PackShown]]:
        """Serve a pack no longer."""
        return Call("DELETE", f"/v1/packs/{name}", None, _packs)

    def packs(self) -> Call[list[schemas.PackShown]]:
        """List the packs."""
        return Call("GET", "/v1/packs", None, _packs)

    def tasks(self, pack: str | None) -> Call[list[schemas.TaskShown]]:
        """List the tasks of a pack."""
        chosen = pack or self.pack
        path = f"/v1/tasks?pack={chosen}" if chosen else "/v1/tasks"
        return Call("GET", path, None, lambda found: schemas.TasksAnswer.model_validate(found).tasks)

    def generate(
        self,
        given: str | Sequence[Message],
        task: str | None,
        pack: str | None,
        limits: Mapping[str, Any],
    ) -> Call[GenerateAnswer]:
        """Begin to write."""
        body: dict[str, Any] = {"pack": pack or self.pack, "task": task, "stream": True}
        body |= {name: value for name, value in limits.items() if value is not None}
        if isinstance(given, str):
            body["text"] = given
        else:
            body["messages"] = [{"role": each.role, "content": each.content} for each in given]
        return Call("POST", "/v1/generate", body, GenerateAnswer.model_validate)

    def flow(self, text: str, pack: str | None) -> Call[FlowAnswer]:
        """Begin to take a text through a flow."""
        body = {"pack": pack or self.pack, "text": text, "stream": True}
        return Call("POST", "/v1/flow", body, FlowAnswer.model_validate)


def checked(response: httpx2.Response) -> Any:
    """Return a good answer's JSON.

    Raises:
        UmbelError: the one that the server tells of.
    """
    if response.is_success:
        return response.json()
    try:
        told = response.json()["error"]
        told["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UmbelError(
            f"the server answered {response.status_code}, not as Umbel does", "check the address"
        ) from None
    raise error_of(told, response.status_code, response.headers.get("retry-after", "1"))


def error_of(told: Mapping[str, Any], status: int = 0, retry_after: str = "1") -> UmbelError:
    """Return an error as the library has it, of what the server tells; `status` is 0 within a stream."""
    message, hint, code = told["message"], told.get("hint", ""), told.get("code", "")
    if code in ("unauthorized", "forbidden"):
        return AccessError(message, hint, known=code == "forbidden")
    if status == 429 or code == "busy":
        return BusyError(message, hint, float(retry_after))
    if code == "context_length_exceeded":
        return ContextError(message, hint, told.get("field", ""))
    if code in KINDS:
        return KINDS[code](message, hint)
    if status == 503 or code in ("unavailable", "timeout"):
        return UnavailableError(message, hint)
    if status in (400, 422) or code == "invalid":
        return InputError(message, hint, told.get("field", ""))
    return UmbelError(message, hint)


def _result(text: str, language: str, answers: Mapping[str, Any]) -> Result:
    return Result(text, {task: prediction_from(each) for task, each in answers.items()}, language)


def _answers(text: str, questions: Sequence[Question], found: Any) -> list[Answer]:
    pairs = zip(questions, found["answers"], strict=True)
    return [answer_from(question, each, text) for question, each in pairs]


def _packs(found: Any) -> list[schemas.PackShown]:
    return schemas.PacksAnswer.model_validate(found).packs


def lesson_of(
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
