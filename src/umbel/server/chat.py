"""OpenAI's chat completions, whole or as a stream, for programs that speak them already.

A model is one of three. A decoder's name: its text as it comes, checked by nothing. A pack's name: the conversation as
it stands, written by the pack's decoder (or the server's), each sentence checked by the pack before it is sent.
PACK/TASK: a task of the pack that writes, about the last message. Where a pack replaces a text by its fallback,
`finish_reason` is `content_filter`: of a stream, what was sent before had passed, and is no answer.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import Response

from umbel.errors import NotFoundError, suggest
from umbel.generation import Wanted
from umbel.server.chat_schemas import SEEDS, ChatAnswer, ChatRequest
from umbel.server.generating import Event, outcome
from umbel.server.openai import decoders_of, error, models_that_write
from umbel.server.openai_schemas import RESPONSES
from umbel.server.protocols import Protocol
from umbel.server.routing import Answer, router
from umbel.server.service import Service
from umbel.server.streams import CONTENT, WAITING, EventStream, event

FINISHES = {"end": "stop", "stop": "stop"}  # whatever else ended a text was a limit
LAST = b"data: [DONE]\n\n"
SEED_BITS = 31


def protocol(service: Service) -> Protocol:
    """Return the route."""
    routes = router(responses=RESPONSES, tags=["OpenAI"])

    @routes.post("/v1/chat/completions", response_model=ChatAnswer, responses={200: {"content": CONTENT}})
    async def chat(body: ChatRequest) -> Response:
        """Go on with a conversation by a decoder, by a pack that checks what is written, or by a pack's task.

        With `stream` the answer is of type `text/event-stream`: chunks as OpenAI sends them, and `[DONE]`.
        """
        body.check()
        events = await _begun(service, body)
        head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
        if body.stream:
            return EventStream(_chunks(events, head, body), event, error)
        texts = await outcome(events)
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": each["text"], "refusal": None},
                "logprobs": None,
                "finish_reason": _finish(each),
            }
            for number, each in enumerate(texts)
        ]
        return Answer(head | {"object": "chat.completion", "choices": choices, "usage": _usage(texts)})

    return Protocol(routes, error)


async def _begun(service: Service, body: ChatRequest) -> AsyncGenerator[Event]:
    """Begin to write by the model that is named.

    Raises:
        NotFoundError: there is no such model.
    """
    wanted = Wanted(
        messages=tuple(each.message() for each in body.messages),
        texts=body.n or 1,
        seed=secrets.randbits(SEED_BITS) if body.seed is None else body.seed % SEEDS,
        max_tokens=body.most,
        changes=body.changes,
        schema=body.response_format.schema_of if body.response_format else None,
        until=None if body.stream else service.generating.until(),
    )
    decoders = decoders_of(service)
    if body.model in decoders:
        return await service.converse(wanted, decoders[body.model])
    pack, _, task = body.model.partition("/")
    known = models_that_write(service)
    if pack not in service.packs or (task and body.model not in known):
        raise NotFoundError(f"the model {body.model!r} is not served{suggest(body.model, known)}")
    return await service.write(replace(wanted, task=task), pack)


async def _chunks(events: AsyncGenerator[Event], head: Mapping[str, Any], body: ChatRequest) -> AsyncGenerator[bytes]:
    """Yield a stream's chunks: a role for each text, its words, why it ended, usage if asked for."""
    counted = bool(body.stream_options and body.stream_options.include_usage)
    shown = dict(head) | {"object": "chat.completion.chunk"}

    def chunk(number: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(shown | {"choices": [choice]} | ({"usage": None} if counted else {}))

    said = [False] * (body.n or 1)
    for number in range(len(said)):
        yield chunk(number, {"role": "assistant", "content": ""})
    async with aclosing(events):
        async for name, about in events:
            if name == "waiting":
                yield WAITING
            elif name == "token":
                said[about["number"]] = True
                yield chunk(about["number"], {"content": about["text"]})
            elif name == "result":
                for number, each in enumerate(about):
                    if each["flagged"] and not said[number]:  # nothing was shown, so that the fallback can be
                        yield chunk(number, {"content": each["text"]})
                    yield chunk(number, {}, _finish(each))
                if counted:
                    yield event(shown | {"choices": [], "usage": _usage(about)})
    yield LAST


def _finish(text: Mapping[str, Any]) -> str:
    return "content_filter" if text["flagged"] else FINISHES.get(text["finish"], "length")


def _usage(texts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the tokens that were read, once for all texts, and those that were written."""
    read, wrote = texts[0]["prompt_tokens"], sum(each["tokens"] for each in texts)
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
