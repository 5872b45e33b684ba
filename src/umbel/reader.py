"""Answers questions asked at request time: a text is encoded once and kept, questions are read as branches of it.

Every question is a row of its own, so its answer has the same bits whatever else is asked; options are laid out in an
order of their own, so theirs changes none. Safe to call from several threads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from umbel import decide
from umbel.branch_graph import BranchEngine, Kept
from umbel.brancher import Brancher
from umbel.decide import UNCALIBRATED, Answer, Calibration
from umbel.encodings import Encoding
from umbel.extraction import Extraction, Sought
from umbel.novelty import doubt
from umbel.pack import Pack
from umbel.questions import Choice, Extract, Question, all_checked
from umbel.reading import value_layers
from umbel.reading_graph import ReadingHeads
from umbel.readouts import KNOWN, USUAL_COSINE, logits_of, option_logits
from umbel.records import Window
from umbel.tokenize import Tokenizer
from umbel.tree import Branch, Rows, cut, rows_of
from umbel.weights import Embedding
from umbel.windows import LENGTH_STEP

Floats = NDArray[np.float32]

LENGTHS = (32, 64, 128, 256, 512)  # of rows: each is padded to the first that it fits
ROW_TOKENS = 256  # a question with more options than fit is read in several rows, each with at least one of them
PASS_TOKENS = 2048  # branch tokens read at once
MOST_VECTORS = 100_000  # of options that are remembered
MOST_LAID = 16_384  # branch tokens whose layout is remembered, for the next text that is asked the same: 25 MB
MOST_NOTHINGS = 20_000  # options of which it is remembered what a text that says nothing gives
SHORTLIST_FROM, SHORTLIST = 32, 16  # of more options than the first, so many likely ones are read as branches


@dataclass(frozen=True)
class Nothing:
    """What a text that says nothing gives a choice's options `[options]`: cosines of vectors, and logits by reading."""

    cosines: Floats
    read: Floats


@dataclass(frozen=True)
class States:
    """Hidden states of a branch: `leaves` `[options, hidden]`, and `question`.

    That is `[question tokens, hidden]` of a branch without options, else of the last one alone.
    """

    question: Floats
    leaves: Floats


@dataclass(frozen=True)
class Laid:
    """Rows that are read in one pass, their tokens' embeddings `[tokens, hidden]`, and what each row is.

    That is which of the branches it belongs to, and the places of the options it holds.
    """

    rows: Rows
    embedded: Floats
    parts: tuple[tuple[int, list[int]], ...]


