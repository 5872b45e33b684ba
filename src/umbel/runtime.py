"""Answers texts with a compiled pack: each text is encoded once, every asked task reads from that encoding.

Knows nothing of torch, files of texts, or HTTP. Safe to call from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from umbel.batches import Reading, checked, chunked
from umbel.branch_graph import BranchEngine
from umbel.decide import Answer
from umbel.described import prediction_of, questions_of
from umbel.encodings import Encoding, EncodingCache, Passing, Progress
from umbel.engine import Engine
from umbel.errors import InputError, PackError, UmbelError, suggest
from umbel.forks import Forks
from umbel.forward import ForwardPass
from umbel.gather import by_pace
from umbel.heads import pooled
from umbel.inquiries import Inquiry, Reply
from umbel.kinds.base import kind_of
from umbel.manifest import VECTORS
from umbel.pack import Pack
from umbel.questions import Question
from umbel.reader import Reader
from umbel.records import Prediction, Refused, Result, language_of
from umbel.tokenize import Tokenizer
from umbel.weights import Embedding
from umbel.windows import joined_offsets

if TYPE_CHECKING:
    from umbel.replies import Order, PackWriter
    from umbel.replies import Reply as Written

Floats = NDArray[np.float32]

CACHE_BYTES = 64 * 2**20  # of kept encodings
AHEAD = 256  # texts that a stream reads, at most, before it answers


class Model:
    """A pack ready to answer.

    >>> import umbel
    >>> model = umbel.load("base")
    >>> result = model("I was charged twice, I want my money back")
    >>> result["service-category"].label
    'REFUND'
    """

    def __init__(
        self,
        pack: Pack,
        engine: Engine,
        embedding: Embedding,
        tokenizer: Tokenizer,
        branches: BranchEngine | None = None,
        cache_bytes: int = CACHE_BYTES,
        forks: Forks | None = None,
    ) -> None:
        self.pack, self.engine, self.embedding, self.tokenizer = pack, engine, embedding, tokenizer
        self.tasks = pack.tasks
        self._described = {n: questions_of(t) for n, t in self.tasks.items() if t.instruction and not pack.head(n)}
        self.forward = ForwardPass(pack, engine, embedding, tokenizer, self._described, branches, cache_bytes, forks)
        self._reader = self.forward.reader
        self._ngrams = pack.ngrams()
        self.counters, self._counting = self.forward.counters, self.forward.counting
        self.opens_writer: Callable[[Model], PackWriter] | None = None  # given by `umbel.load`

    @overload
    def __call__(self, texts: str, tasks: Sequence[str] | None = None) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, texts: Sequence[str], tasks: Sequence[str] | None = None) -> list[Result]: ...

    def __call__(self, texts: str | Sequence[str], tasks: Sequence[str] | None = None) -> Result | list[Result]:
        """Answer one text, or a list of texts in order; `tasks` are names of the pack's tasks, all of them by default.

        Raises:
            InputError: a text is not a string or is blank, or a task is unknown.
        """
        names = self._names(tasks)
        if isinstance(texts, str):
            return self._answer([checked(texts)], names)[0]
        if not isinstance(texts, Iterable):
            raise InputError(f"texts: found {type(texts).__name__}, expected a text or a list of texts")
        return self._answer([checked(text, f"texts[{place}]: ") for place, text in enumerate(texts)], names)

    def stream(self, texts: Iterable[str], tasks: Sequence[str] | None = None) -> Iterator[Result | Refused]:
        """Answer texts one after the other; a bad one is `Refused`, the rest go on.

        A list is read by hundreds; of an iterator more are read ahead the faster they come, none while they are slow.

        Raises:
            InputError: a task is unknown.
        """
        names = self._names(tasks)
        chunks = chunked(texts, AHEAD) if isinstance(texts, Sequence) else by_pace(texts, AHEAD)
        return (answer for some in chunks for answer in self._answer_or_refuse(some, names))

    def keep(self, text: str, progress: Progress | None = None) -> Encoding:
        """Read a text once, for any number of questions; one read lately comes from the cache of encodings.

        A text of more than 64 windows is read whenever it is asked instead, in bounded memory. `progress` is told of
        windows read and of how many there are.

        Raises:
            InputError: it is not a string or is blank.
            PackError: the pack was not trained for questions.
        """
        self._need_reader()
        return self.read(text, progress)

    def read(self, text: str, progress: Progress | None = None) -> Encoding:
        """Read a text as `keep` does, for tasks alone where the pack was not trained for questions.

        Raises:
            InputError: it is not a string or is blank.
        """
        return self.forward.read(checked(text), progress)

    def answer(self, encoding: Encoding, tasks: Sequence[str] | None = None) -> Result:
        """Answer tasks from a text that was read; answers equal those of a fresh reading.

        Tasks with upper layers of their own read states that are not kept: for them the text is read again.

        Raises:
            InputError: a task is unknown, or the encoding is another model's.
        """
        self._check_made_here(encoding)
        names = self._names(tasks)
        apart = self.forward.detached(names)
        shared = [name for name in names if name not in apart]
        reading = Reading(encoding.text, shared, recalled=encoding, windows=list(encoding.windows))
        reading.logits = [self.forward.logits(kept.hidden, reading) for kept in encoding.kept]
        found = self._result(reading)
        if not apart:
            return found
        predictions = {**found, **self._answer([encoding.text], apart)[0]}
        return Result(found.text, {name: predictions[name] for name in names}, found.language)

    def ask(
        self, text: str | Encoding, questions: Sequence[Question], exact: bool = False, progress: Progress | None = None
    ) -> list[Answer]:
        """Answer questions on one text, in order; the text is encoded once, or not at all if it was kept.

        Of a choice with very many options the likeliest are read closely; `exact` reads all. `progress` as in `keep`.

        >>> from umbel.questions import Choice, Option, Predicate
        >>> teams = Choice("Which team?", (Option("billing"), Option("technical")))
        >>> team, refund = model.ask("I was charged twice", [teams, Predicate("The customer wants money back")])

        Raises:
            InputError: the text or a question is not as it should be, or the encoding is another model's.
            PackError: the pack was not trained for questions.
        """
        reader = self._need_reader()
        encoding = self.keep(text, progress) if isinstance(text, str) else text
        self._check_made_here(encoding)
        began, encoding_before = time.perf_counter(), self.counters.seconds_encoding
        answers = reader.ask(encoding, questions, exact)
        with self._counting:
            self.counters.questions += len(questions)
            self.counters.seconds_branches += time.perf_counter() - began
            if isinstance(encoding.kept, Passing):  # it was read meanwhile
                self.counters.seconds_branches -= self.counters.seconds_encoding - encoding_before
        return answers

    def inquire(self, inquiries: Sequence[Inquiry]) -> list[Reply | UmbelError]:
        """Answer inquiries together, in order; one that is not as it should be gets its error, the rest are answered.

        A text is encoded once, whatever number of inquiries ask about it, in a batch with the others of its length.
        """
        readings: dict[str, Reading] = {}
        found: dict[int, Reply | UmbelError] = {}
        places: dict[str, list[tuple[int, list[str]]]] = {}
        for place, inquiry in enumerate(inquiries):
            try:
                places.setdefault(inquiry.text, []).append((place, self._admit(inquiry, readings)))
            except UmbelError as error:
                found[place] = error
        for reading in self.forward.run([*readings.values()], recall=True):
            result = self._result(reading)
            if reading.keeps:
                self.encodings.put(self.forward.encoding_of(reading))
            found |= {at: self._reply(inquiries[at], names, result, reading) for at, names in places[reading.text]}
        return [found[place] for place in range(len(inquiries))]

    def _admit(self, inquiry: Inquiry, readings: dict[str, Reading]) -> list[str]:
        """Put what an inquiry needs into `readings`, and return the names of its tasks."""
        text, names = checked(inquiry.text), self._names(inquiry.tasks)
        if inquiry.questions:
            self._need_reader()
        reading = readings.setdefault(text, Reading(text, []))
        reading.names = list(dict.fromkeys([*reading.names, *names]))
        reading.keeps |= bool(inquiry.questions)
        return names

    def _reply(self, inquiry: Inquiry, names: Sequence[str], found: Result, reading: Reading) -> Reply | UmbelError:
        result = Result(found.text, {name: found[name] for name in names}, found.language, found.cost)
        if not inquiry.questions:
            return Reply(result)
        try:
            return Reply(result, tuple(self.ask(self.forward.encoding_of(reading), inquiry.questions, inquiry.exact)))
        except UmbelError as error:
            return error

    @cached_property
    def vector_hashes(self) -> tuple[str, str, str, str]:
        """What its vectors depend on: the hashes of backbone, adapter, tokenizer and map, empty where there is none."""
        manifest = self.pack.manifest
        maps = (entry.head for entry in manifest.tasks.values() if entry.kind == VECTORS)
        adapter, mapped = (file.sha256 if file else "" for file in (manifest.adapter, next(maps, None)))
        return manifest.backbone.sha256, adapter, self.tokenizer.sha256, mapped

    @cached_property
    def writer(self) -> PackWriter:
        """What writes this pack's texts; its decoder is loaded with the first of them."""
        if self.opens_writer is None:
            raise PackError("this model cannot write", "load it with umbel.load")
        return self.opens_writer(self)

    def write(self, text: str, task: str = "reply", order: Order | None = None) -> list[Written]:
        """Write a text about a message, or several at once, checked by the pack (`replies.PackWriter.write`)."""
        return self.writer.write(text, task, order) if order else self.writer.write(text, task)

    def head_logits(self, texts: Sequence[str], task: str) -> list[Floats]:
        """Return what a task's head says of each text, windows merged: logits `[width]`, or `[tokens, width]`.

        N-grams, which may add to them, are left out.

        Raises:
            InputError: a text is not a string or is blank, or the task is unknown.
        """
        names = self._names([task])
        readings = [Reading(checked(text, f"texts[{place}]: "), names) for place, text in enumerate(texts)]
        return [self._merged(reading, task) for reading in self.forward.run(readings)]

    def _merged(self, reading: Reading, name: str) -> Floats:
        task = self.tasks[name]
        return kind_of(task.kind).merge(task, [logits[name] for logits in reading.logits], reading.windows)

    def means(self, texts: Sequence[str], query: Floats | None = None) -> Floats:
        """Return the mean hidden state of each text's first window `[texts, hidden]`: what a new head learns from.

        With a head's `query` `[hidden]` it is the mean that this head reads.

        Raises:
            InputError: a text is not a string or is blank.
        """
        checked_texts = [checked(text, f"texts[{place}]: ") for place, text in enumerate(texts)]
        return np.stack([pooled(states, query) for states in self.forward.first_hidden(checked_texts)])

    @property
    def encodings(self) -> EncodingCache:
        """The encodings that are kept."""
        return self.forward.encodings

    @property
    def reader(self) -> Reader:
        """What asks the pack's branches.

        Raises:
            PackError: the pack was not trained for questions.
        """
        return self._need_reader()

    def _need_reader(self) -> Reader:
        if self._reader is None:
            raise PackError(
                f"{self.pack.manifest.name}: this pack was not trained for questions asked on the spot",
                "take one that was (`umbel packs` shows their `branches`), or train one with `questions:`",
            )
        return self._reader

    def _check_made_here(self, encoding: object) -> None:
        if not isinstance(encoding, Encoding) or encoding.maker != self.forward.maker:
            raise InputError("the encoding was made by another model", "keep the text with this one: model.keep(text)")

    def _answer_or_refuse(self, texts: Sequence[str], names: Sequence[str]) -> Iterator[Result | Refused]:
        refused = {}
        for place, text in enumerate(texts):
            try:
                checked(text)
            except InputError as error:
                refused[place] = Refused(text, error)
        good = iter(self._answer([text for place, text in enumerate(texts) if place not in refused], names))
        return (refused[place] if place in refused else next(good) for place in range(len(texts)))

    def _names(self, tasks: Sequence[str] | None) -> list[str]:
        if tasks is None:
            return list(self.tasks)
        if isinstance(tasks, str):
            raise InputError(f"tasks: found the text {tasks!r}, expected a list of names", f"tasks=[{tasks!r}]")
        for name in tasks:
            if name not in self.tasks:
                raise InputError(
                    f"{name!r} is not a task of pack {self.pack.manifest.name}{suggest(name, list(self.tasks))}",
                    f"its tasks are {', '.join(self.tasks)}",
                )
        return list(dict.fromkeys(tasks))

    def _answer(self, texts: Sequence[str], names: Sequence[str]) -> list[Result]:
        return [self._result(reading) for reading in self.forward.run([Reading(text, list(names)) for text in texts])]

    def _result(self, reading: Reading) -> Result:
        began, names = time.perf_counter(), reading.names
        language = language_of(reading.text)
        offsets = joined_offsets(reading.windows)
        predictions = self._described_predictions(reading)
        for name in names:
            task = self.tasks[name]
            if name in predictions:
                continue
            started = time.perf_counter()
            kind = kind_of(task.kind)
            merged = self._merged(reading, name)
            if name in self._ngrams:
                merged = merged + self._ngrams[name].logits(*reading.counted(self._ngrams[name].longest))
            predictions[name] = kind.predict(task, merged, reading.text, offsets, language)
            reading.spend(time.perf_counter() - started, name)
        with self._counting:
            self.counters.tasks += len(names)
            self.counters.seconds_heads += time.perf_counter() - began
        return Result(reading.text, {name: predictions[name] for name in names}, language, reading.cost(len(offsets)))

    def _described_predictions(self, reading: Reading) -> dict[str, Prediction]:
        """Answer the tasks that are described, but have no head, by asking."""
        described = [name for name in reading.names if name in self._described]
        if not described:
            return {}
        began = time.perf_counter()
        asked = [(name, question) for name in described for question in self._described[name]]
        answers = iter(self._need_reader().ask(self.forward.encoding_of(reading), [question for _, question in asked]))
        reading.spend(time.perf_counter() - began, *(name for name, _ in asked))
        return {
            name: prediction_of(self.tasks[name], [next(answers) for _ in self._described[name]]) for name in described
        }
