"""The native routes that write: texts of a pack's tasks, conversations, and flows, whole or event by event.

A stream gives sentences, not tokens as they are drawn: what is written for a pack is held back until the pack's own
tasks have passed it, so what must not be said is never sent. A text that fails later on is replaced as a whole, and the
`result` says so: it alone is the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Response

from umbel.errors import InputError
from umbel.generation import Wanted
from umbel.server.faults import native_error
from umbel.server.generate_schemas import FlowAnswer, FlowRequest, GenerateAnswer, GenerateRequest
from umbel.server.generating import Event, outcome
from umbel.server.protocols import Protocol
from umbel.server.routing import Answer, router
from umbel.server.service import Deployed, Service
from umbel.server.streams import CONTENT, WAITING, EventStream, event

FINISHES = {"end": "stop"}
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": CONTENT}}
MILLISECOND_DIGITS = 1


def protocol(service: Service) -> Protocol:
    """Return the routes."""
    routes = router()
    _writing(routes, service)
    return Protocol(routes)


def _writing(routes: APIRouter, service: Service) -> None:
    @routes.post("/v1/generate", response_model=GenerateAnswer, responses=STREAMED, tags=["writing"])
    async def generate(body: GenerateRequest) -> Response:
        """Write a text with a task of a pack, or go on with a conversation, checked by the pack's moderation.

        With `stream` the answer is of type `text/event-stream`. Events are `token` with the next sentences, once they
        are checked, then `result` with the whole answer, or `error`.
        """
        found = service.pack(body.pack)
        messages = body.conversation
        if not messages[-1].content.strip():
            raise InputError("it is blank", "say what to write about", field="text" if body.text else "messages")
        until = None if body.stream else service.generating.until()
        wanted = Wanted(messages, body.task or "", 1, body.seed, body.max_tokens, body.changes, until=until)
        events = await service.write(wanted, found.name)
        if body.stream:
            return _streamed(events, lambda result: generated(found, result[0]))
        return Answer(generated(found, (await outcome(events))[0]))

    @routes.post("/v1/flow", response_model=FlowAnswer, responses=STREAMED, tags=["writing"])
    async def flow(body: FlowRequest) -> Response:
        """Take a text through a pack's flow: its steps, which of them ran and why, and the reply.

        With `stream` the answer is of type `text/event-stream`. Events are `step` as each begins and ends, `token`
        with sentences that a step writes, once they are checked, then `result` with the whole answer, or `error`.
        """
        found = service.pack(body.pack)
        events = await service.flow(body.text, found.name)
        if body.stream:
            return _streamed(events, lambda result: _named(found) | result)
        return Answer(_named(found) | await outcome(events))


def generated(found: Deployed, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return a text as `GenerateAnswer` has it, of what `generation.plain_reply` gives."""
    same = ("decoder", "language", "text", "sources", "flagged", "flags", "checks", "plan")
    read, wrote = reply["prompt_tokens"], reply["tokens"]
    return (
        _named(found)
        | {"task": reply["task"] or None}
        | {name: reply[name] for name in (*same, "dropped_turns", "cut_tokens")}
        | {
            "finish_reason": FINISHES.get(reply["finish"], reply["finish"]),
            "usage": {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote},
            "milliseconds": round(1000 * reply["seconds"], MILLISECOND_DIGITS),
            "milliseconds_first": round(1000 * reply["first_seconds"], MILLISECOND_DIGITS),
        }
    )


def _streamed(events: AsyncGenerator[Event], shown: Any) -> Response:
    async def parts() -> AsyncGenerator[bytes]:
        async with aclosing(events):
            async for name, about in events:
                if name == "waiting":
                    yield WAITING
                elif name == "result":
                    yield event(shown(about), name)
                elif name == "token":
                    yield event({key: value for key, value in about.items() if key != "number"}, name)
                else:
                    yield event(about, name)

    return EventStream(parts(), lambda error: event(error, "error"), native_error)


def _named(found: Deployed) -> dict[str, Any]:
    return {"pack": found.name, "version": found.manifest.version}
