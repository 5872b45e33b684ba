"""System One's protocol: a state, and typed questions on it, each with an id; `/v1/systemone`.

- noul: whether something holds, as its probability: that of yes in a choice between yes and no, which the criteria
  describe. One that tells the positive side alone is a predicate (docs/log.md has what each gave);
- choice: one of 2 to 255 named options, with probabilities and `confidence`: how far the best one's probability p lies
  between chance and certainty, (p - 1/n) / (1 - 1/n);
- score: a level of 2 to 10, counted from 0: `score` is the sum of each level times its probability, `confidence` is 1
  less the expected distance from the likeliest level, in units of the mean distance from the middle.

A state, an instruction or a description may be an object or a list: it is read as lines of `key: value`. The model
`jev-latest`, which the protocol's clients ask for by default, and no model at all are the server's first pack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from umbel.answers import DIGITS
from umbel.errors import InputError, NotFoundError, suggest
from umbel.inquiries import Inquiry
from umbel.questions import (
    LEAST_LEVELS,
    MOST_LEVELS,
    MOST_OPTIONS,
    Choice,
    Option,
    Predicate,
    PredicateAnswer,
    Question,
    Score,
    ScoreAnswer,
)
from umbel.server import schemas
from umbel.server.faults import Fault
from umbel.server.protocols import Protocol
from umbel.server.routing import REASONS, Answer, router
from umbel.server.service import Deployed, Service
from umbel.server.work import work_of

LATEST = "jev-latest"
YES, NO = "yes", "no"
DEEPEST = 32  # of objects and lists in each other
KINDS = {401: "authentication_error", 403: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

Words = str | dict[str, Any] | list[Any]


class Given(BaseModel):
    """A part of a request; what it does not know is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class NoulCriteria(schemas.Given):
    """What counts as yes, and what as no."""

    true: Words | None = None
    false: Words | None = None


class NoulGiven(Given):
    """Does it hold?"""

    type: Literal["noul"]
    instructions: Words | None = None
    criteria: NoulCriteria | str | None = None


class ChoiceGiven(Given):
    """Which one of the options?"""

    type: Literal["choice"]
    instructions: Words | None = None
    criteria: dict[str, Words | None] = Field(min_length=2, max_length=MOST_OPTIONS)


class ScoreGiven(Given):
    """How far, on a scale of levels, the lowest first?"""

    type: Literal["score"]
    instructions: Words | None = None
    criteria: list[Words] = Field(min_length=LEAST_LEVELS, max_length=MOST_LEVELS)


QuestionGiven = Annotated[NoulGiven | ChoiceGiven | ScoreGiven, Field(discriminator="type")]


class SystemOneRequest(Given):
    """A state, and questions on it by their ids."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": LATEST,
                    "state": {"subject": "Charged twice", "body": "I was charged twice for March. Please fix it."},
                    "questions": {
                        "refund": {"type": "noul", "instructions": "The customer wants money back"},
                        "team": {
                            "type": "choice",
                            "instructions": "Which team?",
                            "criteria": {"Billing": "payments", "Sales": None},
                        },
                        "anger": {"type": "score", "instructions": "How angry?", "criteria": ["calm", "furious"]},
                    },
                }
            ]
        }
    )

    state: Words
    questions: dict[str, QuestionGiven] = Field(min_length=1, max_length=schemas.MOST_QUESTIONS)
    model: str | None = None


class NoulShown(BaseModel):
    """The probability that it holds."""

    type: Literal["noul"]
    noul: float


class ChoiceShown(BaseModel):
    """The likeliest option, and the probabilities of all."""

    type: Literal["choice"]
    choice: str
    confidence: float
    probabilities: dict[str, float]


class ScoreShown(BaseModel):
    """The expected level, and the probabilities of all, by their numbers."""

    type: Literal["score"]
    score: float
    confidence: float
    probabilities: dict[str, float]
    legend: dict[str, Words]


class Usage(BaseModel):
    """Tokens as the server admits them; an answer is read off, not written, so none are put out."""

    input_tokens: int
    output_tokens: int


class SystemOneAnswer(BaseModel):
    """Answers by their questions' ids."""

    model: str
    answers: dict[str, NoulShown | ChoiceShown | ScoreShown]
    usage: Usage


class SystemOneError(BaseModel):
    """An error in System One's form: `detail` is a list where a field is wrong."""

    detail: dict[str, Any] | list[dict[str, Any]]


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": SystemOneError, "description": reason} for status, reason in REASONS.items() if status != 400
}


def error(fault: Fault, request_id: str) -> Mapping[str, Any]:
    """Return an error as System One gives it."""
    message = f"{fault.message} ({fault.hint})" if fault.hint else fault.message
    if fault.status == 422:
        where = [part for part in fault.where.removeprefix("body").split(".") if part]
        return {"detail": [{"loc": ["body", *where], "msg": message, "type": fault.code}]}
    kind = KINDS.get(fault.status, "api_error" if fault.status >= 500 else "api_usage_error")
    return {"detail": {"error_type": kind, "message": message}}


