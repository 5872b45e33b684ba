"""The bodies of OpenAI's routes, as its clients write and read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from umbel.questions import MOST_OPTIONS
from umbel.server import schemas
from umbel.server.routing import REASONS

MOST_INPUTS, MOST_DECISIONS = 2048, 64
Each = TypeVar("Each")
Some = Annotated[list[Each], Field(min_length=1, max_length=MOST_INPUTS)]


class OpenAIErrorBody(BaseModel):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error in OpenAI's form."""

    error: OpenAIErrorBody


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError, "description": reason} for status, reason in REASONS.items()
}


class Given(BaseModel):
    """A request; fields that only OpenAI's own models know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TextPart(Given):
    """A part of a multi-modal input; only text is read."""

    type: Literal["text"]
    text: schemas.Text


class ModerationRequest(Given):
    """Texts to look at; a list of parts is one text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": "You are a fool"}]})

    input: schemas.Text | Some[schemas.Text] | Some[TextPart]
    model: str | None = None


class EmbeddingRequest(Given):
    """Texts to make vectors of."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "base", "input": ["How do I get a refund?"]}]})

    input: schemas.Text | Some[schemas.Text]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="Only the pack's own number.")


class _Decision(schemas.Given):
    name: str | None = Field(None, max_length=200, description="To find the answer by.")


class PredicateDecision(_Decision):
    """Does the statement hold?"""

    type: Literal["predicate"]
    statement: schemas.Text


class ChoiceDecision(_Decision):
    """Which one of the options?"""

    type: Literal["choice"]
    question: schemas.Text
    options: list[schemas.Text | schemas.OptionGiven] = Field(min_length=2, max_length=MOST_OPTIONS)


class ScoreDecision(_Decision):
    """How far, on a scale of levels, the lowest first?"""

    type: Literal["score"]
    question: schemas.Text
    levels: list[schemas.Text | schemas.OptionGiven] = Field(min_length=2, max_length=10)


Decision = Annotated[PredicateDecision | ChoiceDecision | ScoreDecision, Field(discriminator="type")]


class DecisionRequest(schemas.Given):
    """One input, and what to decide of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input": "I was charged twice!",
                    "decisions": [
                        {"type": "predicate", "name": "refund", "statement": "The customer wants money back"},
                        {"type": "choice", "name": "team", "question": "Which team?", "options": ["billing", "sales"]},
                    ],
                }
            ]
        }
    )

    input: schemas.Text
    decisions: list[Decision] = Field(min_length=1, max_length=MOST_DECISIONS)
    model: str | None = None


class ModelShown(BaseModel):
    """A pack as a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelDescribed(BaseModel):
    """A pack as System One lists models; its date is that of the server's start."""

    name: str
    description: str
    release_date: str


class ModelsAnswer(BaseModel):
    """All packs, once in OpenAI's form and once in System One's."""

    object: Literal["list"]
    data: list[ModelShown]
    models: list[ModelDescribed]


class ModerationResult(BaseModel):
    """One text's categories."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class ModerationAnswer(BaseModel):
    """Results in the order of the texts."""

    id: str
    model: str
    results: list[ModerationResult]


class EmbeddingShown(BaseModel):
    """One vector, of length 1; in base64 the bytes of its 32-bit numbers."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingShown]
    usage: dict[str, int]


class DecisionShown(BaseModel):
    """One decision's answer."""

    object: Literal["decision"]
    index: int
    name: str | None
    type: str
    value: bool | str | float
    probability: float
    probabilities: dict[str, float] | None = None
    level: str | None = None


class DecisionAnswer(BaseModel):
    """Answers in the order of the decisions."""

    id: str
    object: Literal["list"]
    model: str
    created: int
    data: list[DecisionShown]
    usage: dict[str, int]
