"""OpenAI's protocol, for programs that speak it already: models, embeddings, moderations, and decisions.

A model is a pack. `/v1/decisions` is Umbel's own route in this protocol's manner: typed questions over one input, each
answered with calibrated probabilities, where a chat model would be asked and its words parsed:

    {"model": "base", "input": "I was charged twice!", "decisions": [
        {"type": "predicate", "name": "refund", "statement": "The customer wants money back"},
        {"type": "choice", "name": "team", "question": "Which team?", "options": ["billing", {"name": "technical",
         "description": "..."}]},
        {"type": "score", "name": "anger", "question": "How angry?", "levels": ["calm", "annoyed", "furious"]}]}

gives `data`, one object for each decision, in order, each with its `name`, `type` and `index`, and

- predicate: `value` (true or false) and `probability`, that it is true;
- choice: `value` (the option), `probability`, and `probabilities` of all options;
- score: `value` (the expected level, from 0: the sum of each level's number times its probability), `level`,
  `probability` of that level, and `probabilities`.

Moderation reads the pack's classification tasks whose labels are OpenAI's categories (or `ALIASES` of them) and
`HARMLESS` ones. A category that no task of the text's language knows has no `category_applied_input_types`: it was not
looked for, which is not the same as harmless.

`usage` counts tokens as the server admits them: about a quarter of the bytes.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Response

from umbel.answers import DIGITS
from umbel.errors import InputError, NotFoundError, suggest
from umbel.inquiries import Inquiry
from umbel.questions import PredicateAnswer, ScoreAnswer
from umbel.records import LabelPrediction, LabelsPrediction, Prediction, Result, Task
from umbel.server import schemas
from umbel.server.faults import Fault
from umbel.server.generating import tasks_that_write, writings
from umbel.server.openai_schemas import (
    RESPONSES,
    ChoiceDecision,
    Decision,
    DecisionAnswer,
    DecisionRequest,
    EmbeddingAnswer,
    EmbeddingRequest,
    ModelsAnswer,
    ModelShown,
    ModerationAnswer,
    ModerationRequest,
    PredicateDecision,
    TextPart,
)
from umbel.server.protocols import Protocol
from umbel.server.routing import Answer, router
from umbel.server.service import Deployed, Service
from umbel.server.work import tokens_of, work_of

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)
ALIASES = {"offensive": "harassment", "insult": "harassment", "threat": "harassment/threatening"}
HARMLESS = ("none", "neither", "normal", "safe", "ok", "neutral", "clean", "harmless", "not_offensive", "not_hate")
FIELDS = {"texts?": "input", "questions": "decisions", "pack": "model"}  # the service's names, and OpenAI's
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error(fault: Fault, request_id: str) -> Mapping[str, Any]:
    """Return an error as OpenAI gives it."""
    kind = KINDS.get(fault.status, "server_error" if fault.status >= 500 else "invalid_request_error")
    message = f"{fault.message} ({fault.hint})" if fault.hint else fault.message
    where = fault.where
    for ours, theirs in FIELDS.items():
        where = re.sub(rf"^{ours}\b", theirs, where)
    return {"error": {"message": message, "type": kind, "param": where or None, "code": fault.code}}


def protocol(service: Service) -> Protocol:
    """Return OpenAI's routes."""
    routes = router(responses=RESPONSES, tags=["OpenAI"])
    began = int(time.time())
    _models(routes, service, began)
    _reading(routes, service)
    return Protocol(routes, error)


