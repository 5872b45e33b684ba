"""Perspective's protocol: `comments:analyze`, for programs that called that service, which ends with 2026.

What an attribute means here `attributes` says: a task's labels, or a statement. All attributes of a comment are told
from one reading of it, and with `spanAnnotations` from one of each sentence. Google's client libraries find the route
at `/$discovery/rest`. Nothing is stored, whether `doNotStore` says so or not: there is no `comments:suggestscore`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Query, Request, Response

from umbel.answers import DIGITS
from umbel.errors import InputError
from umbel.inquiries import Inquiry, Reply
from umbel.questions import PredicateAnswer, Question
from umbel.records import UNKNOWN_LANGUAGE, LabelPrediction, LabelsPrediction, language_of
from umbel.retrieval.passages import sentences
from umbel.server.attributes import DEFAULTS, Attribute, Attributes
from umbel.server.faults import Fault
from umbel.server.perspective_schemas import RESPONSES, AnalyzeAnswer, AnalyzeRequest, discovery
from umbel.server.protocols import Protocol
from umbel.server.routing import Answer, router
from umbel.server.service import Deployed, Service

PROBABILITY, PLAIN = "PROBABILITY", "PLAIN_TEXT"
UNSET = (None, "SCORE_TYPE_UNSPECIFIED", "TEXT_TYPE_UNSPECIFIED")
ERROR = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Source:
    """What tells an attribute: labels of a task, or the question at `question`; of a choice the options `labels`."""

    task: str = ""
    labels: Sequence[str] = ()
    question: int = 0

    def probability(self, reply: Reply) -> float:
        """Return it from the answers on a text."""
        answer = reply.result[self.task] if self.task else reply.answers[self.question]
        if isinstance(answer, PredicateAnswer):
            return answer.probability
        assert isinstance(answer, LabelPrediction | LabelsPrediction)
        found = [answer.probabilities[label] for label in self.labels]
        return min(sum(found), 1.0) if isinstance(answer, LabelPrediction) else max(found)


def error(fault: Fault, request_id: str) -> Mapping[str, Any]:
    """Return an error as Google gives it."""
    status = STATUSES.get(fault.status, "INTERNAL" if fault.status >= 500 else HTTPStatus(fault.status).name)
    where = f"{fault.where}: " if fault.where and not fault.details else ""
    hint = f" ({fault.hint})" if fault.hint and not fault.details else ""
    found = fault.details or ({"errorType": "INVALID_REQUEST"} if fault.status == 400 else {})
    details = {"details": [{"@type": ERROR} | dict(found)]} if found else {}
    return {"error": {"code": fault.status, "message": f"{where}{fault.message}{hint}", "status": status} | details}


def protocol(service: Service) -> Protocol:
    """Return Perspective's routes."""
    routes = router(responses=RESPONSES, tags=["Perspective"])
    attributes: Attributes = service.options.get("perspective", DEFAULTS)

    @routes.post("/v1alpha1/comments:analyze", response_model=AnalyzeAnswer, response_model_exclude_none=True)
    async def analyze(body: AnalyzeRequest) -> Response:
        """Score attributes of a comment, all from one reading of it."""
        found, text = service.pack(), body.comment.text
        _check(body, attributes, found)
        detected = language_of(text)
        if not body.languages and detected == UNKNOWN_LANGUAGE:
            raise _fault("Unable to detect language", "LANGUAGE_DETECTION_FAILED")
        languages = body.languages or [detected]
        sources, questions = planned(body, attributes, found, languages)
        parts = [(0, len(text))]
        parts += sentences(text) if body.spanAnnotations else []
        tasks = list(dict.fromkeys(source.task for source in sources.values() if source.task))
        texts = list(dict.fromkeys(text[start:end] for start, end in parts))
        replies = await service.inquire([Inquiry(each, tasks, questions) for each in texts], found.name)
        by_text = dict(zip(texts, replies, strict=True))
        scores = scored(body, sources, parts, [by_text[text[start:end]] for start, end in parts])
        answer: dict[str, Any] = {"attributeScores": scores, "languages": languages, "detectedLanguages": [detected]}
        answer |= {"clientToken": body.clientToken}
        return Answer({name: value for name, value in answer.items() if value or name.endswith("anguages")})

    @routes.get("/$discovery/rest", response_model=dict[str, Any])
    async def described(request: Request, version: str = Query("v1alpha1")) -> Response:
        """Describe `comments:analyze` to Google's client libraries."""
        return Answer(discovery(str(request.base_url)))

    return Protocol(routes, error, public=("/$discovery/",), statuses={422: 400})


