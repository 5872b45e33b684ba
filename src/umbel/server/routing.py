"""What routes of all protocols share: JSON read and written quickly, and the errors that any of them may give."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


class Answer(Response):
    """A response of plain values as JSON; vectors may be numpy arrays.

    Return it from a route, and name the model it follows in the route's `response_model`: that is for the documents,
    while values that this package made need no validation.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return orjson.dumps(content, option=OPTIONS)


class _JsonRequest(Request):
    async def json(self) -> Any:
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """A route that reads JSON by orjson, which refuses what is not UTF-8, lone surrogates and deep nesting."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await inner(_JsonRequest(request.scope, request.receive))

        return handle


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="A word for programs.")
    message: str
    hint: str | None = Field(None, description="What to do.")
    field: str | None = Field(None, description="The part of the request that is wrong.")
    retry: bool = Field(description="Whether the same request may succeed later.")
    request_id: str


class ErrorAnswer(BaseModel):
    """An error of a native route."""

    error: ErrorBody


REASONS = {
    400: "The body is not JSON, or a conversation is longer than its decoder's context.",
    401: "A key is needed.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    413: "The request is too large.",
    422: "Something in the request is wrong; `field` names it.",
    429: "The queue is full, or a limit of the key is reached; `Retry-After` says when to come again.",
    501: "The server lacks an optional part, which the message names.",
    503: "Not ready, ending, or too slow; `Retry-After` says when to come again.",
    507: "The server has no room to store what this makes.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": reason} for status, reason in REASONS.items()
}


def router(**more: Any) -> APIRouter:
    """Return a router of JSON routes; without `responses` it documents errors in the native form."""
    return APIRouter(route_class=JsonRoute, **({"responses": RESPONSES} | more))
