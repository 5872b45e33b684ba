"""Writes texts and runs flows for callers, telling what happens as it happens; takes and gives what can be pickled.

It is what a process does that serves such calls; it knows nothing of processes and HTTP. Safe to use from several
threads: their texts grow in turn, token by token.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.decoding.base import Cancelled, Limits, Message, Writer, Written
from umbel.decoding.chat import LEAST_ROOM, Chat
from umbel.errors import ContextError, UmbelError, UnavailableError
from umbel.flow import Flow, StepReport
from umbel.flow_answers import FlowAnswer, plain_flow_answer
from umbel.replies import Order, PackWriter, Reply, writer_of
from umbel.retrieval import Index

if TYPE_CHECKING:
    from umbel.replies import ReplyStream
    from umbel.runtime import Model

Told = Callable[[str, dict[str, Any]], None]
"""Is told of an event by its name (`begun`, `token`, `step`) and what is known of it."""

SECONDS, LEAST_SECONDS = 60.0, 0.05
DEFAULT_TOKENS = 512  # of an answer to a conversation, where nothing is said
STATES = {"ran": "done", "skipped": "skipped", "failed": "failed", "timed out": "failed"}


@dataclass(frozen=True)
class Held:
    """A pack: the key of this version, its folder, what writes where its tasks do not say, and indexes by name."""

    key: str
    folder: Path
    decoder: str = ""
    indexes: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What is to be written: the next turn of a conversation, or a pack's `task` about its last message.

    `changes` are of `Writing`, by its names; `until` is the time of `time.monotonic` at which it must end.
    """

    messages: tuple[Message, ...]
    task: str = ""
    texts: int = 1
    seed: int = 0
    max_tokens: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    until: float | None = None

    def seconds(self, most: float = SECONDS) -> float:
        """Return how long writing may take, at most so long."""
        return most if self.until is None else max(min(most, self.until - time.monotonic()), LEAST_SECONDS)


class Generation:
    """Packs and decoders, each loaded when first used. `threads` are an engine's, 0 for all processors."""

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads
        self._models: dict[str, Model] = {}
        self._flows: dict[str, Flow] = {}
        self._writers: dict[str, Writer] = {}
        self._loading = threading.RLock()

    def prepare(self, told: Told, cancelled: Cancelled, decoder: str) -> None:
        """Load a decoder, so that nobody waits for it later.

        Raises:
            BackboneError, DownloadError, MissingExtraError: it cannot be had.
        """
        self._writer(decoder)

    def drop(self, told: Told, cancelled: Cancelled, key: str) -> None:
        """Forget a pack; decoders stay."""
        with self._loading:
            self._models.pop(key, None)
            flow = self._flows.pop(key, None)
        if flow:
            flow.close()

    def converse(self, told: Told, cancelled: Cancelled, decoder: str, wanted: Wanted) -> list[dict[str, Any]]:
        """Write the next turn of a conversation by a decoder alone; tokens are told as they come.

        Raises:
            ContextError: the conversation, or the answer wanted to it, is too long.
            InputError: it is empty, or a limit is impossible.
            DecoderError: nothing could be written.
        """
        writer = self._writer(decoder)
        limits = Limits(
            max_tokens=tokens_for(writer, wanted.messages, wanted.max_tokens),
            seed=wanted.seed,
            seconds=wanted.seconds(),
            schema=wanted.schema,
            **wanted.changes,
        )
        stream = writer.stream(wanted.messages, limits, wanted.texts, cancelled)
        told("begun", {})
        for chunk in stream:
            if chunk.text:
                told("token", {"number": chunk.number, "text": chunk.text})
        return [plain_written(each, writer.name) for each in stream.written]

    def write(self, told: Told, cancelled: Cancelled, held: Held, wanted: Wanted) -> list[dict[str, Any]]:
        """Write for a pack: sentences are told once its tasks have passed them; results are as `plain_reply` has them.

        Raises:
            ContextError: the conversation, or the answer wanted to it, is too long.
            InputError: the message is blank or too long, the task unknown, or a limit impossible.
            DecoderError: nothing could be written.
            BackboneError, DownloadError, MissingExtraError: the decoder cannot be had.
            RetrievalError: the task's index cannot be used.
        """
        stream = self._stream(self._model(held).writer, wanted, cancelled)
        told("begun", {})
        for number, sentences in stream:
            told("token", {"number": number, "text": sentences})
        return [plain_reply(each) for each in stream.replies]

    def _stream(self, writer: PackWriter, wanted: Wanted, cancelled: Cancelled) -> ReplyStream:
        changes = dict(wanted.changes) | ({"json_schema": dict(wanted.schema)} if wanted.schema else {})
        setting = writer.tasks()[wanted.task or "free"].model_copy(update=changes)
        changes |= {"seconds": wanted.seconds(setting.seconds)}
        with self._loading:
            loaded = writer.writer(setting)
        if wanted.task:
            changes |= {"max_tokens": wanted.max_tokens} if wanted.max_tokens else {}
            order = Order(wanted.messages[:-1], wanted.texts, wanted.seed, changes, cancelled)
            return writer.stream(wanted.messages[-1].content, wanted.task, order)
        changes |= {"max_tokens": tokens_for(loaded, wanted.messages, wanted.max_tokens)}
        return writer.converse(wanted.messages, Order((), wanted.texts, wanted.seed, changes, cancelled))

    def flow(self, told: Told, cancelled: Cancelled, held: Held, text: str) -> dict[str, Any]:
        """Take a message through a pack's flow; steps, and the sentences they write, are told as they come.

        Raises:
            InputError: the text is blank.
            PackError: the pack declares no flow.
            UnavailableError: it was cancelled before its last step.
        """
        flow = self._flow(held)
        told("begun", {})
        return flow(text, _Onlooker(told, cancelled)).plain()

    def _flow(self, held: Held) -> Flow:
        model = self._model(held)
        with self._loading:
            if held.key not in self._flows:
                files = {path.name: path for path in held.indexes.values()} | dict(held.indexes)
                flow = self._flows[held.key] = Flow.load(held.folder, model, files)
                for step in flow.spec.steps:
                    if step.action == "write":  # loading a decoder must not count as the step's time
                        with suppress(UmbelError):  # the step will tell, and its fallback stand in
                            wanted = step.body.settings
                            known = model.writer.tasks()[wanted.task]
                            model.writer.writer(known.model_copy(update=dict(wanted.changes)))
            return self._flows[held.key]

    def _model(self, held: Held) -> Model:
        import umbel

        with self._loading:
            if held.key not in self._models:
                model = umbel.load(held.folder, threads=self._threads)
                model.opens_writer = partial(self._opens_writer, held.decoder)
                self._models[held.key] = model
            return self._models[held.key]

    def _opens_writer(self, decoder: str, model: Model) -> PackWriter:
        return PackWriter(model, lambda path: Index.open(path), self._threads, self._writers, decoder)

    def _writer(self, decoder: str) -> Writer:
        with self._loading:
            if decoder not in self._writers:
                self._writers[decoder] = writer_of(decoder, self._threads)
            return self._writers[decoder]


