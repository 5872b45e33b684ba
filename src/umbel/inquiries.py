"""What is asked of a text in one go, its reply, and answers as plain values.

Knows nothing of how texts are read, or of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umbel.answers import DIGITS, best
from umbel.decide import Answer, kind_name
from umbel.questions import (
    Choice,
    Extract,
    ExtractAnswer,
    Mentions,
    Predicate,
    PredicateAnswer,
    Question,
    Score,
    ScoreAnswer,
)
from umbel.records import LabelPrediction, Result, Span, SpansPrediction


@dataclass(frozen=True)
class Inquiry:
    """A text, tasks of the pack (all of them where None) and questions: all are answered from one encoding.

    `exact` reads every option of a choice, however many there are.
    """

    text: str
    tasks: Sequence[str] | None = None
    questions: Sequence[Question] = ()
    exact: bool = False


@dataclass(frozen=True)
class Reply:
    """The answers of the tasks, and those to the questions in their order."""

    result: Result
    answers: tuple[Answer, ...] = ()


def title(question: Question) -> str:
    """Return a question in its own words."""
    match question:
        case Choice(words) | Score(words) | Predicate(words) | Extract(words):
            return words
        case Mentions(types):
            return ", ".join(option.name for option in types)


def plain(question: Question, found: Answer) -> Mapping[str, Any]:
    """Return a question and its answer as plain values, ready for JSON."""
    asked = {"kind": kind_name(question), "question": title(question)}
    match found:
        case LabelPrediction(label=label, probability=probability, probabilities=by_name):
            return asked | {
                "answer": label,
                "probability": round(probability, DIGITS),
                "probabilities": _ranked(by_name),
            }
        case PredicateAnswer(holds=holds, probability=probability):
            return asked | {"answer": holds, "probability": round(probability, DIGITS)}
        case ScoreAnswer(score=score, level=level, probabilities=levels):
            shown = {name: round(probability, DIGITS) for name, probability in levels.items()}
            return asked | {"answer": level, "score": round(score, DIGITS), "probabilities": shown}
        case ExtractAnswer(span=span, probability=probability):
            place = {"start": span.start, "end": span.end} if span else {}
            return asked | {"answer": span.text if span else None, **place, "probability": round(probability, DIGITS)}
        case SpansPrediction(spans=spans):
            return asked | {"spans": [vars(span) | {"probability": round(span.probability, DIGITS)} for span in spans]}


def _ranked(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: round(probability, DIGITS) for name, probability in best(probabilities).items()}


def asked(question: Question) -> dict[str, Any]:
    """Return a question as plain values, as the server's /v1/ask takes it."""
    kind = {"kind": kind_name(question)}
    match question:
        case Choice(words, options):
            return kind | {"question": words, "options": [vars(option) for option in options]}
        case Score(words, levels):
            return kind | {"question": words, "levels": [vars(level) for level in levels]}
        case Predicate(words):
            return kind | {"statement": words}
        case Extract(words, must_answer):
            return kind | {"question": words, "must_answer": must_answer}
        case Mentions(types, overlapping):
            return kind | {"types": [vars(each) for each in types], "overlapping": overlapping}


def answer_from(question: Question, plain: Mapping[str, Any], text: str) -> Answer:
    """Return the answer on a text that `plain` made these values of, to as many digits."""
    match question:
        case Choice():
            return LabelPrediction(plain["answer"], plain["probability"], plain["probabilities"])
        case Score():
            return ScoreAnswer(plain["score"], plain["answer"], plain["probabilities"])
        case Predicate():
            return PredicateAnswer(plain["answer"], plain["probability"])
        case Extract():
            if plain["answer"] is None:
                return ExtractAnswer(None, plain["probability"])
            start, end = plain["start"], plain["end"]
            return ExtractAnswer(
                Span(start, end, "answer", text[start:end], plain["probability"]), plain["probability"]
            )
        case Mentions():
            return SpansPrediction(tuple(Span(**span) for span in plain["spans"]))
