"""The protocol of text-embeddings-inference: `/embed`, `/similarity`, `/rerank`, `/predict`, `/info`.

That server holds one model, this one packs with many tasks: `?pack=NAME` names a pack (the first one where none is
named), and `?task=NAME` the task that `/predict` answers, in the address that a client is given. `POST /` is `/embed`,
as that server has it for a model of embeddings. `/health` and `/metrics` are those of `native` and `metrics`.

`/rerank` orders texts by the cosine of their vectors with the query's: `score` is (1 + cosine) / 2, in [0, 1] and in
the same order, and with `raw_scores` the cosine itself. Texts are read whole, so `truncate` changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

import umbel
from umbel.answers import DIGITS, best
from umbel.errors import InputError, suggest
from umbel.records import LabelPrediction, LabelsPrediction, Prediction
from umbel.server import schemas
from umbel.server.faults import Fault
from umbel.server.protocols import Protocol
from umbel.server.routing import REASONS, Answer, router
from umbel.server.service import LONGEST, Deployed, Service

CLASSIFIES = "text-classification"
KINDS = {429: "overloaded", 503: "unhealthy", 500: "backend", 501: "backend"}

PackName = Annotated[str | None, Query(alias="pack", description="A pack; the first one where none is named.")]
TaskName = Annotated[str | None, Query(alias="task", description="A task of the pack, of kind text-classification.")]
Texts = Annotated[list[schemas.Text], Field(min_length=1, max_length=schemas.MOST_TEXTS)]
Sequence = Annotated[list[schemas.Text], Field(min_length=1, max_length=2)]


class Given(BaseModel):
    """A request; what only that server's models know is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    truncate: bool | None = Field(None, description="Changes nothing: texts are read whole.")


class EmbedRequest(Given):
    """Texts to make vectors of, of length 1."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["How do I get a refund?"]}]})

    inputs: schemas.Text | Texts
    normalize: Literal[True] | None = Field(None, description="Vectors are always of length 1.")
    dimensions: int | None = Field(None, ge=1, description="Only the pack's own number.")
    prompt_name: None = Field(None, description="Packs have no prompts.")


class Compared(schemas.Given):
    """A text, and those to compare it with."""

    source_sentence: schemas.Text
    sentences: Texts


class SimilarityRequest(Given):
    """Texts to compare."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"inputs": {"source_sentence": "Where is my money?", "sentences": ["I want a refund"]}}]
        }
    )

    inputs: Compared


class RerankRequest(Given):
    """A query, and texts to order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"query": "How do I get a refund?", "texts": ["We are open till five", "Refunds take a week"]}]
        }
    )

    query: schemas.Text
    texts: Texts
    raw_scores: bool = False
    return_text: bool = False


class PredictRequest(Given):
    """A text, or a batch of lists with one text each; a list of two texts is a pair, which no task of a pack takes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": [["I was charged twice!"], ["Thank you"]]}]})

    inputs: schemas.Text | Sequence | Annotated[list[Sequence], Field(min_length=1, max_length=schemas.MOST_TEXTS)]
    raw_scores: Literal[False] | None = Field(None, description="Packs give probabilities.")


class Rank(BaseModel):
    """A text's place in the request, and its score."""

    index: int
    score: float
    text: str | None = None


class Predicted(BaseModel):
    """A label and its probability."""

    score: float
    label: str


class Info(BaseModel):
    """What is served."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: dict[str, dict[str, Any]]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


class TeiError(BaseModel):
    """An error in text-embeddings-inference's form."""

    error: str
    error_type: str


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": TeiError, "description": reason} for status, reason in REASONS.items()
}


def error(fault: Fault, request_id: str) -> Mapping[str, Any]:
    """Return an error as text-embeddings-inference gives it."""
    where = f"{fault.where}: " if fault.where else ""
    hint = f" ({fault.hint})" if fault.hint else ""
    return {"error": f"{where}{fault.message}{hint}", "error_type": KINDS.get(fault.status, "validation")}


def protocol(service: Service) -> Protocol:
    """Return the routes of text-embeddings-inference."""
    routes = router(responses=RESPONSES, tags=["text-embeddings-inference"])
    _vectors(routes, service)
    _predicting(routes, service)
    return Protocol(routes, error)


