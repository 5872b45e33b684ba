"""Turns questions into branches of token ids; knows nothing of engines and of how answers are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Question, Score, tell
from umbel.readouts import ROLES
from umbel.statements import as_statement
from umbel.tokenize import Tokenizer
from umbel.tree import Branch

MOST_TOKENS = 256  # of a question, and of an option with its description: with both the backbone's positions suffice
MOST_REMEMBERED = 100_000  # words, with their ids
SHOWN = 40  # characters of words that are too long


def words_of(question: Question) -> tuple[str, tuple[Option, ...]]:
    """Return what is read as the question and what as its options; types of spans are questions of their own."""
    match question:
        case Choice(words, options) | Score(words, options):
            return words, options
        case Predicate(words):
            return as_statement(words), ()
        case Extract(words):
            return words, ()
        case Mentions():
            raise TypeError("each type is a branch of its own")


def parts_of(question: Question) -> Iterator[tuple[str, str]]:
    """Yield the words of a question that are read each by themselves, behind the place where they stand in it."""
    match question:
        case Choice(words, options):
            yield "instruction", words
            yield from _listed("options", options)
        case Score(words, levels):
            yield "instruction", words
            yield from _listed("levels", levels)
        case Predicate(words):
            yield "statement", words
        case Extract(words):
            yield "question", words
        case Mentions(types):
            yield from _listed("types", types)


def _listed(what: str, options: Sequence[Option]) -> Iterator[tuple[str, str]]:
    return ((f"{what}[{place}]", option.words) for place, option in enumerate(options))


class Brancher:
    """Turns questions into branches; keeps the ids of words it has seen.

    Words of more than `most_tokens` tokens are too long: half of what the backbone reads at once, 256 at the most.
    """

    def __init__(self, tokenizer: Tokenizer, most_tokens: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.most = most_tokens or min(MOST_TOKENS, tokenizer.max_tokens // 2)
        self._known: dict[str, tuple[NDArray[np.int32], int]] = {}

    def check(self, questions: Sequence[Question]) -> None:
        """Tell all words that are too long to be read whole, each with its place.

        Raises:
            InputError: there are some.
        """
        too_long = (
            (f"questions[{place}].{part}", count, words)
            for place, question in enumerate(questions)
            for part, words in parts_of(question)
            if (count := self._read(words)[1]) > self.most
        )
        bound = f"expected at most {self.most}; say it in fewer words"
        tell([f"{where}: found {count} tokens, {bound}: '{words[:SHOWN]}…'" for where, count, words in too_long])

    def fitting(self, words: str) -> str:
        """Return words that are not too long: these, or as much of their beginning as may be."""
        if self._read(words)[1] <= self.most:
            return words
        ends = self.tokenizer.windows(words)[0].offsets[1 : self.most - 1, 1]  # of the tokens that may be
        cut = (words[:end] for end in reversed(ends.tolist()))
        return next(part for part in cut if self._read(part)[1] <= self.most)  # cut apart, words may be more tokens

    def branches(self, question: Question) -> list[Branch]:
        """Return the question's branch, or one for each type of spans."""
        if isinstance(question, Mentions):
            return [Branch(self.ids(option.words), ROLES.index("type")) for option in question.types]
        words, options = words_of(question)
        role = ROLES.index(type(question).__name__.lower())
        leaf = ROLES.index("level" if isinstance(question, Score) else "option")
        return [Branch(self.ids(words), role, tuple(self.ids(option.words)[1:] for option in options), leaf)]

    def ids(self, words: str) -> NDArray[np.int32]:
        """Return the token ids of words, special tokens at both ends; what is over `most_tokens` is cut off.

        Training does so; `check` refuses such words before they are asked.
        """
        return self._read(words)[0]

    def _read(self, words: str) -> tuple[NDArray[np.int32], int]:
        """Return the ids of words, as `ids` does, and how many tokens they are."""
        found = self._known.get(words)
        if found is None:
            windows = self.tokenizer.windows(words)
            ids, count = windows[0].ids, windows[-1].first + len(windows[-1].ids)
            found = (ids if len(ids) <= self.most else np.append(ids[: self.most - 1], ids[-1])), count
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[words] = found
        return found
