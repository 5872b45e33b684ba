"""Stands before all routes: who asks, how much, how long; request ids, headers, the log, and clients that hang up."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson
from starlette.routing import Match, Route

from umbel.errors import TooLargeError
from umbel.server.access import Access, Caller
from umbel.server.faults import Fault, fault_of, native_error
from umbel.server.protocols import Protocol as Spoken
from umbel.server.service import charge
from umbel.server.settings import Settings

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
KEY = re.compile(rb"(?:^|(?<=&))key=[^&]*&?")
ID = re.compile(rb"[\w.:-]{1,64}")
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
PART_SECONDS = 30.0  # for each part of an answer to be made, and taken by its reader
GONE = 499  # in logs and metrics: the client hung up


@dataclass
class Seen:
    """One request as the log and the metrics see it; routes find it as `request.scope["umbel"]`."""

    id: str
    method: str
    path: str
    began: float
    caller: Caller = field(default_factory=Caller)
    status: int = 0
    received: int = 0
    sent: int = 0
    gone: bool = False
    body: bytes = b""


class Recorder(Protocol):
    """Is told of every request that ended."""

    def request(self, seen: Seen, route: str, seconds: float) -> None:
        """A request ended; `route` is the path's template."""


class Guard:
    """The ASGI application around the routes."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        access: Access,
        spoken: Sequence[Spoken] = (),
        recorders: Sequence[Recorder] = (),
    ) -> None:
        self.app, self.settings, self.access, self.recorders = app, settings, access, recorders
        self._public = tuple(path for each in spoken for path in each.public)
        self._spoken = [(route, each) for each in spoken for route in each.router.routes if isinstance(route, Route)]
        self._templates = {(r.path, m): each for r, each in reversed(self._spoken) for m in r.methods or ()}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if ID.fullmatch(given) else secrets.token_hex(8)
        seen = scope["umbel"] = Seen(request_id, scope["method"], scope["path"], time.perf_counter())
        answer = _Answer(send, seen)
        try:
            await self._admitted(scope, headers, receive, answer)
        except ClientGoneError:
            seen.gone = True
        except Exception as error:
            fault = fault_of(error)
            if fault.code == "internal":
                logger.error("request %s failed", seen.id, exc_info=error)
            if not answer.started:
                await self.refuse(scope, answer, fault)
            elif not answer.complete:
                raise  # the connection is closed, which is all that can still be told
        finally:
            self._record(scope, seen)

    async def _admitted(self, scope: Scope, headers: dict[bytes, bytes], receive: Any, answer: _Answer) -> None:
        seen = answer.seen
        if not self._is_public(seen.path):
            seen.caller = self.access.admit(scope)
            scope["query_string"] = KEY.sub(b"", scope["query_string"])  # where nobody looks for it any more
        charge.set(seen.caller.charge)
        body = seen.body = await self._body(headers, receive)
        seen.received = len(body)
        async with asyncio.timeout(self.settings.request_seconds) as answer.limit:
            try:
                await self._watched(scope, body, receive, answer)
            finally:
                answer.limit = None

    def _is_public(self, path: str) -> bool:
        """Tell whether a path needs no key; `/` is public as itself alone, not with all that begins so."""
        return any(path == each or (each != "/" and path.startswith(each)) for each in self._public)

    async def _body(self, headers: dict[bytes, bytes], receive: Any) -> bytes:
        """Return the whole body.

        Raises:
            TooLargeError: it is larger than allowed; no more of it is read.
            TimeoutError: it did not arrive in time.
            ClientGone: its sender hung up before its end.
        """
        most = self.settings.body_bytes
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > most:
            raise _too_large(int(announced), most)
        parts, size = [], 0
        async with asyncio.timeout(self.settings.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise _too_large(size, most)
                if not message.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _watched(self, scope: Scope, body: bytes, receive: Any, answer: _Answer) -> None:
        """Run the routes; when the client hangs up, cancel them."""
        working = asyncio.current_task()
        assert working
        gone = asyncio.Event()
        given = False

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            if not answer.complete:
                answer.seen.gone = True
                working.cancel()

        async def replay() -> dict[str, Any]:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        watching = asyncio.ensure_future(watch())
        try:
            await self.app(scope, replay, answer)
        except asyncio.CancelledError:
            if not answer.seen.gone:
                raise  # the time is over, or the server ends
            working.uncancel()
            raise ClientGoneError from None
        finally:
            watching.cancel()

    async def refuse(self, scope: Scope, answer: Any, fault: Fault) -> None:
        """Answer with an error in the form of the path's protocol."""
        seen: Seen = scope["umbel"]
        spoken = self._protocol(scope)
        fault = replace(fault, status=spoken.statuses.get(fault.status, fault.status)) if spoken else fault
        body = orjson.dumps((spoken.error if spoken else native_error)(fault, seen.id))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in fault.headers.items()]
        if fault.status in (413, 503):
            headers.append((b"connection", b"close"))
        with suppress(OSError):
            await answer({"type": "http.response.start", "status": fault.status, "headers": headers})
            await answer({"type": "http.response.body", "body": body})

    def _protocol(self, scope: Scope) -> Spoken | None:
        """Return the protocol of a path: a request may be refused before a route is found for it."""
        known = self._templates.get((getattr(scope.get("route"), "path", ""), scope["method"]))
        if known:
            return known  # to try all routes would be a third of what refusing a request costs
        matches = [(route.matches(scope)[0], each) for route, each in self._spoken]
        found = max(matches, key=lambda pair: pair[0].value, default=None)
        return found[1] if found and found[0] is not Match.NONE else None

    def _record(self, scope: Scope, seen: Seen) -> None:
        route = getattr(scope.get("route"), "path", "")
        if seen.gone and not seen.sent:
            seen.status = GONE
        seconds = time.perf_counter() - seen.began
        for recorder in self.recorders:
            recorder.request(seen, route, seconds)


class ClientGoneError(Exception):
    """Nobody is left to answer."""


class _Answer:
    """Sends an answer: adds the headers that all answers have, and gives each part a time limit of its own."""

    def __init__(self, send: Any, seen: Seen) -> None:
        self._send, self.seen = send, seen
        self.started = self.complete = False
        self.limit: asyncio.Timeout | None = None

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.seen.status = message["status"]
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [each for each in SAFE if each[0] not in there]
            headers.append((b"x-request-id", self.seen.id.encode()))
            message = {**message, "headers": headers}
        else:
            self.seen.sent += len(message.get("body", b""))
            self.complete = not message.get("more_body")
        if self.limit and not self.complete:
            self.limit.reschedule(asyncio.get_running_loop().time() + PART_SECONDS)
        await self._send(message)


def _too_large(found: int, most: int) -> TooLargeError:
    return TooLargeError(f"the body has {found} bytes or more, expected at most {most}", "send less at once")
