"""Answers texts with a compiled pack: each text is encoded once, every asked task reads from that encoding.

Knows nothing of torch, files of texts, or HTTP. Safe to call from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from umbel.branch_graph import BranchEngine, Kept
from umbel.decide import UNCALIBRATED, Answer
from umbel.described import prediction_of, questions_of
from umbel.encodings import MOST_HELD, Encoding, EncodingCache, Passing, Progress
from umbel.engine import Engine
from umbel.errors import InputError, PackError, suggest
from umbel.gather import by_pace
from umbel.heads import Heads
from umbel.kinds.base import kind_of
from umbel.pack import Pack
from umbel.questions import Question
from umbel.reader import LENGTH_STEP, Reader
from umbel.reading import ReadingHead
from umbel.records import Prediction, Result, Window, language_of
from umbel.tokenize import Tokenizer
from umbel.weights import Embedding

if TYPE_CHECKING:
    from umbel.replies import Order, PackWriter, Reply

Floats = NDArray[np.float32]

BATCH_TOKENS = 1024
CACHE_BYTES = 64 * 2**20  # of kept encodings
AHEAD = 256  # texts that a stream reads, at most, before it answers


@dataclass
class Counters:
    """What a model has done since it was loaded. `encodings` counts texts, `windows` the pieces they were read in."""

    encodings: int = 0
    windows: int = 0
    tasks: int = 0
    seconds_tokenising: float = 0.0
    seconds_encoding: float = 0.0
    seconds_heads: float = 0.0
    questions: int = 0
    seconds_branches: float = 0.0


@dataclass(frozen=True)
class Refused:
    """A text of a stream that could not be answered, and why."""

    text: str
    error: InputError


@dataclass
class _Reading:
    """One text on its way: its windows and, when encoded, each window's logits by task, and what is kept of it."""

    text: str
    windows: list[Window]
    logits: list[dict[str, Floats]] = field(default_factory=list)
    kept: list[Kept | None] = field(default_factory=list)


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
    ) -> None:
        self.pack, self.engine, self.embedding, self.tokenizer = pack, engine, embedding, tokenizer
        self.tasks = pack.tasks
        self.counters = Counters()
        self._described = {n: questions_of(t) for n, t in self.tasks.items() if t.instruction and not pack.head(n)}
        self._heads = Heads({name: pack.head(name) for name in self.tasks if name not in self._described})
        self._counting = threading.Lock()
        self.encodings = EncodingCache(cache_bytes)
        self._reader = self._reader_of(branches) if branches else None
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
            return self._answer([_checked(texts)], names)[0]
        if not isinstance(texts, Iterable):
            raise InputError(f"texts: found {type(texts).__name__}, expected a text or a list of texts")
        return self._answer([_checked(text, f"texts[{place}]: ") for place, text in enumerate(texts)], names)

    def stream(self, texts: Iterable[str], tasks: Sequence[str] | None = None) -> Iterator[Result | Refused]:
        """Answer texts one after the other; a bad one is `Refused`, the rest go on.

        A list is read by hundreds; of an iterator more are read ahead the faster they come, none while they are slow.

        Raises:
            InputError: a task is unknown.
        """
        names = self._names(tasks)
        chunks = _chunks(texts, AHEAD) if isinstance(texts, Sequence) else by_pace(texts, AHEAD)
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
        found = self.encodings.get(self._maker, _checked(text))
        if found is None:
            (windows,) = self.tokenizer.windows_many([text])
            found = self._encoding(text, windows, progress)
            with self._counting:
                self.counters.encodings += 1
            self.encodings.put(found)
        return found

    def _encoding(self, text: str, windows: Sequence[Window], progress: Progress | None = None) -> Encoding:
        passing = Passing(windows, self._kept, progress)
        kept = passing if len(windows) > MOST_HELD else tuple(passing)
        return Encoding(text, tuple(windows), kept, self._maker)

    def _kept(self, windows: Sequence[Window]) -> list[Kept]:
        """Encode windows and return what is kept of each."""
        began = time.perf_counter()
        found: dict[int, Kept] = {}
        for length, places in _batches(windows):
            found.update(zip(places, self._need_reader().keep([windows[each] for each in places], length), strict=True))
        with self._counting:
            self.counters.windows += len(windows)
            self.counters.seconds_encoding += time.perf_counter() - began
        return [found[place] for place in range(len(windows))]

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
        if not isinstance(encoding, Encoding) or encoding.maker != self._maker:
            raise InputError("the encoding was made by another model", "keep the text with this one: model.keep(text)")
        began, encoding_before = time.perf_counter(), self.counters.seconds_encoding
        answers = reader.ask(encoding, questions, exact)
        with self._counting:
            self.counters.questions += len(questions)
            self.counters.seconds_branches += time.perf_counter() - began
            if isinstance(encoding.kept, Passing):  # it was read meanwhile
                self.counters.seconds_branches -= self.counters.seconds_encoding - encoding_before
        return answers

    @cached_property
    def writer(self) -> PackWriter:
        """What writes this pack's texts; its decoder is loaded with the first of them."""
        if self.opens_writer is None:
            raise PackError("this model cannot write", "load it with umbel.load")
        return self.opens_writer(self)

    def write(self, text: str, task: str = "reply", order: Order | None = None) -> list[Reply]:
        """Write a text about a message, or several at once, checked by the pack (`replies.PackWriter.write`)."""
        return self.writer.write(text, task, order) if order else self.writer.write(text, task)

    def means(self, texts: Sequence[str]) -> Floats:
        """Return the mean hidden state of each text's first window `[texts, hidden]`: what a new head learns from.

        Raises:
            InputError: a text is not a string or is blank.
        """
        checked_texts = [_checked(text, f"texts[{place}]: ") for place, text in enumerate(texts)]
        return np.stack([states.mean(axis=0) for states in self._first_hidden(checked_texts)])

    @cached_property
    def _maker(self) -> str:
        """Name all that an encoding depends on: backbone, adapter, tokenizer."""
        manifest = self.pack.manifest
        adapter = manifest.adapter.sha256 if manifest.adapter else ""
        return f"{manifest.backbone.sha256} {adapter} {self.tokenizer.sha256}"

    def _reader_of(self, branches: BranchEngine) -> Reader:
        entry = self.pack.manifest.branches
        calibration = entry.calibration if entry else UNCALIBRATED
        head = None
        if reading := self.pack.manifest.reading:
            calibration = replace(
                calibration, temperatures={**calibration.temperatures, "extract": reading.temperature}
            )
            head = ReadingHead(self.pack.reading())
        weights = self.pack.branches()
        languages = sorted({language for task in self.tasks.values() for language in task.languages})
        return Reader(
            branches, weights, calibration, self.embedding, self.tokenizer, self._first_hidden, languages, head
        )

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

    def _first_hidden(self, texts: Sequence[str]) -> list[Floats]:
        """Return the hidden states of each text's first window `[tokens, hidden]`."""
        windows = [cut[0] for cut in self.tokenizer.windows_many(texts)]
        found: dict[int, Floats] = {}
        for length, places in _batches(windows):
            batch = self._encode([windows[place] for place in places], length)
            found |= {place: states[: len(windows[place].ids)] for place, states in zip(places, batch, strict=True)}
        return [found[place] for place in range(len(windows))]

    def _answer_or_refuse(self, texts: Sequence[str], names: Sequence[str]) -> Iterator[Result | Refused]:
        refused = {}
        for place, text in enumerate(texts):
            try:
                _checked(text)
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
        began = time.perf_counter()
        readings = [_Reading(text, cut) for text, cut in zip(texts, self.tokenizer.windows_many(texts), strict=True)]
        tokenised = time.perf_counter()
        encoding, results = 0.0, []
        keeps = any(name in self._described for name in names)
        for group in _groups(readings, MOST_HELD) if keeps else [readings]:
            encoding += self._read(group, names)
            results += [self._result(reading, names) for reading in group]
            for reading in group:
                reading.kept = []
        total = time.perf_counter() - tokenised
        with self._counting:
            self.counters.encodings += len(readings)
            self.counters.windows += sum(len(reading.windows) for reading in readings)
            self.counters.tasks += len(readings) * len(names)
            self.counters.seconds_tokenising += tokenised - began
            self.counters.seconds_encoding += encoding
            self.counters.seconds_heads += total - encoding
        return results

    def _read(self, readings: Sequence[_Reading], names: Sequence[str]) -> float:
        """Encode every window once, keep its logits, and return the seconds spent encoding."""
        places = [(text, part) for text, reading in enumerate(readings) for part in range(len(reading.windows))]
        windows = [readings[text].windows[part] for text, part in places]
        trained = [name for name in names if name not in self._described]
        keeps = len(trained) < len(names) and len(windows) <= MOST_HELD
        for reading in readings:
            reading.logits, reading.kept = [{} for _ in reading.windows], [None for _ in reading.windows]
        seconds = 0.0
        for length, batch in _batches(windows):
            began = time.perf_counter()
            chosen = [windows[place] for place in batch]
            kept = self._need_reader().keep(chosen, length) if keeps else None
            hidden = [each.hidden for each in kept] if kept else self._encode(chosen, length)
            seconds += time.perf_counter() - began
            for row, place in enumerate(batch):
                text, part = places[place]
                states = hidden[row][: len(windows[place].ids)]
                readings[text].logits[part] = self._heads.logits(states, trained)
                readings[text].kept[part] = kept[row] if kept else None
        return seconds

    def _encode(self, windows: Sequence[Window], length: int) -> Floats:
        ids = np.full((len(windows), length), self.tokenizer.pad, np.int64)
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)] = window.ids
        lengths = np.array([len(window.ids) for window in windows], np.int32)
        return self.engine.encode(self.embedding.rows(ids), lengths)

    def _result(self, reading: _Reading, names: Sequence[str]) -> Result:
        language = language_of(reading.text)
        offsets = joined_offsets(reading.windows)
        predictions = self._described_predictions(reading, names)
        for name in names:
            task = self.tasks[name]
            if name in predictions:
                continue
            kind = kind_of(task.kind)
            merged = kind.merge(task, [logits[name] for logits in reading.logits], reading.windows)
            predictions[name] = kind.predict(task, merged, reading.text, offsets, language)
        return Result(reading.text, {name: predictions[name] for name in names}, language)

    def _described_predictions(self, reading: _Reading, names: Sequence[str]) -> dict[str, Prediction]:
        """Answer the tasks that are described, but have no head, by asking."""
        described = [name for name in names if name in self._described]
        if not described:
            return {}
        kept = tuple(each for each in reading.kept if each)
        encoding = (
            Encoding(reading.text, tuple(reading.windows), kept, self._maker)
            if kept
            else self._encoding(reading.text, reading.windows)
        )
        asked = [question for name in described for question in self._described[name]]
        answers = iter(self._need_reader().ask(encoding, asked))
        return {
            name: prediction_of(self.tasks[name], [next(answers) for _ in self._described[name]]) for name in described
        }


