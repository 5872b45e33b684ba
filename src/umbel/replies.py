"""Texts written about a message for a pack: instructed, grounded in an index, checked by the pack before they return.

The message comes first and the task behind it, so a message that was analysed by the decoder is not read again to be
answered. Nothing unchecked leaves: a stream gives whole sentences, each after its check; a text that fails is replaced
by the fallback and flagged. Knows nothing of the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from umbel.decoding.base import Cancelled, Finish, Limits, Message, Stream, Writer
from umbel.decoding.grammar import validates
from umbel.decoding.prompts import prompt
from umbel.decoding.remote import RemoteWriter, is_url, remote_of
from umbel.download import sha256_of
from umbel.errors import InputError, PackError, suggest
from umbel.records import LabelPrediction, LabelsPrediction, language_of
from umbel.writings import TASKS, Writing, said

if TYPE_CHECKING:
    from umbel.retrieval import Hit, Index
    from umbel.runtime import Model

KIND = "text-generation"
DEFAULT_MODERATION = ("offensive=offensive", "hate=hate", "hate=offensive")  # where a pack has these tasks
SENTENCE_END = re.compile(r"[.!?…]+[\"')\]]*\s|[。！？…]+[”’）]?|\n")
MOST_CHARACTERS = 20_000  # of a message
LEAST_LETTERS = 6  # of a text whose language is told
PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "items": {"type": "string", "minLength": 3, "maxLength": 120},
            "minItems": 2,
            "maxItems": 6,
        }
    },
    "required": ["steps"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Source:
    """A passage that a text was grounded in."""

    number: int
    source: str
    text: str
    score: float
    start: int
    end: int
    line: int = 0


@dataclass(frozen=True)
class Reply:
    """A text that was written and checked. `flags` say why it was replaced by the fallback, or nothing.

    `checks` names the tasks that looked at it; `dropped_turns` and `cut_tokens` tell what of the conversation did not
    fit.
    """

    text: str
    task: str
    language: str
    decoder: str
    finish: Finish
    flags: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    plan: Any = None
    tokens: int = 0
    dropped_turns: int = 0
    cut_tokens: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0
    prompt_tokens: int = 0

    @property
    def replaced(self) -> bool:
        """Whether the text is the fallback."""
        return bool(self.flags)


@dataclass(frozen=True)
class Order:
    """What is wanted beside the message: earlier turns, K texts, limits in place of the task's own.

    `sources` are notes in place of those that the task's own index would give.
    """

    history: Sequence[Message] = ()
    texts: int = 1
    seed: int = 0
    changes: dict[str, Any] = field(default_factory=dict)  # of `Writing`, by its names
    cancelled: Cancelled | None = None
    told: Callable[[int, str], None] | None = None  # of `write`: the number of each text and its next sentences
    sources: Sequence[Source] | None = None


NO_ORDER = Order()


class PackWriter:
    """Writes the texts of a pack's tasks.

    >>> writer = umbel.load("base").writer
    >>> writer.write("My parcel is late", "reply")[0].text
    """

    def __init__(
        self,
        model: Model,
        opens_index: Callable[[Path], Index],
        threads: int = 0,
        writers: dict[str, Writer] | None = None,
        decoder: str = "",
    ) -> None:
        self.model, self._opens_index, self.threads = model, opens_index, threads
        self._writers = {} if writers is None else writers  # by decoder; packs may share them
        self._indexes: dict[str, Index] = {}
        self._usual = {"decoder": decoder} if decoder else {}  # of the built-in tasks

    def tasks(self) -> dict[str, Writing]:
        """Return the tasks that write, by name: the built-in ones, and those of the pack in their place."""
        entries = self.model.pack.manifest.tasks.items()
        declared = {name: entry.writing or Writing() for name, entry in entries if entry.kind == KIND}
        return {name: Writing(task=name, **self._usual) for name in TASKS} | declared  # type: ignore[arg-type]

    def write(self, text: str, task: str = "reply", order: Order = NO_ORDER) -> list[Reply]:
        """Write a text about a message, or several at once, and return them checked.

        Raises:
            InputError: the message is blank or too long, the task unknown, or a limit impossible.
            DecoderError: nothing could be written.
            BackboneError, DownloadError, MissingExtraError: the decoder cannot be had.
            RetrievalError: the index cannot be used.
        """
        stream = self.stream(text, task, order)
        for number, sentences in stream:
            if order.told:
                order.told(number, sentences)
        return stream.replies

    def stream(self, text: str, task: str = "reply", order: Order = NO_ORDER) -> ReplyStream:
        """Write as `write` does, giving each sentence once it is checked; `replies` holds the texts at the end."""
        setting = self._setting(task, order)
        _check_message(text)
        language = language_of(text)
        sources = self._sources(setting, text) if order.sources is None else order.sources[: setting.passages]
        writer, limits = self.writer(setting), _limits(setting, order)
        messages = [*opening(setting, language), *order.history, instructed(setting, language, text, sources)]
        adapter = str(self._beside(setting.adapter)) if setting.adapter else None
        inner = writer.stream(messages, limits, order.texts, order.cancelled, adapter)
        blank = Reply("", task, language, writer.name, "end", sources=tuple(sources))
        return ReplyStream(inner, order.texts, blank, setting, self._checker(setting))

    def converse(self, messages: Sequence[Message], order: Order) -> ReplyStream:
        """Write the next turn of a conversation as it stands, checked by the pack's moderation as `stream` does.

        Raises:
            InputError: the conversation is empty, does not fit, or a limit is impossible.
        """
        setting = self._setting("free", order).model_copy(update={"check_language": False})
        writer = self.writer(setting)
        inner = writer.stream(messages, _limits(setting, order), order.texts, order.cancelled)
        language = language_of(messages[-1].content)
        blank = Reply("", "", language, writer.name, "end")
        return ReplyStream(inner, order.texts, blank, setting, self._checker(setting))

    def _setting(self, task: str, order: Order) -> Writing:
        known = self.tasks()
        if task not in known:
            raise InputError(f"{task!r} is no task that writes{suggest(task, list(known))}")
        try:
            return Writing.model_validate({**known[task].model_dump(), **order.changes})
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, e['loc']))}: found {e['input']!r:.60}: {e['msg']}" for e in error.errors())
            raise InputError("\n  ".join(faults)) from error

    def writer(self, setting: Writing) -> Writer:
        """Return the writer of a task; it is loaded once."""
        name = setting.decoder
        if name not in self._writers:
            self._writers[name] = writer_of(name, self.threads)
        writer = self._writers[name]
        if setting.adapter and not is_url(name):
            self._ready_adapter(writer, setting)
        return writer

    def _ready_adapter(self, writer: Writer, setting: Writing) -> None:
        from umbel.decoding.engine import LlamaCpp

        decoder, path = getattr(writer, "decoder", None), self._beside(setting.adapter)
        if isinstance(decoder, LlamaCpp) and not decoder.has_adapter(str(path)):  # packs may share a decoder
            if setting.adapter_sha256 and (not path.is_file() or sha256_of(path) != setting.adapter_sha256):
                raise PackError(f"{path}: not the adapter that the manifest names", "train or install the pack again")
            decoder.add_adapter(str(path), path)

    def _beside(self, name: str) -> Path:
        """Return a file that a pack names: beside its manifest, or where the program runs."""
        inside = self.model.pack.folder / name
        return inside if inside.exists() else Path(name)

    def _sources(self, setting: Writing, text: str) -> Sequence[Source]:
        if not setting.knowledge:
            return []
        if setting.knowledge not in self._indexes:
            index = self._opens_index(self._beside(setting.knowledge))
            if index.maker.hashes == self.model.vector_hashes:
                index.use(self.model)
            self._indexes[setting.knowledge] = index
        hits = self._indexes[setting.knowledge].search(text, setting.passages)
        return [_source(number, hit) for number, hit in enumerate(hits, 1)]

    def _checker(self, setting: Writing) -> Checker:
        named = setting.moderation or DEFAULT_MODERATION
        blocked: dict[str, set[str]] = {}
        for each in named:
            task, _, label = each.partition("=")
            if task in self.model.tasks:
                blocked.setdefault(task, set()).add(label)
            elif setting.moderation:
                near = suggest(task, list(self.model.tasks))
                raise InputError(f"moderation: {task!r} is not a task of the pack{near}")
        return Checker(self.model, blocked)


def writer_of(decoder: str, threads: int = 0) -> Writer:
    """Return what writes with a decoder: one here, by name or file, or a server elsewhere, by its address.

    Raises:
        BackboneError, DownloadError, MissingExtraError: it cannot be had.
    """
    from umbel.decoding.load import load_decoder
    from umbel.decoding.writing import LocalWriter

    return RemoteWriter(remote_of(decoder)) if is_url(decoder) else LocalWriter(load_decoder(decoder, threads))


class Checker:
    """Tells what is wrong with a text, by the pack's own tasks."""

    def __init__(self, model: Model, blocked: dict[str, set[str]]) -> None:
        self._model, self._blocked = model, blocked

    def names(self, language: str) -> tuple[str, ...]:
        """Return the tasks that look at texts of a language."""
        tasks = self._model.tasks
        return tuple(n for n in self._blocked if not tasks[n].languages or language in tasks[n].languages)

    def faults(self, text: str) -> list[str]:
        """Return what the pack's tasks find in a text that must not be said."""
        names = self.names(language_of(text))
        if not names or not text.strip():
            return []
        result = self._model(text, names)
        return [f"{name}: {label}" for name in names for label in _given(result[name]) if label in self._blocked[name]]


