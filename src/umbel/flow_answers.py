"""What the steps of a flow answer: the fields that conditions and templates may name, and their values.

`fields_of_task` and `fields_of_question` say before anything runs what `values_of` will give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umbel.answers import DIGITS, best, plain_answer
from umbel.conditions import ANSWERED, MISSING, Reference
from umbel.errors import suggest
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
from umbel.records import (
    LabelPrediction,
    LabelsPrediction,
    Prediction,
    ScorePrediction,
    Span,
    SpansPrediction,
    Task,
)
from umbel.scopes import ByName, Number, Several, Truth, Type, Words

Fields = Mapping[str, Type]

SHARE = Number(0, 1)
COUNT = Number(0, whole=True)
LANGUAGES = ("zh", "en", "ja", "ko", "und")
MESSAGE = "message"


@dataclass(frozen=True)
class Passage:
    """A passage that a search found; the figures are those of `retrieval.Hit`."""

    text: str
    source: str
    score: float = 0.0
    cosine: float = 0.0
    words: float = 0.0
    line: int = 0
    start: int = 0
    end: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PassagesAnswer:
    """What a search found, the best first."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class TextAnswer:
    """A text that a step made, and the language of it (`*` where it is for all)."""

    text: str
    language: str


FlowAnswer = Prediction | PredicateAnswer | ScoreAnswer | ExtractAnswer | PassagesAnswer | TextAnswer

MESSAGE_FIELDS: Fields = {"text": Words(), "language": Words(LANGUAGES), "length": COUNT, "turn": COUNT}
PASSAGES_FIELDS: Fields = {
    "count": COUNT,
    "text": Words(),
    "source": Words(),
    "score": Number(),
    "cosine": Number(-1, 1),
    "words": SHARE,
    "metadata": ByName(None, Words()),
}
TEXT_FIELDS: Fields = {"text": Words(), "language": Words()}


def fields_of_task(task: Task) -> Fields:
    """Return the fields of a task's answer; none of a vector, nor of kinds that other packages bring."""
    labels = task.labels or None
    if task.kind == "text-classification" and task.multi_label:
        return {"labels": Several(labels), "count": COUNT, "probabilities": ByName(labels, SHARE)}
    if task.kind == "text-classification":
        return _choice_fields(labels) | {"withheld": Truth(), "out_of_scope": Truth()}
    if task.kind == "token-classification":
        return _spans_fields(labels)
    return {"score": Number()} if task.kind == "regression" else {}


def fields_of_question(question: Question) -> Fields:
    """Return the fields of a question's answer."""
    match question:
        case Choice(options=options):
            return _choice_fields(tuple(option.name for option in options))
        case Predicate():
            return {"holds": Truth(), "probability": SHARE}
        case Score(levels=levels):
            names = tuple(level.name for level in levels)
            probabilities = ByName(names, SHARE)
            return {"level": Words(names), "score": Number(0, len(names) - 1), "probabilities": probabilities}
        case Extract():
            return {"found": Truth(), "text": Words(), "probability": SHARE}
        case Mentions(types=types):
            return _spans_fields(tuple(option.name for option in types))


def _choice_fields(labels: tuple[str, ...] | None) -> dict[str, Type]:
    return {"label": Words(labels), "probability": SHARE, "probabilities": ByName(labels, SHARE)}


def _spans_fields(labels: tuple[str, ...] | None) -> Fields:
    return {
        "labels": Several(labels),
        "texts": Several(),
        "count": COUNT,
        "counts": ByName(labels, COUNT),
        "best": ByName(labels, Words()),
    }


def values_of(answer: FlowAnswer) -> dict[str, Any]:
    """Return the values of an answer's fields; a label that is withheld is the empty text."""
    match answer:
        case LabelPrediction():
            values = {"label": answer.label or "", "probability": answer.probability}
            flags = {"withheld": answer.abstained, "out_of_scope": answer.out_of_scope}
            return values | flags | {"probabilities": answer.probabilities}
        case LabelsPrediction(labels, probabilities):
            return {"labels": labels, "count": len(labels), "probabilities": probabilities}
        case ScorePrediction(score):
            return {"score": score}
        case SpansPrediction(spans):
            return _spans_values(spans)
        case PredicateAnswer(holds, probability):
            return {"holds": holds, "probability": probability}
        case ScoreAnswer(score, level, probabilities):
            return {"level": level, "score": score, "probabilities": probabilities}
        case ExtractAnswer(span, probability):
            return {"found": span is not None, "text": span.text if span else "", "probability": probability}
        case PassagesAnswer(passages):
            first = passages[0] if passages else Passage("", "")
            return {"count": len(passages)} | {
                name: getattr(first, name) for name in PASSAGES_FIELDS if name != "count"
            }
        case TextAnswer(text, language):
            return {"text": text, "language": language}
    return {}


