"""Answers in parts, as server-sent events: each has its limit of time, and ends with what makes it once nobody reads.

The form is that of the HTML standard: `event:` names what `data:`, one JSON object, tells; a line that begins with a
colon says nothing but that more will come.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response

from umbel.server.faults import ErrorShape, fault_of
from umbel.server.routing import OPTIONS

logger = logging.getLogger(__name__)

WAITING = b": waiting\n\n"
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string", "description": "One JSON object."}},
    "required": ["data"],
}
CONTENT = {"text/event-stream": {"schema": EVENT_SCHEMA}}  # for the description of a route: each of its events


def event(about: Any, name: str = "") -> bytes:
    """Return one event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(about, option=OPTIONS) + b"\n\n"


class EventStream(Response):
    """Sends parts as they come. An error among them ends the answer, told by `failed`, since its status is sent."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncGenerator[bytes], failed: Callable[[Mapping[str, Any]], bytes], shape: ErrorShape):
        super().__init__()
        del self.headers["content-length"]
        self._parts, self._failed, self._shape = parts, failed, shape

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the answer; cancelled, when its reader is gone, it ends what makes the parts."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._parts) as parts:
            try:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except Exception as error:
                fault = fault_of(error)
                if fault.code == "internal":
                    logger.error("request %s failed", scope["umbel"].id, exc_info=error)
                body = self._failed(self._shape(fault, scope["umbel"].id))
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
