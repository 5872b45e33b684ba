"""The protocols that the server speaks, and what each brings."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from umbel.server.faults import ErrorShape, native_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import APIRouter

    from umbel.server.service import Service

PROTOCOLS = (
    "native",
    "showing",
    "generate",
    "openai",
    "chat",
    "systemone",
    "perspective",
    "tei",
    "open_inference",
    "metrics",
    "pages",
)  # modules of this package, in the order of their routes


@dataclass(frozen=True)
class Protocol:
    """Routes, the form of their errors, the beginnings of paths that need no key, and statuses named otherwise."""

    router: APIRouter
    error: ErrorShape = native_error
    public: tuple[str, ...] = ()
    statuses: Mapping[int, int] = field(default_factory=dict)


def protocols(service: Service, names: Sequence[str] = PROTOCOLS) -> list[Protocol]:
    """Return what each module's `protocol(service)` brings."""
    found = [import_module(f"umbel.server.{name}").protocol(service) for name in names]
    assert all(isinstance(each, Protocol) for each in found)
    return found