class ReplyStream:
    """Checked sentences of texts being written; `replies` holds the whole texts once they have ended."""

    def __init__(self, inner: Stream, texts: int, blank: Reply, setting: Writing, checker: Checker) -> None:
        self.replies: list[Reply] = []
        self._inner, self._blank, self._setting, self._checker = inner, blank, setting, checker
        self._held = [""] * texts
        self._said = [""] * texts
        self._faults: list[list[str]] = [[] for _ in range(texts)]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield the number of each text and its next sentences; what must not be said is not among them."""
        for chunk in self._inner:
            self._held[chunk.number] += chunk.text
            ready = self._ready(chunk.number, chunk.finish is not None)
            if ready:
                yield chunk.number, ready
            if all(self._faults):
                break  # no text can be returned any more
        self.replies = [self._reply(number) for number in range(len(self._held))]

    def _ready(self, number: int, last: bool) -> str:
        """Return the sentences that are whole by now and pass."""
        held = self._held[number]
        ends = [match.end() for match in SENTENCE_END.finditer(held)]
        cut = len(held) if last else max(ends, default=0)
        if not cut or self._faults[number] or (_schema_of(self._setting) and not last):
            return ""
        self._held[number], ready = held[cut:], held[:cut]
        self._faults[number] = self._checker.faults(self._said[number] + ready)
        if self._faults[number]:
            return ""
        self._said[number] += ready
        return ready

    def _reply(self, number: int) -> Reply:
        written = self._inner.written[number] if number < len(self._inner.written) else None
        reply = self._blank
        if written:
            reply = replace(
                reply,
                finish=written.finish,
                tokens=written.tokens,
                dropped_turns=written.dropped_turns,
                cut_tokens=written.cut_tokens,
                seconds=written.seconds,
                first_seconds=written.first_seconds,
                prompt_tokens=written.prompt_tokens,
            )
        text = self._said[number].strip()
        reply = replace(reply, text=text, checks=self._checker.names(language_of(text) if text else reply.language))
        flags = [*self._faults[number], *self._own_faults(text, reply)]
        if flags:
            return replace(reply, text=_fallback(self._setting, reply.language), flags=tuple(flags))
        return replace(reply, plan=json.loads(text)) if _schema_of(self._setting) else reply

    def _own_faults(self, text: str, reply: Reply) -> Iterator[str]:
        """Yield what is wrong with a text beside what moderation finds."""
        schema = _schema_of(self._setting)
        if not text and not self._faults_known:
            yield "empty"
        elif text and schema and not validates(text, schema):
            yield "plan: not of the schema"
        letters = sum(map(str.isalpha, text))
        found = language_of(text)
        if self._setting.check_language and letters >= LEAST_LETTERS and not schema and found != reply.language:
            yield f"language: found {found}, expected {reply.language}"

    @property
    def _faults_known(self) -> bool:
        return any(self._faults)


def _check_message(text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise InputError("the message is blank", "give a text to write about")
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"found a message of {len(text)} characters, expected at most {MOST_CHARACTERS}", "shorten it")


def opening(setting: Writing, language: str) -> list[Message]:
    """Return what stands before the conversation."""
    return [Message("system", prompt("free-system" if setting.task == "free" else "ask-system", language))]


def instructed(setting: Writing, language: str, text: str, sources: Sequence[Source] = ()) -> Message:
    """Return the message with its notes and task behind it."""
    own = said(setting.instruction, language)
    replies = setting.task == "reply" and not own
    notes = "".join(f"\n[{each.number}] {each.text}" for each in sources)
    if notes:
        notes = prompt("reply-knowledge" if replies else "knowledge", language) + notes
    asked = "reply-noted" if replies and notes else setting.task
    return Message("user", text.strip(), notes + (f"\n\n{own}" if own else prompt(asked, language)))


def _limits(setting: Writing, order: Order) -> Limits:
    return Limits(
        max_tokens=setting.max_tokens,
        temperature=setting.temperature,
        top_p=setting.top_p,
        seed=order.seed,
        stop=setting.stop,
        seconds=setting.seconds,
        schema=_schema_of(setting),
    )


def _schema_of(setting: Writing) -> dict[str, Any] | None:
    return setting.json_schema or (PLAN_SCHEMA if setting.task == "plan" else None)


def _fallback(setting: Writing, language: str) -> str:
    return said(setting.fallback, language) or prompt("fallback", language)


def _source(number: int, hit: Hit) -> Source:
    return Source(number, hit.source, hit.text, hit.score, hit.start, hit.end, hit.line)


def _given(prediction: object) -> tuple[str, ...]:
    if isinstance(prediction, LabelsPrediction):
        return prediction.labels
    return (prediction.label or "",) if isinstance(prediction, LabelPrediction) else ()
