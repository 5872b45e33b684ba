"""What the routes that write call: who writes, how much may wait, and what happens as it happens.

Writing has a queue of its own beside that of answers. It is admitted by work as answers are: the tokens of what is
given and those that may be written. Cancel who listens, and what is written for them stops at its next token. Knows
nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from umbel.decoding.base import Message
from umbel.errors import InputError, suggest
from umbel.generation import DEFAULT_TOKENS, SECONDS, Wanted
from umbel.generators import Generators, Heard
from umbel.pack import Manifest
from umbel.scheduler import Job, Limits, Scheduler
from umbel.server.settings import WRITING
from umbel.server.work import tokens_of
from umbel.writings import TASKS, Writing

Event = tuple[str, Any]
"""`begun`, `waiting` (nothing happened for a while), `token`, `step`, and at the end `result` with the outcome."""

KIND = "text-generation"
BEAT = 10.0  # seconds without an event after which waiting is told
WHOLE_SHARE = 0.9  # of the seconds for an answer that go to writing it


class Meter(Protocol):
    """Is told what was written; `metrics` is one."""

    def rejected(self, reason: str) -> None:
        """A call was not admitted."""

    def wrote(self, decoder: str, finish: str, tokens: int, first_seconds: float) -> None:
        """A text was written, or given up."""


@dataclass(frozen=True)
class _Watcher:
    """Passes on what was refused; batches are of answers alone."""

    meter: Meter | None

    def batch(self, jobs: int, work: int, waited: Sequence[float]) -> None:
        pass

    def rejected(self, reason: str) -> None:
        if self.meter:
            self.meter.rejected(reason)


@dataclass
class _Call:
    """A method of `Generation` to call, who hears of its events, and what stops it once it runs."""

    method: str
    arguments: tuple[Any, ...]
    heard: Heard
    running: asyncio.Future[Any] | None = None

    def stop(self) -> None:
        if self.running:
            self.running.cancel()


class Generating:
    """A queue before the process that writes.

    `decoders` are sources by the names under which they may be used, the first where none is named. `seconds` is how
    long an answer that comes as a whole may take.
    """

    def __init__(
        self,
        generators: Generators | None = None,
        limits: Limits = WRITING,
        decoders: Mapping[str, str] | None = None,
        meter: Meter | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self.generators = generators or Generators()
        self.decoders, self._seconds, self._meter = dict(decoders or {}), seconds, meter
        self.scheduler = Scheduler(self._run, limits, self.generators.lanes, _Watcher(meter))
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Load the decoders that may be used by name.

        Raises:
            BackboneError, DownloadError, MissingExtraError: one cannot be had.
        """
        for decoder in self.decoders.values():
            await self.generators.call("prepare", decoder, heard=lambda name, about: None)

    def until(self) -> float:
        """Return by when a text must have ended to be answered as a whole in time, as `time.monotonic` tells it."""
        return time.monotonic() + WHOLE_SHARE * self._seconds

    async def close(self, seconds: float) -> bool:
        """Finish what was admitted, within a limit, and end; return whether all was finished."""
        finished = await self.scheduler.drain(seconds)
        await self.generators.close()
        return finished

    async def events(self, method: str, arguments: tuple[Any, ...], work: int) -> AsyncGenerator[Event]:
        """Call a method of `Generation` and yield what happens; `begun` comes first, once a call is found to be right.

        Raises:
            TooLargeError, BusyError, UnavailableError: it is not admitted.
            UmbelError: as the method raises it.
        """
        happened: asyncio.Queue[Event | None] = asyncio.Queue()  # no longer than a text's tokens are many
        call = _Call(method, arguments, lambda name, about: happened.put_nowait((name, about)))
        # A group of its own keeps each call from being batched; its pace is measured all the same.
        submitted = asyncio.ensure_future(self.scheduler.submit([Job(next(self._numbers), call, 0, work)]))
        submitted.add_done_callback(lambda _: happened.put_nowait(None))
        try:
            while True:
                try:
                    async with asyncio.timeout(BEAT):  # `wait_for` loses a cancellation that comes with an event
                        event = await happened.get()
                except TimeoutError:
                    event = ("waiting", {})
                if event is None:
                    break
                yield event
            (result,) = submitted.result()
            yield "result", result
        finally:
            submitted.cancel()
            call.stop()

    async def _run(self, group: Any, payloads: Sequence[Any]) -> list[Any]:
        call: _Call = payloads[0]
        call.running = asyncio.ensure_future(self.generators.call(call.method, *call.arguments, heard=call.heard))
        result = await call.running
        if self._meter and isinstance(result, list):
            for each in result:
                self._meter.wrote(each["decoder"], each["finish"], each["tokens"], each["first_seconds"])
        return [result]


