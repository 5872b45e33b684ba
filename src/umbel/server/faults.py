"""Errors as HTTP answers: the one place where each gets its status, headers and body."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from umbel.errors import (
    AccessError,
    BackboneError,
    BusyError,
    CacheError,
    ContextError,
    DecoderError,
    DownloadError,
    InputError,
    MissingExtraError,
    NotFoundError,
    PackError,
    RetrievalError,
    TimeLimitError,
    TooLargeError,
    UmbelError,
    UnavailableError,
)
from umbel.server.validation import in_words


@dataclass(frozen=True)
class Fault:
    """What went wrong with a request; `code` is a word for programs, `where` names the part of the request."""

    status: int
    code: str
    message: str
    hint: str = ""
    where: str = ""
    retry: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


ErrorShape = Callable[[Fault, str], Mapping[str, Any]]
"""Turns a fault and the request's id into a protocol's own JSON."""

STATUS: tuple[tuple[type[UmbelError], int, str], ...] = (  # the first that fits
    (ContextError, 400, "context_length_exceeded"),
    (InputError, 422, "invalid"),
    (NotFoundError, 404, "not_found"),
    (TooLargeError, 413, "too_large"),
    (BusyError, 429, "busy"),
    (UnavailableError, 503, "unavailable"),
    (PackError, 422, "pack"),
    (RetrievalError, 422, "index"),
    (CacheError, 507, "storage"),
    (MissingExtraError, 501, "missing_extra"),
    (TimeLimitError, 503, "timeout"),
    (DecoderError, 503, "decoder"),
    (BackboneError, 422, "backbone"),
    (DownloadError, 503, "download"),
)


def native_error(fault: Fault, request_id: str) -> Mapping[str, Any]:
    """Return an error as the native routes give it."""
    shown = {"code": fault.code, "message": fault.message, "hint": fault.hint, "field": fault.where}
    error = {name: value for name, value in shown.items() if value} | {"retry": fault.retry, "request_id": request_id}
    return {"error": error}


def fault_of(error: BaseException) -> Fault:
    """Return what a client is told of an error; one that was not raised on purpose is told without its words."""
    if isinstance(error, AccessError):
        status, code = (403, "forbidden") if error.known else (401, "unauthorized")
        headers = {} if error.known else {"www-authenticate": 'Bearer realm="umbel"'}
        return Fault(status, code, error.message, error.hint, headers=headers)
    if isinstance(error, UmbelError):
        return _of_umbel(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Fault(error.status_code, code, str(error.detail), headers=error.headers or {})
    if isinstance(error, TimeoutError):
        return Fault(503, "timeout", "it took too long", "send less at once, or try again", retry=True)
    return Fault(500, "internal", "something went wrong here", "the server's log says what, by the request's id")


def _of_umbel(error: UmbelError) -> Fault:
    status, code = next(((s, c) for kind, s, c in STATUS if isinstance(error, kind)), (500, "internal"))
    headers = {}
    if isinstance(error, BusyError):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    elif status == 503:
        headers["retry-after"] = "1"
    where, details = (error.field, error.details) if isinstance(error, InputError) else ("", {})
    return Fault(status, code, error.message, error.hint, where, error.retry, headers, details)


def _of_validation(error: RequestValidationError) -> Fault:
    """Return all that validation found, with the path of the first field; no text that was given is repeated."""
    details = error.errors()
    first = details[0]
    if first["type"] == "json_invalid":
        said = first.get("ctx", {}).get("error", "")
        return Fault(400, "json", f"the body is not JSON: {said}", "send UTF-8 JSON")
    if first["type"] in ("model_attributes_type", "missing") and first["loc"] == ("body",):
        return Fault(
            422, "invalid", "the body is not a JSON object", "send one, with content-type: application/json", "body"
        )
    where, message = in_words(details, error.body)
    return Fault(422, "invalid", message, where=where)