def protocol(service: Service) -> Protocol:
    """Return System One's route; `/v1/models` is in `openai`, which has it, too."""
    routes = router(responses=RESPONSES, tags=["System One"])

    @routes.post("/v1/systemone", response_model=SystemOneAnswer)
    async def systemone(body: SystemOneRequest) -> Response:
        """Answer typed questions on a state, with calibrated probabilities, from one reading of it."""
        found = _pack(service, body.model)
        state = flat(body.state, "\n")
        if not state.strip():
            raise InputError("the state is blank", "say what the questions are about", field="state")
        questions = [question_of(each) for each in body.questions.values()]
        try:
            reply = await service.ask(state, questions, pack=found.name)
        except InputError as fault:
            raise InputError(fault.message, fault.hint, _field(fault.field, body)) from fault
        given = zip(body.questions.items(), reply.answers, strict=True)
        answers = {name: answered(asked, answer) for (name, asked), answer in given}
        usage = {"input_tokens": work_of(Inquiry(state, (), questions)), "output_tokens": 0}
        return Answer({"model": found.name, "answers": answers, "usage": usage})

    return Protocol(routes, error, statuses={400: 422})


def question_of(asked: NoulGiven | ChoiceGiven | ScoreGiven) -> Question:
    """Return a question as the library has it."""
    words = flat(asked.instructions)
    if isinstance(asked, ChoiceGiven):
        options = tuple(Option(name, flat(about)) for name, about in asked.criteria.items())
        return Choice(words or "Which one fits?", options)
    if isinstance(asked, ScoreGiven):
        return Score(words or "Which level fits?", tuple(Option(flat(level)) for level in asked.criteria))
    if not (words or asked.criteria):
        raise InputError("a noul has neither instructions nor criteria", "say what is to hold", field="questions")
    criteria = NoulCriteria(true=asked.criteria) if isinstance(asked.criteria, str) else asked.criteria
    true, false = (flat(criteria.true), flat(criteria.false)) if criteria else ("", "")
    if true and not false:
        return Predicate(f"{words} ({true})" if words else true)
    return Choice(words or "Which one fits?", (Option(YES, true), Option(NO, false)))


def answered(asked: NoulGiven | ChoiceGiven | ScoreGiven, answer: Any) -> dict[str, Any]:
    """Return an answer as plain values."""
    if isinstance(asked, NoulGiven):
        holds = answer.probability if isinstance(answer, PredicateAnswer) else answer.probabilities[YES]
        return {"type": "noul", "noul": round(holds, DIGITS)}
    by_name = {name: round(each, DIGITS) for name, each in answer.probabilities.items()}
    probabilities = list(by_name.values())
    if isinstance(asked, ChoiceGiven):
        return {
            "type": "choice",
            "choice": answer.label,
            "confidence": round(choice_confidence(probabilities), DIGITS),
            "probabilities": by_name,
        }
    assert isinstance(answer, ScoreAnswer)
    return {
        "type": "score",
        "score": round(sum(level * each for level, each in enumerate(probabilities)), DIGITS),
        "confidence": round(score_confidence(probabilities), DIGITS),
        "probabilities": {str(level): each for level, each in enumerate(probabilities)},
        "legend": {str(level): words for level, words in enumerate(asked.criteria)},
    }


def choice_confidence(probabilities: Sequence[float]) -> float:
    """Return how far the best of n probabilities `[options]` lies between 1/n, which gives 0, and 1."""
    chance = 1 / len(probabilities)
    return min(max((max(probabilities) - chance) / (1 - chance), 0.0), 1.0)


def score_confidence(probabilities: Sequence[float]) -> float:
    """Return 1 less the expected distance `[levels]` from the likeliest level, over the mean one from the middle."""
    count = len(probabilities)
    mode = max(range(count), key=probabilities.__getitem__)
    distance = sum(each * abs(level - mode) for level, each in enumerate(probabilities))
    even = sum(abs(level - (count - 1) / 2) for level in range(count)) / count
    return min(max(1 - distance / even, 0.0), 1.0)


def flat(value: Any, between: str = "; ", depth: int = 0) -> str:
    """Return text as it is, an object or a list as `key: value` and items with `between` between them.

    Raises:
        InputError: they are nested too deep.
    """
    if depth > DEEPEST:
        raise InputError(f"objects and lists are nested more than {DEEPEST} deep", "send less of them", field="body")
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return between.join(f"{key}: {flat(each, ', ', depth + 1)}" for key, each in value.items())
    if isinstance(value, list):
        return between.join(flat(each, ", ", depth + 1) for each in value)
    return "" if value is None else orjson.dumps(value).decode()


def _pack(service: Service, model: str | None) -> Deployed:
    if model in (None, LATEST):
        return service.pack()
    if model not in service.packs:
        known = [LATEST, *service.packs]
        raise NotFoundError(f"the model {model!r} is not served{suggest(str(model), known)}")
    return service.pack(model)


def _field(where: str, body: SystemOneRequest) -> str:
    """Return the service's name of a field in this protocol's words: questions have ids here, not places."""
    for place, name in enumerate(body.questions):
        if where == f"questions[{place}]":
            return f"questions.{name}"
    return {"text": "state", "pack": "model"}.get(where, where)