def joined_offsets(windows: Sequence[Window]) -> NDArray[np.int32]:
    """Return the offsets of a text's content tokens `[tokens, 2]`, each token once."""
    if len(windows) == 1:
        return windows[0].offsets[1:-1]
    joined = np.zeros((windows[-1].first + len(windows[-1].ids) - 2, 2), np.int32)
    for window in windows:
        joined[window.first : window.first + len(window.ids) - 2] = window.offsets[1:-1]
    return joined


def _checked(text: object, where: str = "") -> str:
    if not isinstance(text, str):
        raise InputError(f"{where}found {type(text).__name__}, expected a text")
    if not text.strip():
        raise InputError(f"{where}the text is blank", "leave blank texts out")
    return text


def _padded(window: Window) -> int:
    return -(-len(window.ids) // LENGTH_STEP) * LENGTH_STEP


def _batches(windows: Sequence[Window]) -> Iterator[tuple[int, list[int]]]:
    """Yield the places of windows of one padded length, batch by batch, so that an answer is the same in any batch."""
    by_length: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        by_length.setdefault(_padded(window), []).append(place)
    for length, group in sorted(by_length.items()):
        size = max(BATCH_TOKENS // length, 1)
        for at in range(0, len(group), size):
            yield length, group[at : at + size]


def _groups(readings: Sequence[_Reading], most: int) -> Iterator[list[_Reading]]:
    """Cut readings into groups of at most `most` windows, or one text."""
    group: list[_Reading] = []
    for reading in readings:
        if group and sum(len(each.windows) for each in group) + len(reading.windows) > most:
            yield group
            group = []
        group.append(reading)
    yield group


def _chunks(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[at : at + size] for at in range(0, len(texts), size))