def _models(routes: APIRouter, service: Service, began: int) -> None:
    day = datetime.fromtimestamp(began, UTC).date().isoformat()

    def shown(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": began, "owned_by": "umbel"}

    @routes.get("/v1/models", response_model=ModelsAnswer)
    async def models() -> Response:
        """List models: packs, decoders, PACK/TASK in `data`, as OpenAI does; packs in `models`, as System One does."""
        packs = service.packs.values()
        return Answer(
            {
                "object": "list",
                "data": [shown(name) for name in dict.fromkeys([*service.packs, *models_that_write(service)])],
                "models": [
                    {"name": each.name, "description": each.manifest.description, "release_date": day} for each in packs
                ],
            }
        )

    @routes.get("/v1/models/{model:path}", response_model=ModelShown)
    async def model(model: Annotated[str, Path()]) -> Response:
        """Show one model."""
        known = [*service.packs, *models_that_write(service)]
        if model not in known:
            raise NotFoundError(f"the model {model!r} is not served{suggest(model, known)}")
        return Answer(shown(model))


def decoders_of(service: Service) -> dict[str, str]:
    """Return the decoders that write here by name: the server's own, and those that packs name."""
    named = [each.decoder for pack in service.packs.values() for each in writings(pack.manifest).values()]
    return {name: name for name in named} | service.generating.decoders


def models_that_write(service: Service) -> list[str]:
    """Return all models that write: decoders, packs for which something writes, and their tasks."""
    found = list(decoders_of(service))
    for name, pack in service.packs.items():
        tasks = tasks_that_write(pack.manifest, service.generating.decoders)
        found += [name, *(f"{name}/{task}" for task in tasks)] if tasks else []
    return found


def _reading(routes: APIRouter, service: Service) -> None:
    @routes.post("/v1/moderations", response_model=ModerationAnswer, response_model_exclude_none=True)
    async def moderations(body: ModerationRequest) -> Response:
        """Look for harmful content, by the pack's tasks that know any of OpenAI's categories."""
        found = _pack(service, body.model)
        tasks = {name: known for name, task in found.tasks.items() if (known := categories_of(task))}
        if not tasks:
            raise InputError(f"{found.name} has no task that moderates", "serve a pack that has", field="model")
        texts = _texts(body.input)
        results = await service.analyze(texts, list(tasks), found.name)
        shown = [moderated(result, found, tasks) for result in results]
        return Answer({"id": f"modr-{time.time_ns():x}", "model": found.name, "results": shown})

    @routes.post("/v1/embeddings", response_model=EmbeddingAnswer)
    async def embeddings(body: EmbeddingRequest) -> Response:
        """Return each text's vector, of length 1."""
        found = _pack(service, body.model)
        texts = _texts(body.input)
        vectors = [each.vector for each in await service.embed(texts, found.name)]
        if body.dimensions not in (None, len(vectors[0])):
            raise InputError(f"vectors of {found.name} have {len(vectors[0])} numbers", "leave it out", "dimensions")
        data = [
            {"object": "embedding", "index": place, "embedding": _encoded(vector, body.encoding_format)}
            for place, vector in enumerate(vectors)
        ]
        tokens = sum(map(tokens_of, texts))
        return Answer({"object": "list", "model": found.name, "data": data, "usage": _usage(tokens)})

    @routes.post("/v1/decisions", response_model=DecisionAnswer, response_model_exclude_none=True)
    async def decisions(body: DecisionRequest) -> Response:
        """Decide typed questions over one input, with calibrated probabilities, from one reading of it."""
        found = _pack(service, body.model)
        questions = [question_of(each) for each in body.decisions]
        reply = await service.ask(body.input, questions, pack=found.name)
        answers = zip(body.decisions, reply.answers, strict=True)
        data = [
            {"object": "decision", "index": place, "name": asked.name, "type": asked.type} | decided(answer)
            for place, (asked, answer) in enumerate(answers)
        ]
        head = {"id": f"dec-{time.time_ns():x}", "object": "list", "model": found.name, "created": int(time.time())}
        tokens = work_of(Inquiry(body.input, (), questions))
        return Answer(head | {"data": data, "usage": _usage(tokens)})


def question_of(decision: Decision) -> Any:
    """Return a decision as the library's question."""
    if isinstance(decision, PredicateDecision):
        return schemas.PredicateGiven(kind="predicate", statement=decision.statement).question_of()
    if isinstance(decision, ChoiceDecision):
        given = {"question": decision.question, "options": decision.options}
        return schemas.ChoiceGiven(kind="choice", **given).question_of()  # type: ignore[arg-type]
    return schemas.ScoreGiven(kind="score", question=decision.question, levels=decision.levels).question_of()


def decided(answer: Any) -> dict[str, Any]:
    """Return what an answer decides, as plain values."""
    if isinstance(answer, PredicateAnswer):
        return {"value": answer.holds, "probability": round(answer.probability, DIGITS)}
    probabilities = {name: round(each, DIGITS) for name, each in answer.probabilities.items()}
    if isinstance(answer, ScoreAnswer):
        level = {"level": answer.level, "probability": probabilities[answer.level]}
        return {"value": round(answer.score, DIGITS), **level, "probabilities": probabilities}
    label = answer.label
    return {"value": label, "probability": probabilities[label], "probabilities": probabilities}


def categories_of(task: Task) -> dict[str, str]:
    """Return the category of each of a task's labels that is not harmless; nothing if one has no category."""
    known = {label: ALIASES.get(label, label) for label in task.labels if label not in HARMLESS}
    return known if known and all(category in CATEGORIES for category in known.values()) else {}


def moderated(result: Result, found: Deployed, tasks: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return one text's categories, by the tasks of its language, or by all where there are none."""
    names = [name for name in tasks if result.language in found.tasks[name].languages]
    scores: dict[str, float] = {}
    flags: set[str] = set()
    for name in names or tasks:
        prediction = result[name]
        for label, category in tasks[name].items():
            scores[category] = max(scores.get(category, 0.0), _probability(prediction, label))
            if label in _given(prediction):
                flags.add(category)
    return {
        "flagged": bool(flags),
        "categories": {category: category in flags for category in CATEGORIES},
        "category_scores": {category: round(scores.get(category, 0.0), DIGITS) for category in CATEGORIES},
        "category_applied_input_types": {c: ["text"] if c in scores else [] for c in CATEGORIES},
    }


def _probability(prediction: Prediction, label: str) -> float:
    if isinstance(prediction, LabelPrediction | LabelsPrediction):
        return prediction.probabilities[label]
    return 0.0


def _given(prediction: Prediction) -> Sequence[str | None]:
    if isinstance(prediction, LabelPrediction):
        return [prediction.label]
    return prediction.labels if isinstance(prediction, LabelsPrediction) else []


def _pack(service: Service, model: str | None) -> Deployed:
    if model is not None and model not in service.packs:
        raise NotFoundError(f"the model {model!r} is not served{suggest(model, list(service.packs))}")
    return service.pack(model)


def _texts(given: str | Sequence[str] | Sequence[TextPart]) -> list[str]:
    if isinstance(given, str):
        return [given]
    texts = [each for each in given if isinstance(each, str)]
    return texts or ["\n".join(each.text for each in given if isinstance(each, TextPart))]


def _encoded(vector: Any, form: str) -> Any:
    return base64.b64encode(vector.astype(np.float32).tobytes()).decode() if form == "base64" else vector


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}
