"""Turns questions into branches of token ids; knows nothing of engines and of how answers are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Question, Score
from umbel.readouts import ROLES
from umbel.tokenize import Tokenizer
from umbel.tree import Branch

MOST_REMEMBERED = 100_000  # words, with their ids


def words_of(question: Question) -> tuple[str, tuple[Option, ...]]:
    """Return what is read as the question and what as its options; types of spans are questions of their own."""
    match question:
        case Choice(words, options) | Score(words, options):
            return words, options
        case Predicate(words) | Extract(words):
            return words, ()
        case Mentions():
            raise TypeError("each type is a branch of its own")


class Brancher:
    """Turns questions into branches; keeps the ids of words it has seen."""

    def __init__(self, tokenizer: Tokenizer, most_tokens: int = 64) -> None:
        self.tokenizer, self.most = tokenizer, most_tokens
        self._ids: dict[str, NDArray[np.int32]] = {}

    def branches(self, question: Question) -> list[Branch]:
        """Return the question's branch, or one for each type of spans."""
        if isinstance(question, Mentions):
            return [Branch(self.ids(option.words), ROLES.index("type")) for option in question.types]
        words, options = words_of(question)
        role = ROLES.index(type(question).__name__.lower())
        leaf = ROLES.index("level" if isinstance(question, Score) else "option")
        return [Branch(self.ids(words), role, tuple(self.ids(option.words)[1:] for option in options), leaf)]

    def ids(self, words: str) -> NDArray[np.int32]:
        """Return the token ids of words, special tokens at both ends; what is over `most_tokens` is cut off."""
        found = self._ids.get(words)
        if found is None:
            ids = self.tokenizer.windows(words)[0].ids
            found = ids if len(ids) <= self.most else np.append(ids[: self.most - 1], ids[-1])
            if len(self._ids) >= MOST_REMEMBERED:
                self._ids.clear()
            self._ids[words] = found
        return found