def _spans_values(spans: Sequence[Span]) -> dict[str, Any]:
    counts = Counter(span.label for span in spans)
    likeliest = {span.label: span.text for span in sorted(spans, key=lambda span: (span.probability, -span.start))}
    texts = tuple(span.text for span in spans)
    return {"labels": tuple(counts), "texts": texts, "count": len(spans), "counts": counts, "best": likeliest}


def value_at(values: Mapping[str, Any] | None, reference: Reference) -> Any:
    """Return what a reference names in an answer's values, None of which means that there is no answer."""
    if reference.field == ANSWERED:
        return values is not None
    if values is None or reference.field not in values:
        return MISSING
    found = values[reference.field]
    if reference.key is None:
        return found
    nothing: Any = "" if reference.field in ("best", "metadata") else 0.0
    entry = found.get(reference.key, nothing)
    return str(entry) if nothing == "" else entry


def assumed_of_task(task: Task, value: object) -> FlowAnswer:
    """Return the answer that a fallback names, with a probability of 0: nothing was found out.

    Raises:
        ValueError: it is no answer of the task.
    """
    if task.kind == "text-classification" and task.multi_label:
        labels = value if isinstance(value, list) else [value]
        given = tuple(_one_of(label, task.labels) for label in labels)
        return LabelsPrediction(given, dict.fromkeys(task.labels, 0.0))
    if task.kind == "text-classification":
        return _assumed_label(value, task.labels)
    if task.kind == "regression" and isinstance(value, int | float) and not isinstance(value, bool):
        return ScorePrediction(float(value))
    if task.kind == "token-classification":
        return _no_spans(value)
    raise ValueError(f"found {value!r:.40}; an answer of kind {task.kind} cannot be assumed like that")


def assumed_of_question(question: Question, value: object) -> FlowAnswer:
    """Return the answer that a fallback names, with a probability of 0.

    Raises:
        ValueError: it is no answer to the question.
    """
    match question:
        case Choice(options=options):
            return _assumed_label(value, [option.name for option in options])
        case Score(levels=levels):
            names = [level.name for level in levels]
            level = _one_of(value, names)
            return ScoreAnswer(float(names.index(level)), level, dict.fromkeys(names, 0.0))
        case Predicate():
            if not isinstance(value, bool):
                raise ValueError(f"found {value!r:.40}, expected true or false")
            return PredicateAnswer(value, 0.0)
        case Extract():
            if value is not None:
                raise ValueError(f"found {value!r:.40}, expected null: words of a text cannot be assumed")
            return ExtractAnswer(None, 0.0)
        case Mentions():
            return _no_spans(value)


def _assumed_label(value: object, labels: Sequence[str]) -> LabelPrediction:
    return LabelPrediction(_one_of(value, labels), 0.0, dict.fromkeys(labels, 0.0))


def _one_of(value: object, labels: Sequence[str]) -> str:
    if not isinstance(value, str) or (labels and value not in labels):
        raise ValueError(f"found {value!r:.40}{suggest(str(value), labels)}")
    return value


def _no_spans(value: object) -> SpansPrediction:
    if value != []:
        raise ValueError(f"found {value!r:.40}, expected []: no spans, for places in a text cannot be assumed")
    return SpansPrediction(())


def plain_flow_answer(answer: FlowAnswer, most: int | None = None) -> dict[str, Any]:
    """Return an answer's fields as plain values, ready for JSON; of probabilities only the `most` highest."""
    match answer:
        case PredicateAnswer(holds, probability):
            return {"holds": holds, "probability": round(probability, DIGITS)}
        case ScoreAnswer(score, level, probabilities):
            ranked = {name: round(each, DIGITS) for name, each in best(probabilities, most).items()}
            return {"level": level, "score": round(score, DIGITS), "probabilities": ranked}
        case ExtractAnswer(span, probability):
            place = {"start": span.start, "end": span.end} if span else {}
            return {"text": span.text if span else None, **place, "probability": round(probability, DIGITS)}
        case PassagesAnswer(passages):
            return {"passages": [_plain_passage(each) for each in passages]}
        case TextAnswer(text, language):
            return {"text": text, "language": language}
    return plain_answer(answer, most)


def _plain_passage(passage: Passage) -> dict[str, Any]:
    figures = {name: round(getattr(passage, name), DIGITS) for name in ("score", "cosine", "words")}
    return vars(passage) | figures | {"metadata": dict(passage.metadata)}
