"""Puts the server together: the routes of all protocols behind the guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import umbel
from umbel.errors import UmbelError
from umbel.server.access import Access, Open
from umbel.server.faults import fault_of
from umbel.server.guard import Guard, Recorder
from umbel.server.metrics import Metrics
from umbel.server.protocols import PROTOCOLS, protocols
from umbel.server.service import Service
from umbel.server.settings import Settings
from umbel.server.tracing import OFF, Tracing
from umbel.workers import Threads

EXPOSED = ("x-request-id", "retry-after")
ABOUT = """\
Many language tasks over one shared Transformer. Whatever is asked of a text, by whomever, it is read once: requests
that wait together are read in batches. Errors of these routes are `{"error": {"code", "message", "hint", "field",
"retry", "request_id"}}`; `429` and `503` carry `Retry-After`."""


def create_app(
    service: Service,
    settings: Settings | None = None,
    access: Access | None = None,
    recorders: Sequence[Recorder] = (),
    names: Sequence[str] = PROTOCOLS,
    tracing: Tracing | None = None,
) -> Any:
    """Return the ASGI application that serves `service` by the protocols named."""
    settings = settings or Settings()
    spoken = protocols(service, names)
    app = FastAPI(
        title="Umbel",
        version=umbel.__version__,
        description=ABOUT,
        docs_url=None,  # these pages fetch their scripts from elsewhere
        redoc_url=None,
        telemetry=tracing.telemetry() if tracing else OFF,  # type: ignore[arg-type]
    )
    for each in spoken:
        app.include_router(each.router)
    guard = Guard(app, settings, access or Open(settings.hosts, settings.cors), spoken, recorders)

    async def refuse(request: Request, error: Exception) -> _Refusal:
        return _Refusal(guard, fault_of(error))

    for kind in (UmbelError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refuse)  # type: ignore[arg-type]
    if not settings.cors:
        return guard
    headers = ["authorization", "content-type", "x-request-id"]
    return CORSMiddleware(guard, settings.cors, allow_methods=["*"], allow_headers=headers, expose_headers=EXPOSED)


def described(names: Sequence[str] = PROTOCOLS) -> dict[str, Any]:
    """Return the description of all routes, as /openapi.json gives it, without serving anything."""
    service = Service(Threads(), meter=Metrics())
    found: dict[str, Any] = create_app(service, names=names).app.openapi()
    return found


class _Refusal:
    """A response that the guard writes, so that errors look the same wherever they come from."""

    def __init__(self, guard: Guard, fault: Any) -> None:
        self._guard, self._fault = guard, fault

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._guard.refuse(scope, send, self._fault)
