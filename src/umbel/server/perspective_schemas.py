"""The bodies of Perspective's routes, and its description for Google's client libraries."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from umbel.server.routing import REASONS

MOST_ATTRIBUTES = 64


class Given(BaseModel):
    """A part of a request; what only Perspective knows is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Comment(Given):
    """A text."""

    text: str = ""
    type: str | None = Field(None, description="PLAIN_TEXT.")


class AttributeAsked(Given):
    """How an attribute is to be scored."""

    scoreType: str | None = Field(None, description="PROBABILITY.")  # noqa: N815 - Perspective's name
    scoreThreshold: float | None = Field(None, description="A lower score is left out.")  # noqa: N815


class AnalyzeRequest(Given):
    """A comment, and the attributes to score."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "comment": {"text": "What an idiot. I like your name."},
                    "languages": ["en"],
                    "requestedAttributes": {"TOXICITY": {}, "INSULT": {"scoreThreshold": 0.5}},
                    "spanAnnotations": True,
                    "doNotStore": True,
                }
            ]
        }
    )

    comment: Comment
    requestedAttributes: dict[str, AttributeAsked] = Field(  # noqa: N815
        default_factory=dict, max_length=MOST_ATTRIBUTES
    )
    languages: list[str] = Field(default_factory=list, max_length=32)
    spanAnnotations: bool = Field(False, description="Score each sentence, too.")  # noqa: N815
    doNotStore: bool = Field(False, description="Nothing is ever stored.")  # noqa: N815
    clientToken: str | None = Field(None, description="Given back as it is.")  # noqa: N815


class Value(BaseModel):
    """A probability."""

    value: float
    type: Literal["PROBABILITY"]


class SpanScore(BaseModel):
    """The score of a part of the comment, from `begin` to before `end`, counted in units of UTF-16."""

    begin: int
    end: int
    score: Value


class AttributeScore(BaseModel):
    """An attribute's score of the comment, and of its parts: its sentences, or all of it as one."""

    summaryScore: Value  # noqa: N815
    spanScores: list[SpanScore]  # noqa: N815


class AnalyzeAnswer(BaseModel):
    """Scores by attribute."""

    attributeScores: dict[str, AttributeScore] | None = None  # noqa: N815
    languages: list[str]
    detectedLanguages: list[str]  # noqa: N815
    clientToken: str | None = None  # noqa: N815


class Status(BaseModel):
    """What went wrong, in Google's words."""

    code: int
    message: str
    status: str
    details: list[dict[str, Any]] = Field(default_factory=list)


class PerspectiveError(BaseModel):
    """An error in Google's form."""

    error: Status


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": PerspectiveError, "description": reason.replace("`field`", "the message")}
    for status, reason in (REASONS | {400: "The body is not JSON, or something in the request is wrong."}).items()
    if status != 422
}


def discovery(root: str) -> dict[str, Any]:
    """Return what Google's client libraries build a client from; `root` is the server's address, ending in a slash."""
    analyze = {
        "id": "commentanalyzer.comments.analyze",
        "path": "v1alpha1/comments:analyze",
        "httpMethod": "POST",
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": "AnalyzeCommentRequest"},
        "response": {"$ref": "AnalyzeCommentResponse"},
        "description": "Scores attributes of a comment.",
    }
    anything = {"type": "object", "additionalProperties": {"type": "any"}}
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "title": "Perspective Comment Analyzer API, served by Umbel",
        "protocol": "rest",
        "rootUrl": root,
        "baseUrl": root,
        "servicePath": "",
        "basePath": "",
        "batchPath": "batch",
        "parameters": {"key": {"type": "string", "location": "query", "description": "A key of the server."}},
        "schemas": {name: {"id": name} | anything for name in ("AnalyzeCommentRequest", "AnalyzeCommentResponse")},
        "resources": {"comments": {"methods": {"analyze": analyze}}},
    }
