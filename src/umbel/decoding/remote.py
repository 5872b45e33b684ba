"""A writer elsewhere: any server that speaks the chat completions of OpenAI (vLLM, llama.cpp, a hosted model).

Knows nothing of decoders here. A request that fails before its first words is tried again; an answer that is none is an
error, never a text.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel.decoding.base import Cancelled, Chunk, Finish, Limits, Message, Written
from umbel.decoding.sampling import check
from umbel.errors import DecoderError, InputError, MissingExtraError, TimeLimitError

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "UMBEL_API_KEY"
TRIES = 3
PAUSE_SECONDS = 0.5  # doubled after each try
CONNECT_SECONDS = 10.0
MOST_BYTES = 16 << 20  # of an answer
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
_FINISHES: dict[str | None, Finish] = {"stop": "end", "length": "length"}


@dataclass(frozen=True)
class Remote:
    """Where a server is and what its model is called; the key comes from the environment's `UMBEL_API_KEY`."""

    url: str  # up to and with /v1
    model: str


def is_url(name: str) -> bool:
    """Tell whether a name is a server's address, `http://host/v1#model`."""
    return name.startswith(("http://", "https://"))


def remote_of(name: str) -> Remote:
    """Return the server and model of `http://host/v1#model`.

    Raises:
        InputError: it names no model.
    """
    url, _, model = name.partition("#")
    if not model:
        raise InputError(f"{name!r} names no model", "put it behind a #: http://127.0.0.1:8000/v1#qwen2.5")
    return Remote(url.rstrip("/"), model)


class RemoteWriter:
    """Writes by asking a server."""

    def __init__(self, remote: Remote) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("httpx", "write") from error
        self._httpx, self.remote, self.name = httpx, remote, f"{remote.url}#{remote.model}"

    def stream(
        self,
        messages: Sequence[Message],
        limits: Limits,
        texts: int = 1,
        cancelled: Cancelled | None = None,
        adapter: str | None = None,
    ) -> RemoteStream:
        """Write `texts` answers, one after the other; nothing is sent before the first chunk is asked for.

        Raises:
            InputError: the conversation is empty, or a limit is impossible.
        """
        check(limits)
        if not messages:
            raise InputError("the conversation is empty", "give at least one message")
        if adapter:
            raise InputError("a server elsewhere takes no adapter", "leave it out, or write with a decoder here")
        return RemoteStream(self._httpx, self.remote, messages, limits, texts, cancelled or (lambda: False))


