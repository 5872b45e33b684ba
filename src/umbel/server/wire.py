"""Connections: uvicorn's HTTP protocol, with a limit to how long a client may take to send the head of a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Wire(HttpToolsProtocol):
    """Closes a connection that sends nothing, or whose head does not end, within the keep-alive time."""

    _head_limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin the time for the first head."""
        super().connection_made(transport)
        self._head_limit = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """Begin the time for the next head, unless it runs already."""
        super().on_message_begin()
        if self._head_limit is None:
            self._head_limit = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_headers_complete(self) -> None:
        """End the time: the rest is the guard's."""
        self._end_head_limit()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time."""
        self._end_head_limit()
        super().connection_lost(exc)

    def _end_head_limit(self) -> None:
        if self._head_limit:
            self._head_limit.cancel()
            self._head_limit = None