class Reader:
    """Asks a pack's branches. `encode` gives the hidden states `[tokens, hidden]` of texts' first windows.

    Passages are read by the `reading` head where the pack has one, else by pointers. `languages` are those the pack was
    trained on, if it says so.
    """

    def __init__(
        self,
        engine: BranchEngine,
        weights: Mapping[str, Floats],
        calibration: Calibration,
        embedding: Embedding,
        tokenizer: Tokenizer,
        encode: Callable[[Sequence[str]], list[Floats]],
        languages: Sequence[str] = (),
        reading: ReadingHeads | None = None,
    ) -> None:
        self.engine, self.weights, self.calibration = engine, weights, calibration
        self.embedding, self.tokenizer, self.encode = embedding, tokenizer, encode
        self.languages = languages
        self.brancher = Brancher(tokenizer)
        self.extraction = Extraction(reading, value_layers(engine.layers), self.keep_each) if reading else None
        self._vectors: dict[str, Floats] = {}
        self._likenesses: dict[str, float] = {}
        self._laid: dict[tuple[object, ...], list[Laid]] = {}
        self._nothings: dict[tuple[str, ...], Nothing] = {}
        self._lock = threading.Lock()

    def keep(self, windows: Sequence[Window], length: int) -> list[Kept]:
        """Encode windows, all padded to `length`, and return what is kept of each."""
        ids = np.full((len(windows), length), self.tokenizer.pad, np.int64)
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)] = window.ids
        lengths = np.array([len(window.ids) for window in windows], np.int32)
        return self.engine.keep(self.embedding.rows(ids), lengths)

    def keep_each(self, windows: Sequence[Window]) -> list[Kept]:
        """Encode windows of any lengths, those of one padded length together."""
        by_length: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            by_length.setdefault(-(-len(window.ids) // LENGTH_STEP) * LENGTH_STEP, []).append(place)
        kept: dict[int, Kept] = {}
        for length, places in by_length.items():
            kept |= zip(places, self.keep([windows[place] for place in places], length), strict=True)
        return [kept[place] for place in range(len(windows))]

    def with_head(self, weights: Mapping[str, Floats]) -> Reader:
        """Return a reader of the same pack that reads passages with another head, or several (`reading.joined`)."""
        other, reading = copy(self), ReadingHeads(weights, self.engine.beside)
        other.extraction = Extraction(reading, value_layers(self.engine.layers), self.keep_each)
        return other

    def ask(self, encoding: Encoding, questions: Sequence[Question], exact: bool = False) -> list[Answer]:
        """Answer questions on one text, in order; `exact` reads every option, however many, as a branch.

        Raises:
            InputError: questions are not as they should be; the message names each fault's place.
        """
        asked = self.checked(questions)
        offsets = [window.offsets for window in encoding.windows]
        return [
            decide.answer(question, encoding.text, list(zip(offsets, found, strict=True)), self.calibration)
            for question, found in zip(asked, self.logits(encoding, asked, exact), strict=True)
        ]

    def checked(self, questions: Sequence[Question]) -> list[Question]:
        """Return the questions if all are as they should be and none is too long to be read whole.

        Raises:
            InputError: one is not; the message names each fault's place.
        """
        asked = all_checked(questions, self.languages)
        self.brancher.check(asked)
        return asked

    def fitting(self, words: str) -> str:
        """Return words that are not too long to be asked: these, or as much of their beginning as may be."""
        return self.brancher.fitting(words)

    def logits(
        self, encoding: Encoding, asked: Sequence[Question], exact: bool = False
    ) -> list[list[tuple[Floats, ...]]]:
        """Return each question's logits (`readouts.logits_of`) under each window of the text.

        From a choice's a share is taken off of what they are on a text that says nothing (`Calibration.blank`), and
        they are divided by how new its options are (`novelty`).
        """
        self._learn_vectors(asked)
        nothings, share = self._nothings_of(asked), self.calibration.blank
        alike = [self._cosines(encoding, question) for question in asked]
        cosines = [found - share * nothing.cosines for found, nothing in zip(alike, nothings, strict=True)]
        chosen = [_shortlist(question, cosine, exact) for question, cosine in zip(asked, cosines, strict=True)]
        short = [_only(question, places) for question, places in zip(asked, chosen, strict=True)]
        branches = [self.brancher.branches(question) for question in short]
        logits: list[list[tuple[Floats, ...]]] = [[] for _ in asked]
        for window, kept in zip(encoding.windows, encoding.kept, strict=True):
            states = iter(self.states(kept, [branch for found in branches for branch in found]))
            states_of = [[next(states) for _ in found] for found in branches]
            read = self._read(window, kept, short, branches, states_of)
            for place, parts in enumerate(states_of):
                if place in read:
                    logits[place].append(read[place])
                    continue
                roots = np.stack([part.question[-1] for part in parts])
                few = cosines[place][chosen[place]]
                values = logits_of(self.weights, short[place], roots, parts[0].leaves, few, kept.hidden)
                if isinstance(asked[place], Choice):
                    values = (values[0] - share * nothings[place].read[chosen[place]],)
                logits[place].append(self._widened(values, cosines[place], chosen[place]))
        return [self._doubted(*each) for each in zip(asked, logits, alike, strict=True)]

    def _nothings_of(self, questions: Sequence[Question]) -> list[Nothing]:
        """Return what a text that says nothing gives each question; nothing to those whose answers do without it."""
        choices = {_words(each): each for each in questions if isinstance(each, Choice) and self.calibration.blank}
        with self._lock:
            found = {words: self._nothings[words] for words in choices if words in self._nothings}
        if unknown := {words: each for words, each in choices.items() if words not in found}:
            branches = [branch for each in unknown.values() for branch in self.brancher.branches(each)]
            (kept,) = self._blank.kept
            for (words, question), states in zip(unknown.items(), self.states(kept, branches), strict=True):
                logits = option_logits(self.weights, states.leaves, USUAL_COSINE)
                found[words] = Nothing(self._cosines(self._blank, question), logits)
            with self._lock:
                if sum(map(len, [*self._nothings, *unknown])) > MOST_NOTHINGS:
                    self._nothings.clear()
                self._nothings.update(found)
        return [found[words] if (words := _words(each)) in found else _none_of(each) for each in questions]

    @cached_property
    def _blank(self) -> Encoding:
        (windows,) = self.tokenizer.windows_many([decide.BLANK])
        return Encoding(decide.BLANK, tuple(windows), tuple(self.keep_each(windows)), "")

    def _read(
        self,
        window: Window,
        kept: Kept,
        questions: Sequence[Question],
        branches: Sequence[Sequence[Branch]],
        states: Sequence[Sequence[States]],
    ) -> dict[int, tuple[Floats, Floats]]:
        """Return what the reading head, if any, says of the questions that want a span, by their places."""
        if self.extraction is None:
            return {}
        places = [place for place, question in enumerate(questions) if isinstance(question, Extract)]
        sought = [Sought(branches[place][0].question, states[place][0].question) for place in places]
        return dict(zip(places, self.extraction.logits(window, kept, sought), strict=True))

    def states(self, kept: Kept, branches: Sequence[Branch]) -> list[States]:
        """Return the states of each branch under one window."""
        hidden_size = kept.hidden.shape[1]
        sizes = [(1 if branch.options else len(branch.question), len(branch.options)) for branch in branches]
        states = [States(*(np.zeros((size, hidden_size), np.float32) for size in pair)) for pair in sizes]
        for laid in self._laid_out(branches):
            hidden = self.engine.branch(laid.embedded, laid.rows, kept)
            ends = np.cumsum([len(read) for read in laid.rows.read])[:-1]
            for (place, held), found in zip(laid.parts, np.split(hidden, ends), strict=True):
                states[place].question[:] = found[: len(found) - len(held)]
                states[place].leaves[held] = found[len(found) - len(held) :]
        return states

    def _laid_out(self, branches: Sequence[Branch]) -> list[Laid]:
        """Return the passes that read branches; those of the same branches as before are remembered."""
        key = tuple(branch.key for branch in branches)
        with self._lock:
            if key in self._laid:
                return self._laid[key]
        parts = [(place, part, held) for place, branch in enumerate(branches) for part, held in cut(branch, ROW_TOKENS)]
        passes = []
        for length, group in _passes(parts):
            rows = rows_of([part for _, part, _ in group], self.tokenizer.pad, length)
            embedded = self.embedding.rows(rows.ids[rows.used]) + self.weights["roles"][rows.roles[rows.used]]
            passes.append(Laid(rows, embedded, tuple((place, held) for place, _, held in group)))
        with self._lock:
            if sum(len(laid.embedded) for each in (*self._laid.values(), passes) for laid in each) > MOST_LAID:
                self._laid = {}
            if sum(len(laid.embedded) for laid in passes) <= MOST_LAID:
                self._laid[key] = passes
        return passes

    def _cosines(self, encoding: Encoding, question: Question) -> Floats:
        """Return the cosines of a choice's options with the text `[options]`; none for other questions."""
        if not isinstance(question, Choice):
            return np.zeros(0, np.float32)
        vectors = self.vectors([option.words for option in question.options])
        cosines: Floats = (vectors * encoding.vector).sum(axis=1)  # row by row: the same bits in any company
        return cosines

    def vectors(self, words: Sequence[str]) -> Floats:
        """Return vectors of length 1 for short texts `[texts, hidden]`; those seen before are remembered."""
        with self._lock:
            found = {each: self._vectors[each] for each in words if each in self._vectors}
        unknown = sorted({*words} - found.keys())
        if unknown:
            means = [states.mean(axis=0) for states in self.encode(unknown)]
            new = {each: mean / np.linalg.norm(mean) for each, mean in zip(unknown, means, strict=True)}
            with self._lock:
                if len(self._vectors) + len(new) > MOST_VECTORS:
                    self._vectors.clear()
                self._vectors.update(new)
            found |= new
        return np.stack([found[each] for each in words])

    def _learn_vectors(self, questions: Sequence[Question]) -> None:
        """Encode all that will be wanted of options in one go."""
        choices = [each for each in questions if isinstance(each, Choice)]
        words = [option.words for each in choices for option in each.options]
        if words:
            names = (option.name for each in choices for option in each.options if KNOWN in self.weights)
            self.vectors([*words, *names])

    def _doubted(
        self, question: Question, logits: list[tuple[Floats, ...]], cosines: Floats
    ) -> list[tuple[Floats, ...]]:
        """Return a question's logits under each window, a choice's divided by how new its options are."""
        if not isinstance(question, Choice) or KNOWN not in self.weights:
            return logits
        likeliest = int(np.mean([found[0] for found in logits], axis=0).argmax())
        nearer = float(cosines[likeliest]) - math.fsum(cosines.tolist()) / len(cosines)
        factor = np.float32(doubt(self._newness(question), nearer))
        return [tuple(each / factor for each in found) for found in logits]

    def _newness(self, question: Choice) -> float:
        """Return how unlike a choice's options are, on average, to all those that were trained, by their names."""
        names = [option.name for option in question.options]
        with self._lock:
            found = {name: self._likenesses[name] for name in names if name in self._likenesses}
        unknown = sorted({*names} - found.keys())
        if unknown:
            near = [float(np.vecdot(self.weights[KNOWN], vector).max()) for vector in self.vectors(unknown)]
            found |= (new := dict(zip(unknown, near, strict=True)))
            with self._lock:
                if len(self._likenesses) + len(new) > MOST_VECTORS:
                    self._likenesses.clear()
                self._likenesses.update(new)
        return 1 - math.fsum(min(found[name], 1.0) for name in names) / len(names)

    def _widened(self, logits: tuple[Floats, ...], cosines: Floats, chosen: NDArray[np.int64]) -> tuple[Floats, ...]:
        """Give the options that were not read what their cosine says, and the least that reading gave any."""
        if len(chosen) == len(cosines):
            return logits
        scale = float(self.weights["choice_cosine"][0])
        read = logits[0] - scale * cosines[chosen]
        wide: Floats = (scale * cosines + read.min()).astype(np.float32)
        wide[chosen] = logits[0]
        return (wide,)


def _words(question: Question) -> tuple[str, ...]:
    """Return all words of a choice, its instruction first; none of other questions."""
    if not isinstance(question, Choice):
        return ()
    return (question.instruction, *(option.words for option in question.options))


def _none_of(question: Question) -> Nothing:
    zeros = np.zeros(len(question.options) if isinstance(question, Choice) else 0, np.float32)
    return Nothing(zeros, zeros)


def _shortlist(question: Question, cosines: Floats, exact: bool) -> NDArray[np.int64]:
    """Return the places of the options to read: all, or of very many the ones most like the text."""
    if exact or len(cosines) <= SHORTLIST_FROM:
        return np.arange(len(cosines))
    assert isinstance(question, Choice)
    by_likeness = sorted(range(len(cosines)), key=lambda place: (-cosines[place], question.options[place].words))
    return np.array(sorted(by_likeness[:SHORTLIST]))


def _only(question: Question, places: NDArray[np.int64]) -> Question:
    if not isinstance(question, Choice) or len(places) == len(question.options):
        return question
    return replace(question, options=tuple(question.options[place] for place in places))


def _passes(
    parts: Sequence[tuple[int, Branch, list[int]]],
) -> Iterable[tuple[int, list[tuple[int, Branch, list[int]]]]]:
    """Yield a padded length and rows of it, as many as one pass may hold."""
    by_length: dict[int, list[tuple[int, Branch, list[int]]]] = {}
    for part in parts:
        by_length.setdefault(next(length for length in LENGTHS if len(part[1]) <= length), []).append(part)
    for length, group in sorted(by_length.items()):
        size = max(PASS_TOKENS // length, 1)
        for at in range(0, len(group), size):
            yield length, group[at : at + size]


def reader_of(
    pack: Pack,
    engine: BranchEngine,
    embedding: Embedding,
    tokenizer: Tokenizer,
    encode: Callable[[Sequence[str]], list[Floats]],
) -> Reader:
    """Return the reader of a pack's branches, with its calibration and its reading head, if it has one."""
    manifest, head = pack.manifest, None
    calibration = manifest.branches.calibration if manifest.branches else UNCALIBRATED
    if manifest.reading:
        calibration, head = manifest.reading.calibration(calibration), ReadingHeads(pack.reading(), engine.beside)
    languages = sorted({language for task in pack.tasks.values() for language in task.languages})
    return Reader(engine, pack.branches(), calibration, embedding, tokenizer, encode, languages, head)
