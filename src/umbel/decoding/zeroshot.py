"""Questions answered by a decoder that was trained for none of them: from how likely each option is to follow.

A text is read once; each question is a branch under it and each option a leaf, so that no answer depends on other
questions, nor on the order of options. What an option has for being a likely word is taken off: its log-probability
after a text without content (contextual calibration, Zhao et al. 2021; PMI, Holtzman et al. 2021). Knows nothing of
packs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from umbel.decide import Answer, choose, judge, rate
from umbel.decoding.base import Decoder, Floats, Prefix, Stem
from umbel.decoding.chat import Chat
from umbel.decoding.grammar import Grammars
from umbel.decoding.prompts import prompt
from umbel.errors import InputError
from umbel.questions import (
    Choice,
    Extract,
    ExtractAnswer,
    Mentions,
    Option,
    Predicate,
    Question,
    Score,
    all_checked,
)
from umbel.records import Span, language_of

LISTED = 24  # options that the question names; of more it names none
LONGEST_ANSWER = 48  # tokens of an answer in the text's words
QUESTIONS_KEPT = 256  # whose calibration is remembered
LEAST_FREE = 256  # tokens for questions and answers


@dataclass(frozen=True)
class Readout:
    """How options are weighed: by the sum or mean of their tokens, with or without calibration, named or not."""

    by: Literal["sum", "mean"] = "sum"
    calibrated: bool = True
    listed: bool = False


class Asker:
    """Answers choices, predicates, scores and questions with a decoder."""

    def __init__(self, decoder: Decoder, readout: Readout = Readout()) -> None:
        self.decoder, self.readout = decoder, readout
        self._chat, self._grammars = Chat(decoder), Grammars(decoder)
        self._baselines: OrderedDict[tuple[Question, str], Floats] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, text: str, questions: Sequence[Question], exact: bool = False) -> list[Answer]:
        """Answer questions on one text, in order; the text is read once, or not at all if it was read lately.

        Raises:
            InputError: the text is blank or longer than the decoder's context, or a question is not as it should be.
        """
        if not isinstance(text, str) or not text.strip():
            raise InputError("the text is blank", "leave blank texts out")
        all_checked(questions)
        for place, question in enumerate(questions):
            if isinstance(question, Mentions):
                raise InputError(f"questions[{place}]: a decoder does not mark spans of types", "ask a pack")
        prefix, after = self._read(text)
        weighed = iter(self._weigh(prefix, after, [q for q in questions if not isinstance(q, Extract)]))
        return [
            self._extract(prefix, after, text, question)
            if isinstance(question, Extract)
            else _answer(question, next(weighed))
            for question in questions
        ]

    def _read(self, text: str) -> tuple[Prefix, list[int]]:
        before, after = self._chat.around(prompt("ask-system", language_of(text)), text.strip())
        room = self.decoder.context - LEAST_FREE
        if len(before) > room:
            raise InputError(
                f"found a text of {len(before)} tokens, {self.decoder.name} is asked of at most {room}",
                "shorten it, or ask a pack, which reads texts of any length",
            )
        return self.decoder.keep(before), after

    def _weigh(self, prefix: Prefix, after: Sequence[int], questions: Sequence[Question]) -> list[Floats]:
        """Return each question's logits of its options, in their order."""
        found = self._scores(prefix, after, questions)
        if not self.readout.calibrated or not questions:
            return found
        language = language_of
        missing = [q for q in dict.fromkeys(questions) if (q, language(_words(q))) not in self._baselines]
        by_language: dict[str, list[Question]] = {}
        for question in missing:
            by_language.setdefault(language(_words(question)), []).append(question)
        for spoken, some in by_language.items():
            empty, rest = self._read(prompt("empty", spoken))
            for question, scores in zip(some, self._scores(empty, rest, some), strict=True):
                self._baselines[question, spoken] = scores
        calibrated = [
            each - self._baselines[question, language(_words(question))]
            for question, each in zip(questions, found, strict=True)
        ]
        while len(self._baselines) > QUESTIONS_KEPT:
            self._baselines.popitem(last=False)
        return calibrated

    def _scores(self, prefix: Prefix, after: Sequence[int], questions: Sequence[Question]) -> list[Floats]:
        stems, orders = [], []
        for question in questions:
            leaves = [self._leaf(words, question) for words in _answers(question)]
            order = sorted(range(len(leaves)), key=lambda place: leaves[place])  # so that theirs does not matter
            stems.append(Stem([*self._stem(question), *after], [leaves[place] for place in order]))
            orders.append(order)
        found = []
        for order, scores in zip(orders, self.decoder.score(prefix, stems), strict=True):
            values = np.zeros(len(order), np.float32)
            for place, each in zip(order, scores, strict=True):
                values[place] = each.sum() if self.readout.by == "sum" else each.mean()
            found.append(values)
        return found

    def _stem(self, question: Question) -> list[int]:
        language = language_of(_words(question))
        if isinstance(question, Predicate):
            words = prompt("predicate", language).format(question=question.statement)
        else:
            names = sorted(_answers(question)) if isinstance(question, Choice) else _answers(question)
            listed = names if self.readout.listed and len(names) <= LISTED else []
            form = prompt("choice", language)
            if not listed:
                form = "\n".join(line for line in form.split("\n") if "{options}" not in line)
            words = form.format(question=_words(question), options=prompt("separator", language).join(listed))
        return self.decoder.tokens(words)

    def _leaf(self, words: str, question: Question) -> list[int]:
        spaced = not self.decoder.template and language_of(words) != "zh"  # goes on in the line of the question
        return self.decoder.tokens(f" {words}" if spaced else words)

    def _extract(self, prefix: Prefix, after: Sequence[int], text: str, question: Extract) -> ExtractAnswer:
        language = language_of(question.question)
        none = prompt("none", language)
        words = prompt("extract", language).format(question=question.question)
        constraint = self._grammars.words_of(text, text if question.must_answer else none)
        branches = self.decoder.grow(prefix, [[*self.decoder.tokens(words), *after]])
        said, certain = b"", []
        try:
            for _ in range(LONGEST_ANSWER):
                logits = branches.logits[0].astype(np.float64)
                logits -= np.log(np.exp(logits - logits.max()).sum()) + logits.max()
                allowed = constraint.allowed()
                token = int(np.where(allowed, logits, -np.inf).argmax())
                certain.append(float(logits[token]))
                if token in self.decoder.ends:
                    break
                said += self.decoder.piece(token)
                constraint.take(token)
                if constraint.ended:
                    break
                branches.grow([token])
        finally:
            branches.close()
        return _span(text, said.decode("utf-8", "ignore").strip(), float(np.exp(np.mean(certain))), none)


def _span(text: str, said: str, probability: float, none: str) -> ExtractAnswer:
    start = text.find(said) if said else -1
    if start < 0 or (said == none and none not in text):
        return ExtractAnswer(None, probability)
    return ExtractAnswer(Span(start, start + len(said), "answer", said, probability), probability)


def _words(question: Question) -> str:
    match question:
        case Choice(words) | Score(words) | Predicate(words) | Extract(words):
            return words
        case Mentions(types):
            return ", ".join(option.name for option in types)


def _answers(question: Question) -> list[str]:
    """Return what may be answered, in words; that of a predicate begins with yes."""
    match question:
        case Choice(_, options):
            return [_told(option) for option in options]
        case Score(_, levels):
            return [_told(level) for level in levels]
        case Predicate(statement):
            return [prompt("yes", language_of(statement)), prompt("no", language_of(statement))]
        case _:
            return []


def _told(option: Option) -> str:
    return option.words.replace("_", " ")


def _answer(question: Question, logits: Floats) -> Answer:
    match question:
        case Choice():
            return choose(question, logits)
        case Score():
            return rate(question, logits)
        case _:
            return judge(float(logits[0] - logits[1]))
