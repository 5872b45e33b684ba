"""The Open Inference Protocol (KServe's v2): whether the server and its packs are ready, and what they are.

A model is a pack. Only what programs that watch and list servers need is here: packs take text and give answers of many
kinds, which tensors do not fit, so there is no `infer`, and the metadata names no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

import umbel
from umbel.errors import NotFoundError, UnavailableError
from umbel.server.faults import Fault
from umbel.server.protocols import Protocol
from umbel.server.routing import REASONS, Answer, router
from umbel.server.service import Deployed, Service


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server lives."""

    live: bool


class Ready(BaseModel):
    """Whether the server takes requests."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a pack answers."""

    name: str
    ready: bool


class Tensor(BaseModel):
    """A tensor of a model."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a pack is."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class OpenInferenceError(BaseModel):
    """An error in the protocol's form."""

    error: str


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenInferenceError, "description": reason} for status, reason in REASONS.items()
}


def error(fault: Fault, request_id: str) -> Mapping[str, Any]:
    """Return an error as the protocol gives it."""
    return {"error": f"{fault.message} ({fault.hint})" if fault.hint else fault.message}


def protocol(service: Service) -> Protocol:
    """Return the routes under /v2; like the native ones, those of health need no key."""
    routes = router(responses=RESPONSES, tags=["Open Inference Protocol"])
    _server(routes, service)
    _models(routes, service)
    return Protocol(routes, error, public=("/v2/health/",))


def _server(routes: APIRouter, service: Service) -> None:
    @routes.get("/v2", response_model=ServerMetadata)
    async def server() -> Response:
        """Tell what the server is."""
        return Answer({"name": "umbel", "version": umbel.__version__, "extensions": []})

    @routes.get("/v2/health/live", response_model=Live)
    async def live() -> Response:
        """Tell that the server lives."""
        return Answer({"live": True})

    @routes.get("/v2/health/ready", response_model=Ready)
    async def ready() -> Response:
        """Tell whether requests are taken."""
        _wait(service)
        return Answer({"ready": True})


def _models(routes: APIRouter, service: Service) -> None:
    @routes.get("/v2/models/{model}", response_model=ModelMetadata)
    @routes.get("/v2/models/{model}/versions/{version}", response_model=ModelMetadata, operation_id="model_version")
    async def metadata(model: str, version: str | None = None) -> Response:
        """Tell what a pack is."""
        found = _pack(service, model, version)
        versions = [found.manifest.version]
        return Answer({"name": model, "versions": versions, "platform": "umbel", "inputs": [], "outputs": []})

    @routes.get("/v2/models/{model}/ready", response_model=ModelReady)
    @routes.get("/v2/models/{model}/versions/{version}/ready", response_model=ModelReady, operation_id="version_ready")
    async def ready(model: str, version: str | None = None) -> Response:
        """Tell whether a pack answers."""
        _pack(service, model, version)
        _wait(service)
        return Answer({"name": model, "ready": True})


def _wait(service: Service) -> None:
    if not service.ready:
        raise UnavailableError("not ready", "wait for it")


def _pack(service: Service, name: str, version: str | None) -> Deployed:
    found = service.pack(name)
    if version not in (None, found.manifest.version):
        raise NotFoundError(f"{name} is served in version {found.manifest.version} alone")
    return found