async def begun(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """Return what follows once a call has begun, so that what keeps it from that can still be told by a status.

    Raises:
        UmbelError: it did not begin.
    """
    try:
        while (await anext(events))[0] != "begun":
            pass
    except BaseException:
        await events.aclose()
        raise
    return events


async def outcome(events: AsyncGenerator[Event]) -> Any:
    """Return what a call gives in the end."""
    async with aclosing(events):
        async for name, about in events:
            if name == "result":
                return about
    raise AssertionError  # the last event is the result


def writings(manifest: Manifest) -> dict[str, Writing]:
    """Return the tasks of a pack that write, as they are declared."""
    return {name: entry.writing or Writing() for name, entry in manifest.tasks.items() if entry.kind == KIND}


def tasks_that_write(manifest: Manifest, decoders: Mapping[str, str]) -> list[str]:
    """Return the tasks that can be written for a pack: its own, and the built-in ones where a decoder is there."""
    own = list(writings(manifest))
    return [*own, *(name for name in TASKS if name not in own)] if decoder_for(manifest, decoders) else own


def decoder_for(manifest: Manifest, decoders: Mapping[str, str]) -> str:
    """Return what writes for a pack where its task does not say: a decoder that it names, or the server's first."""
    named = [each.decoder for each in writings(manifest).values()]
    return next(iter([*named, *decoders.values()]), "")


def for_pack(manifest: Manifest, wanted: Wanted, decoders: Mapping[str, str]) -> int:
    """Return the work of what is wanted of a pack, in tokens.

    Raises:
        InputError: the pack has no such task, or there is nothing that writes for it.
    """
    own = writings(manifest)
    most = wanted.max_tokens
    if wanted.task:
        most = most or own.get(wanted.task, Writing()).max_tokens
    work = work_of_writing(wanted.messages, most, wanted.texts)
    if wanted.task in own:
        return work
    if not decoder_for(manifest, decoders):
        raise InputError(
            f"nothing writes here: pack {manifest.name} declares no task of kind {KIND}",
            "serve with --decoder NAME, or name a pack that writes",
            field="pack",
        )
    known = tasks_that_write(manifest, decoders)
    if wanted.task and wanted.task not in known:
        raise InputError(
            f"{wanted.task!r} is no task of pack {manifest.name} that writes{suggest(wanted.task, known)}",
            f"its tasks that write are {', '.join(known)}",
            field="task",
        )
    return work


def for_flow(manifest: Manifest, text: str) -> int:
    """Return the work of taking a text through a pack's flow: its tokens, and those that the flow may write.

    Raises:
        InputError: the text is blank, or the pack declares no flow.
    """
    if manifest.flow is None:
        raise InputError(f"pack {manifest.name} declares no flow", "name a pack that does", field="pack")
    if not text.strip():
        raise InputError("the text is blank", "give a text to work on", field="text")
    return tokens_of(text) + sum(each.max_tokens for each in writings(manifest).values())


def work_of_writing(messages: Sequence[Message], most: int | None, texts: int = 1) -> int:
    """Return about how many tokens a call reads and may write; `most` are those of one text."""
    return sum(tokens_of(each.content) for each in messages) + texts * (most or DEFAULT_TOKENS)