def planned(
    body: AnalyzeRequest, attributes: Attributes, found: Deployed, languages: Sequence[str]
) -> tuple[dict[str, Source], list[Question]]:
    """Return what tells each attribute, and the questions to ask for that.

    Raises:
        InputError: nothing tells one of them of texts in any of these languages.
    """
    sources, questions = {}, list[Question]()
    for name in body.requestedAttributes:
        source = _source(attributes[name], found, languages, questions)
        if source is None:
            told = {"detectedLanguages": list(languages), "requestedLanguages": list(languages), "attribute": name}
            raise _fault(
                f"Attribute {name} does not support request languages: {', '.join(languages)}",
                "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
                languageNotSupportedByAttributeError=told,
            )
        sources[name] = source
    return sources, questions


def _source(
    attribute: Attribute, found: Deployed, languages: Sequence[str], questions: list[Question]
) -> Source | None:
    primary = [language.partition("-")[0].lower() for language in languages]
    for language in primary:
        task = attribute.task_for(language, found.tasks)
        if task:
            return Source(task, attribute.tasks[task])
    asked = attribute.asked
    if asked is None or not found.asks or not {*primary} & {*attribute.languages}:
        return None
    if asked not in questions:
        questions.append(asked)
    return Source(labels=attribute.counts, question=questions.index(asked))


def scored(
    body: AnalyzeRequest, sources: Mapping[str, Source], parts: Sequence[tuple[int, int]], replies: Sequence[Reply]
) -> dict[str, Any]:
    """Return the scores by attribute, of the text (its first part) and of its parts; those below a threshold left out.

    Parts are code points of the text, spans that are given units of UTF-16.
    """
    units = _units(body.comment.text)
    shown = {}
    for name, source in sources.items():
        values = [{"value": round(source.probability(reply), DIGITS), "type": PROBABILITY} for reply in replies]
        spans = [
            {"begin": units[start], "end": units[end], "score": value}
            for (start, end), value in zip(parts, values, strict=True)
        ]
        threshold = body.requestedAttributes[name].scoreThreshold
        if threshold is None or float(str(values[0]["value"])) >= threshold:
            shown[name] = {"summaryScore": values[0], "spanScores": spans[1:] or spans}
    return shown


def _units(text: str) -> list[int]:
    """Return for each offset in code points the one in units of UTF-16, of which rarer characters take two."""
    units = [0]
    for character in text:
        units.append(units[-1] + (2 if ord(character) > 0xFFFF else 1))
    return units


def _check(body: AnalyzeRequest, attributes: Attributes, found: Deployed) -> None:
    """Tell what is wrong with a request, in Perspective's words."""
    if not body.comment.text.strip():
        raise _fault("Comment must be non-empty.", "COMMENT_EMPTY")
    if body.comment.type not in (*UNSET, PLAIN):
        raise _fault("Currently, only 'PLAIN_TEXT' comments are supported", "INVALID_REQUEST")
    if not body.requestedAttributes:
        raise _fault("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")
    for name, asked in body.requestedAttributes.items():
        if name not in attributes or not attributes[name].known(found.tasks, found.asks):
            raise _fault(f"Unknown requested attribute: {name}", "INVALID_REQUEST")
        if asked.scoreType not in (*UNSET, PROBABILITY):
            raise _fault(
                f"Requested score type {asked.scoreType} is not supported by attribute {name}", "INVALID_REQUEST"
            )


def _fault(message: str, kind: str, **more: object) -> InputError:
    return InputError(message, details={"errorType": kind} | more)