class RemoteStream:
    """Texts being written elsewhere; iterate over their chunks."""

    def __init__(
        self,
        library: Any,
        remote: Remote,
        messages: Sequence[Message],
        limits: Limits,
        texts: int,
        cancelled: Cancelled,
    ) -> None:
        self.written: list[Written] = []
        self._httpx, self._remote, self._limits, self._texts = library, remote, limits, texts
        self._messages, self._cancelled = messages, cancelled

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks as they come.

        Raises:
            DecoderError: the server is down, refuses, breaks off or answers nonsense.
            TimeLimitError: it said nothing in time.
        """
        for number in range(self._texts):
            yield from self._one(number)

    def _one(self, number: int) -> Iterator[Chunk]:
        began, first, said, pieces = time.perf_counter(), 0.0, "", 0
        finish: Finish = "end"
        deadline = began + self._limits.seconds
        for text, end in self._pieces(number, deadline):
            first = first or time.perf_counter() - began
            said, pieces = said + text, pieces + bool(text)
            over: Finish | None = "cancelled" if self._cancelled() else None
            if over is None and time.perf_counter() > deadline:
                over = "time"
            finish = over or end or finish
            if text:
                yield Chunk(text, number)
            if over:
                break
        if not said.strip() and finish == "time":
            raise TimeLimitError(f"{self._remote.url}: no answer in time", "give it longer")
        if not said.strip() and finish != "cancelled":
            raise DecoderError(f"{self._remote.url}: the answer is empty", "try again, or another model")
        yield Chunk("", number, finish)
        total = time.perf_counter() - began
        self.written.append(Written(said, finish, pieces, seconds=total, first_seconds=first))

    def _pieces(self, number: int, deadline: float) -> Iterator[tuple[str, Finish | None]]:
        """Yield the pieces of one answer; tries again as long as none came."""
        pause = PAUSE_SECONDS
        for attempt in range(1, TRIES + 1):
            came = False
            try:
                for piece in self._attempt(number, deadline):
                    came = True
                    yield piece
                return
            except self._httpx.TimeoutException as error:
                late = time.perf_counter() >= deadline - PAUSE_SECONDS
                if came or late or attempt == TRIES:
                    raise TimeLimitError(f"{self._remote.url}: no answer in time", "give it longer") from error
            except self._httpx.TransportError as error:
                if came or attempt == TRIES:
                    what = "the answer broke off" if came else "cannot be reached"
                    raise DecoderError(f"{self._remote.url}: {what} ({error})", _CHECK) from error
            except _PassingError as error:
                if attempt == TRIES:
                    raise DecoderError(f"{self._remote.url}: {error}", _CHECK) from error
            time.sleep(min(pause, max(deadline - time.perf_counter(), 0)))
            pause *= 2

    def _attempt(self, number: int, deadline: float) -> Iterator[tuple[str, Finish | None]]:
        left = max(deadline - time.perf_counter(), 0.001)
        timeout = self._httpx.Timeout(left, connect=min(left, CONNECT_SECONDS))
        headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY_VARIABLE)) else {}
        url = f"{self._remote.url}/chat/completions"
        with self._httpx.stream("POST", url, json=self._body(number), headers=headers, timeout=timeout) as response:
            self._check_status(response, deadline)
            if "text/event-stream" in response.headers.get("content-type", ""):
                yield from self._events(response, deadline)
            else:  # a server that does not stream
                body = b"\n".join(_lines(response, deadline))
                if time.perf_counter() > deadline:
                    raise self._httpx.ReadTimeout("the answer was not whole in time")
                yield self._piece(body, "message")

    def _events(self, response: httpx.Response, deadline: float) -> Iterator[tuple[str, Finish | None]]:
        """Yield the pieces of an answer that is streamed; one without an end broke off."""
        ended = False
        for line in _lines(response, deadline):
            said = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and said != b"[DONE]":
                piece = self._piece(said, "delta")
                ended = ended or piece[1] is not None
                yield piece
            ended = ended or said == b"[DONE]"
        if time.perf_counter() > deadline:
            yield "", "time"
        elif not ended:
            raise self._httpx.RemoteProtocolError("it has no end")

    def _body(self, number: int) -> dict[str, Any]:
        limits = self._limits
        body: dict[str, Any] = {
            "model": self._remote.model,
            "messages": [{"role": each.role, "content": each.content + each.after} for each in self._messages],
            "max_tokens": limits.max_tokens,
            "temperature": limits.temperature,
            "top_p": limits.top_p,
            "seed": limits.seed + number,
            "stream": True,
        }
        if limits.stop:
            body["stop"] = list(limits.stop)
        if limits.schema:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(limits.schema), "strict": True},
            }
        return body

    def _check_status(self, response: httpx.Response, deadline: float) -> None:
        if response.status_code == 200:
            return
        said = b"\n".join(_lines(response, deadline)).decode("utf-8", "replace").strip()[:200]
        if response.status_code in _PASSING:
            raise _PassingError(f"answered {response.status_code} {said}")
        hint = f"set {KEY_VARIABLE}" if response.status_code in (401, 403) else _CHECK
        raise DecoderError(f"{self._remote.url}: answered {response.status_code} {said}", hint)

    def _piece(self, raw: bytes, key: str) -> tuple[str, Finish | None]:
        try:
            answer = json.loads(raw)
            if "error" in answer:
                raise DecoderError(f"{self._remote.url}: {json.dumps(answer['error'])[:200]}", _CHECK)
            if not answer["choices"]:  # the last event of some servers brings counts alone
                return "", None
            choice = answer["choices"][0]
            text, reason = choice[key].get("content") or "", choice.get("finish_reason")
            if not isinstance(text, str):
                raise TypeError(type(text).__name__)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            shown = raw.decode("utf-8", "replace")
            raise DecoderError(f"{self._remote.url}: not a chat completion: {shown.strip()[:80]!r}", _CHECK) from error
        return text, _FINISHES.get(reason, "end") if reason else None


def _lines(response: httpx.Response, deadline: float) -> Iterator[bytes]:
    """Yield the lines of a body until time is up; a server may send a byte now and then, or one line without end.

    Raises:
        DecoderError: it is longer than any answer.
    """
    held, size = b"", 0
    for part in response.iter_bytes():
        size += len(part)
        if size > MOST_BYTES:
            raise DecoderError(f"{response.url}: not a chat completion: more than {MOST_BYTES >> 20} MB", _CHECK)
        *lines, held = (held + part).split(b"\n")
        yield from lines
        if time.perf_counter() > deadline:
            return
    yield held


class _PassingError(Exception):
    """A refusal that may pass."""


_CHECK = "check the address and the model's name, and that the server runs"