class _Onlooker:
    """Tells what a flow does; what a step says after its time is over is not told."""

    def __init__(self, told: Told, cancelled: Cancelled) -> None:
        self._told, self.cancelled = told, cancelled
        self._running = ""

    def begins(self, step: str) -> None:
        if self.cancelled():
            raise UnavailableError("nobody waits for this flow any more")
        self._running = step
        self._told("step", {"name": step, "state": "running"})

    def said(self, step: str, sentences: str) -> None:
        if step == self._running:
            self._told("token", {"step": step, "text": sentences})

    def ended(self, report: StepReport, answers: Mapping[str, FlowAnswer]) -> None:
        self._running = ""
        event: dict[str, Any] = {"name": report.name, "state": "fallback" if report.fallback else STATES[report.state]}
        event |= {"reason": report.why} if report.why else {}
        if report.state != "skipped":
            event["milliseconds"] = round(report.milliseconds, 1)
        plain = {name: plain_flow_answer(answer) for name, answer in answers.items()}
        self._told("step", event | ({"answer": plain} if plain else {}))


def tokens_for(writer: Writer, messages: Sequence[Message], wanted: int | None) -> int:
    """Return how many tokens an answer to a conversation may have: as many as are wanted, if there is room.

    A writer elsewhere counts by itself.

    Raises:
        ContextError: there is none.
    """
    chat, context = getattr(writer, "chat", None), getattr(getattr(writer, "decoder", None), "context", 0)
    if not isinstance(chat, Chat):
        return wanted or DEFAULT_TOKENS
    given = len(chat.tokens(messages))
    room = context - max(given, LEAST_ROOM)
    if room < max(wanted or 1, 1):
        asked = f" and an answer of {wanted}" if wanted else ""
        raise ContextError(
            f"found a conversation of {given} tokens{asked}, and {writer.name} has a context of {context}",
            "shorten the conversation, or ask for fewer tokens",
            field="messages" if given >= context else "max_tokens",
        )
    return wanted or min(DEFAULT_TOKENS, room)


def plain_written(written: Written, decoder: str) -> dict[str, Any]:
    """Return a text that a decoder wrote alone as `plain_reply` has it."""
    return plain_reply(
        Reply(
            text=written.text,
            task="",
            language="",
            decoder=decoder,
            finish=written.finish,
            tokens=written.tokens,
            seconds=written.seconds,
            first_seconds=written.first_seconds,
            prompt_tokens=written.prompt_tokens,
        )
    )


def plain_reply(reply: Reply) -> dict[str, Any]:
    """Return a text and what is known of it as plain values: the fields of `Reply`, and `flagged`."""
    return asdict(reply) | {"flagged": reply.replaced}