def _vectors(routes: APIRouter, service: Service) -> None:
    async def vectors(texts: list[str], pack: str | None) -> Any:
        """Return vectors `[texts, hidden]`."""
        return np.stack([each.vector for each in await _told(service.embed(texts, pack))])

    @routes.post("/", response_model=list[list[float]], operation_id="embed_root")
    @routes.post("/embed", response_model=list[list[float]])
    async def embed(body: EmbedRequest, pack: PackName = None) -> Response:
        """Return each text's vector, of length 1."""
        found = await vectors([body.inputs] if isinstance(body.inputs, str) else body.inputs, pack)
        if body.dimensions not in (None, found.shape[1]):
            raise InputError(f"the vectors have {found.shape[1]} numbers", "leave it out", "dimensions")
        return Answer(found)

    @routes.post("/similarity", response_model=list[float])
    async def similarity(body: SimilarityRequest, pack: PackName = None) -> Response:
        """Return the cosine of each text with one."""
        found = await vectors([body.inputs.source_sentence, *body.inputs.sentences], pack)
        return Answer(_cosines(found))

    @routes.post("/rerank", response_model=list[Rank], response_model_exclude_none=True)
    async def rerank(body: RerankRequest, pack: PackName = None) -> Response:
        """Order texts by how like the query they are, the likest first."""
        cosines = _cosines(await vectors([body.query, *body.texts], pack))
        scores = cosines if body.raw_scores else [round((1 + each) / 2, DIGITS) for each in cosines]
        order = sorted(range(len(scores)), key=lambda place: -scores[place])
        texts = body.texts if body.return_text else [None] * len(scores)
        ranks = [{"index": place, "score": scores[place], "text": texts[place]} for place in order]
        return Answer([{key: value for key, value in rank.items() if value is not None} for rank in ranks])


def _predicting(routes: APIRouter, service: Service) -> None:
    @routes.post("/predict", response_model=list[Predicted] | list[list[Predicted]])
    async def predict(body: PredictRequest, pack: PackName = None, task: TaskName = None) -> Response:
        """Answer one task of a pack: each label with its probability, the likeliest first."""
        found = service.pack(pack)
        name = _task(found, task)
        batched = isinstance(body.inputs, list) and isinstance(body.inputs[0], list)
        texts = _single(body.inputs)
        results = await _told(service.analyze(texts, [name], found.name))
        shown = [ranked(result[name]) for result in results]
        return Answer(shown if batched else shown[0])

    @routes.get("/info", response_model=Info)
    async def info(pack: PackName = None, task: TaskName = None) -> Response:
        """Tell what is served: vectors, or with `task` a classifier and its labels."""
        found, limits = service.pack(pack), service.scheduler.limits
        return Answer(
            {
                "model_id": found.name,
                "model_sha": found.manifest.backbone.sha256,
                "model_dtype": "float32",
                "model_type": _type(found, task),
                "max_concurrent_requests": limits.queue_work,
                "max_input_length": LONGEST,
                "max_batch_tokens": limits.batch_work,
                "max_batch_requests": None,
                "max_client_batch_size": schemas.MOST_TEXTS,
                "auto_truncate": False,
                "tokenization_workers": service.crew.lanes,
                "version": umbel.__version__,
                "sha": None,
                "docker_label": None,
            }
        )


def ranked(prediction: Prediction) -> list[dict[str, Any]]:
    """Return labels with their probabilities, the likeliest first."""
    assert isinstance(prediction, LabelPrediction | LabelsPrediction)
    found = best(prediction.probabilities)
    return [{"score": round(probability, DIGITS), "label": label} for label, probability in found.items()]


async def _told(answering: Any) -> Any:
    """Wait for answers, naming the service's field `texts` as this protocol does."""
    try:
        return await answering
    except InputError as fault:
        where = fault.field.replace("texts", "inputs") if fault.field.startswith("text") else fault.field
        raise InputError(fault.message, fault.hint, where) from fault


def _cosines(vectors: Any) -> list[float]:
    """Return the cosines of the first of vectors `[texts, hidden]` with the others."""
    return [round(float(each), DIGITS) for each in vectors[1:] @ vectors[0]]


def _single(inputs: str | list[str] | list[list[str]]) -> list[str]:
    given = [inputs] if isinstance(inputs, str) or isinstance(inputs[0], str) else inputs
    texts = [each if isinstance(each, list) else [each] for each in given]
    if any(len(each) > 1 for each in texts):
        raise InputError(
            "found a pair of texts, and tasks of packs take single ones", 'send [["one"], ["two"]]', "inputs"
        )
    return [each[0] for each in texts]


def _task(found: Deployed, name: str | None) -> str:
    """Return the task to answer: the one named, or the only one there is."""
    known = [each for each, task in found.tasks.items() if task.kind == CLASSIFIES]
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        hint = f"name one in the address, as /predict?task={known[0]}" if known else "serve a pack that has some"
        raise InputError(f"pack {found.name} has {len(known)} tasks that classify", hint, "task")
    if name not in known:
        raise InputError(f"{name!r} is no task of pack {found.name} that classifies{suggest(name, known)}", "", "task")
    return name


def _type(found: Deployed, task: str | None) -> dict[str, Any]:
    if task is None and found.vector_task:
        return {"embedding": {"pooling": "mean"}}
    labels = found.tasks[_task(found, task)].labels
    names = {str(place): label for place, label in enumerate(labels)}
    return {"classifier": {"id2label": names, "label2id": {label: place for place, label in enumerate(labels)}}}
