"""Umbel's own routes, under /v1, and whether the server lives and is ready."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from umbel.answers import plain_answer
from umbel.errors import UnavailableError
from umbel.host import Lesson
from umbel.inquiries import Reply, plain
from umbel.questions import Extract, Question
from umbel.records import Result
from umbel.server import schemas
from umbel.server.access import need_admin
from umbel.server.generating import tasks_that_write
from umbel.server.protocols import Protocol
from umbel.server.routing import Answer, router
from umbel.server.service import Deployed, Service

COST_DIGITS = 4  # of milliseconds
PackName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


def protocol(service: Service) -> Protocol:
    """Return the native routes."""
    routes = router()
    _answering(routes, service)
    _making(routes, service)
    _showing(routes, service)
    _health(routes, service)
    return Protocol(routes, public=("/health", "/ready"))


def _answering(routes: APIRouter, service: Service) -> None:
    @routes.post("/v1/analyze", response_model=schemas.AnalyzeAnswer, tags=["answers"])
    async def analyze(body: schemas.AnalyzeRequest) -> Response:
        """Answer tasks of a pack for each text; each text is read once."""
        found = service.pack(body.pack)
        results = await service.analyze(body.texts, body.tasks, found.name)
        shown = [
            {
                "language": result.language,
                "answers": {task: plain_answer(each, body.top) for task, each in result.predictions.items()},
            }
            | (_cost(result) if body.cost else {})
            for result in results
        ]
        return Answer(_named(found) | {"results": shown})

    @routes.post("/v1/ask", response_model=schemas.AskAnswer, tags=["answers"])
    async def ask(body: schemas.AskRequest) -> Response:
        """Answer questions decided on the spot, and tasks if any are named, from one encoding of the text."""
        found = service.pack(body.pack)
        questions = [each.question_of() for each in body.questions]
        reply = await service.ask(body.text, questions, body.tasks, found.name, body.exact)
        return _answered(found, questions, reply)

    @routes.post("/v1/answer", response_model=schemas.AskAnswer, tags=["answers"])
    async def answer(body: schemas.AnswerRequest) -> Response:
        """Answer questions from a document in its own words, or say that it does not hold the answer."""
        found = service.pack(body.pack)
        questions: list[Question] = [Extract(words, body.must_answer) for words in body.questions]
        return _answered(found, questions, await service.ask(body.document, questions, pack=found.name))

    @routes.post("/v1/search", response_model=schemas.SearchAnswer, tags=["answers"])
    async def search(body: schemas.SearchRequest) -> Response:
        """Find the passages of an index that fit a query best, by meaning and by words."""
        return Answer({"hits": await service.search(body.index, body.query, body.k, body.where, body.by)})


def _making(routes: APIRouter, service: Service) -> None:
    @routes.post("/v1/teach", response_model=schemas.TeachAnswer, tags=["packs"])
    async def teach(request: Request, body: schemas.TeachRequest) -> Response:
        """Teach a pack one task, prove that nothing else moved, and serve the new pack."""
        need_admin(request.scope)
        lesson = Lesson(
            body.task,
            body.instruction,
            [(each.name, each.description) for each in body.labels],
            [(each.text, each.label) for each in body.examples],
            [(each.text, each.label) for each in body.dev],
            body.correct,
        )
        found, learned = await service.teach(lesson, body.pack, body.name)
        return Answer(
            _named(found)
            | {
                "task": body.task,
                "folder": str(learned.folder),
                "accuracy_before": learned.before,
                "accuracy": learned.after,
                "scored_on": learned.scored_on,
                "examples": learned.examples,
                "unchanged": learned.unchanged,
            }
        )

    @routes.put("/v1/packs/{name}", response_model=schemas.PackShown, tags=["packs"])
    async def deploy(request: Request, name: PackName, body: schemas.PackSource) -> Response:
        """Load a pack under a name, or swap the one that has it; no request is dropped."""
        need_admin(request.scope)
        return Answer(_shown(await service.deploy(name, body.source), service))

    @routes.delete("/v1/packs/{name}", response_model=schemas.PacksAnswer, tags=["packs"])
    async def remove(request: Request, name: PackName) -> Response:
        """Serve a pack no longer; what was admitted is still answered."""
        need_admin(request.scope)
        await service.remove(name)
        return Answer({"packs": [_shown(each, service) for each in service.packs.values()]})


def _showing(routes: APIRouter, service: Service) -> None:
    @routes.get("/v1/packs", response_model=schemas.PacksAnswer, tags=["packs"])
    async def packs() -> Response:
        """List the packs that are served, the default first."""
        return Answer({"packs": [_shown(each, service) for each in service.packs.values()]})

    @routes.get("/v1/packs/{name}", response_model=schemas.PackShown, tags=["packs"])
    async def pack(name: PackName) -> Response:
        """Show one pack."""
        return Answer(_shown(service.pack(name), service))

    @routes.get("/v1/tasks", response_model=schemas.TasksAnswer, tags=["packs"])
    async def tasks(pack: Annotated[str | None, Query()] = None) -> Response:
        """List the tasks of a pack with kinds, languages, labels and dev scores."""
        found = service.pack(pack)
        return Answer({"pack": found.name, "tasks": [_task(found, name) for name in found.tasks]})


def _health(routes: APIRouter, service: Service) -> None:
    @routes.get("/health", response_model=schemas.HealthAnswer, tags=["health"])
    async def health() -> Response:
        """Tell that the server lives."""
        return Answer({"status": "alive"})

    @routes.get("/ready", response_model=schemas.HealthAnswer, tags=["health"])
    async def ready() -> Response:
        """Tell whether requests are taken: not before packs are loaded, nor once the server ends."""
        if not service.ready:
            raise UnavailableError("not ready", "wait for it")
        return Answer({"status": "ready"})


def _cost(result: Result) -> dict[str, Any]:
    cost = result.cost
    if cost is None:
        return {}
    spent = {task: round(1000 * cost.tasks.get(task, 0.0), COST_DIGITS) for task in result}
    encoding = round(1000 * cost.encoding, COST_DIGITS)
    return {"cost": {"tokens": cost.tokens, "milliseconds_encoding": encoding, "milliseconds": spent}}


def _answered(found: Deployed, questions: list[Question], reply: Reply) -> Response:
    answers = [plain(*pair) for pair in zip(questions, reply.answers, strict=True)]
    tasks = {task: plain_answer(each) for task, each in reply.result.items()}
    return Answer(_named(found) | {"language": reply.result.language, "answers": answers, "tasks": tasks})


def _named(found: Deployed) -> dict[str, Any]:
    return {"pack": found.name, "version": found.manifest.version}


def _shown(found: Deployed, service: Service) -> dict[str, Any]:
    manifest = found.manifest
    return {
        "name": found.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "description": manifest.description,
        "backbone": manifest.backbone.name,
        "asks": found.asks,
        "default": next(iter(service.packs), "") == found.name,
        "tasks": list(found.tasks),
        "writes": tasks_that_write(manifest, service.generating.decoders),
        "flow": manifest.flow is not None,
    }


def _task(found: Deployed, name: str) -> dict[str, Any]:
    task, entry = found.tasks[name], found.manifest.tasks[name]
    return {
        "name": name,
        "kind": task.kind,
        "description": task.description,
        "languages": list(task.languages),
        "labels": list(task.labels),
        "multi_label": task.multi_label,
        "scores": entry.scores,
    }
