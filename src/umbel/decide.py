"""Turns the logits of questions into answers: probabilities, expected levels, spans; in numpy, without an engine.

A text of several windows has a logit of each token in each window it stands in; windows bring their spans with them,
each measured against its own window's "no answer".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel.borders import bare, inside_a_word, whole_words
from umbel.calibrate import sigmoid, softmax
from umbel.overhangs import Sheds
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
from umbel.records import LabelPrediction, Span, SpansPrediction

Floats = NDArray[np.float32]
LONGEST = 64  # tokens of a span
LIKELIEST = 256  # spans of a text, of which those that say the same are taken together
BLANK, BLANK_SHARE = "。", 0.4  # a text that says nothing, and `Calibration.blank` of new packs (docs/log.md)
NO_SHEDS = Sheds()
LEAST = 1e-3  # of the likeliest one's probability: less changes nothing


@dataclass(frozen=True)
class Pointed:
    """One window's pointer logits for one question: `start`, `end` (and `inside`) `[tokens]`, special tokens included.

    `offsets` `[tokens, 2]` are code points of the text.
    """

    offsets: NDArray[np.int32]
    start: Floats
    end: Floats
    inside: Floats | None = None


GoldAnswer = tuple[int, int, str]  # its place and words
Answer = LabelPrediction | PredicateAnswer | ScoreAnswer | ExtractAnswer | SpansPrediction


@dataclass(frozen=True)
class Calibration:
    """Temperatures by kind of question, and the probability from which a mention is given.

    `blank` is the share of what an option gets from a text that says nothing which is taken off its logit (contextual
    calibration, Zhao et al. 2021). `brevity` is taken off an answer's logit for each natural logarithm of its tokens;
    `sheds` are characters that an answer's tokens carry over its borders.
    """

    temperatures: Mapping[str, float] = field(default_factory=dict)
    mention: float = 0.5
    blank: float = 0.0
    brevity: float = 0.0
    sheds: Sheds = NO_SHEDS


UNCALIBRATED = Calibration()


def kind_name(question: Question) -> str:
    """Return the name of a kind of question: choice, predicate, score, extract or mentions."""
    return type(question).__name__.lower()


def answer(
    question: Question,
    text: str,
    windows: Sequence[tuple[NDArray[np.int32], Sequence[Floats]]],
    calibration: Calibration = UNCALIBRATED,
) -> Answer:
    """Answer a question of one text from each window's offsets and logits (`readouts.logits_of`).

    Windows of a long text vote by the mean of their logits, weighted by their tokens; spans compete across windows.
    """
    temperature = calibration.temperatures.get(kind_name(question), 1.0)
    match question:
        case Choice():
            return choose(question, _mean(windows), temperature)
        case Score():
            return rate(question, _mean(windows), temperature)
        case Predicate():
            return judge(float(_mean(windows)[0]), temperature)
        case Extract():
            pointed = [Pointed(offsets, start, end) for offsets, (start, end) in windows]
            return extract(text, pointed, temperature, question.must_answer, calibration.brevity, calibration.sheds)
        case Mentions():
            by_type = [
                [Pointed(offsets, *(part[place] for part in logits)) for offsets, logits in windows]
                for place in range(len(question.types))
            ]
            return mentions(question, text, by_type, calibration.mention, temperature)


def _mean(windows: Sequence[tuple[NDArray[np.int32], Sequence[Floats]]]) -> Floats:
    weights = np.array([len(offsets) for offsets, _ in windows], np.float32)
    mean: Floats = (np.stack([logits[0] for _, logits in windows]) * (weights / weights.sum())[:, None]).sum(axis=0)
    return mean


def choose(question: Choice, logits: Floats, temperature: float = 1.0) -> LabelPrediction:
    """Return the likeliest option of logits `[options]`."""
    probabilities = softmax(np.asarray(logits, np.float32) / temperature).tolist()
    by_name = {option.name: p for option, p in zip(question.options, probabilities, strict=True)}
    best = max(by_name, key=by_name.__getitem__)
    return LabelPrediction(best, by_name[best], by_name)


def judge(logit: float, temperature: float = 1.0) -> PredicateAnswer:
    """Return whether a statement holds."""
    probability = float(sigmoid(np.array(logit / temperature)))
    return PredicateAnswer(probability >= 0.5, probability)


def rate(question: Score, logits: Floats, temperature: float = 1.0) -> ScoreAnswer:
    """Return the expected level of logits `[levels]`: the sum of each level's number times its probability."""
    probabilities = softmax(np.asarray(logits, np.float32) / temperature)
    expected = float(probabilities @ np.arange(len(probabilities)))
    names = [level.name for level in question.levels]
    return ScoreAnswer(
        expected, names[int(probabilities.argmax())], dict(zip(names, probabilities.tolist(), strict=True))
    )


def extract(
    text: str,
    windows: Sequence[Pointed],
    temperature: float = 1.0,
    must_answer: bool = False,
    brevity: float = 0.0,
    sheds: Sheds = NO_SHEDS,
) -> ExtractAnswer:
    """Return the likeliest answer over all windows, or that the text holds no answer, unless it must.

    A span's logit is its start's plus its end's, less those of its window's first token, which means "no answer"; one
    that two windows see counts with the larger. `brevity` moves probability from long spans to short ones, none from
    or to "no answer". An answer is whole words without the commas around them and what it `sheds`; where a text says
    it several times, its probability is that of all these places, and the likeliest of them is given.
    """
    values, places, tokens = _spans_of(windows, temperature)
    if brevity and len(values):
        shorter = (values - brevity / temperature * np.log(tokens)).astype(np.float32)
        values = shorter + np.logaddexp.reduce(values) - np.logaddexp.reduce(shorter)
    probabilities = softmax(np.append(values, 0.0))  # the last is "no answer"
    none, found = float(probabilities[-1]), _said(text, places, probabilities[:-1], sheds)
    if found is None or (found.probability < none and not must_answer):
        return ExtractAnswer(None, none)
    return ExtractAnswer(found, found.probability)


def _said(text: str, places: NDArray[np.int32], probabilities: Floats, sheds: Sheds) -> Span | None:
    """Return the answer that the likeliest spans say most probably, None where there are no spans.

    `places` `[spans, 4]` are where each one's first and last token begin and end.
    """
    said: dict[str, dict[tuple[int, int], float]] = {}
    likely = np.flatnonzero(probabilities >= probabilities.max(initial=0) * LEAST)
    for span in likely[np.argsort(-probabilities[likely], kind="stable")[:LIKELIEST]].tolist():
        edges = places[span].tolist()
        start, end = bare(text, *whole_words(text, *sheds.shed(text, edges[:2], edges[2:])))
        if start == end:
            continue
        there = said.setdefault(text[start:end], {})
        there[start, end] = there.get((start, end), 0.0) + float(probabilities[span])
    if not said:
        return None
    best = max(said.values(), key=lambda found: sum(found.values()))
    start, end = max(best, key=best.__getitem__)
    return Span(start, end, "answer", text[start:end], min(sum(best.values()), 1.0))


def _spans_of(windows: Sequence[Pointed], temperature: float) -> tuple[Floats, NDArray[np.int32], NDArray[np.int64]]:
    """Return the values, places (`_said`) `[spans, 4]` and numbers of tokens of all spans but the hopeless ones."""
    values, places, tokens = [], [], []
    for window in windows:
        scores = span_scores(window.start, window.end) / temperature
        none = (window.start[0] + window.end[0]) / temperature
        covering = window.offsets[:, 1] > window.offsets[:, 0]
        scores[~covering] = -np.inf
        scores[:, ~covering] = -np.inf
        floor = max(scores.max(initial=-np.inf), none) - 20  # what is less likely by e^20 changes no sixth digit
        first, last = np.nonzero(scores > floor)
        values.append((scores[first, last] - none).astype(np.float32))
        places.append(np.concatenate([window.offsets[first], window.offsets[last]], axis=1))
        tokens.append(last - first + 1)
    if len(windows) == 1:
        return values[0], places[0], tokens[0]
    starts, ends = np.concatenate(places)[:, [0, 3]].T.astype(np.int64)
    _, firsts, owners = np.unique(starts << 32 | ends, return_index=True, return_inverse=True)
    best = np.full(len(firsts), -np.inf, np.float32)
    np.maximum.at(best, owners, np.concatenate(values))
    return best, np.concatenate(places)[firsts], np.concatenate(tokens)[firsts]


def span_scores(start: Floats, end: Floats) -> Floats:
    """Return the logit of every span `[first, last]`, minus infinity where it ends before it begins or is too long."""
    places = np.arange(len(start))
    ahead = places[None, :] - places[:, None]
    return np.where((ahead >= 0) & (ahead < LONGEST), start[:, None] + end[None, :], -np.inf)


def mentions(
    question: Mentions,
    text: str,
    by_type: Sequence[Sequence[Pointed]],
    threshold: float = 0.5,
    temperature: float = 1.0,
) -> SpansPrediction:
    """Return the spans of each type whose probability reaches `threshold`, in the order of the text.

    A span's probability is the geometric mean of its start's, its end's and its tokens' being inside. Spans that begin
    or end inside a word are left out. Of spans of one type that overlap the likeliest stays; across types too, unless
    the question wants overlapping ones.
    """
    found = [
        Span(start, end, option.name, text[start:end], probability)
        for option, windows in zip(question.types, by_type, strict=True)
        for window in windows
        for probability, start, end in _typed_spans(window, threshold, temperature)
        if not inside_a_word(text, start) and not inside_a_word(text, end)
    ]
    kept: list[Span] = []
    for span in sorted(found, key=lambda span: (-span.probability, span.start, span.end, span.label)):
        rivals = (other for other in kept if not question.overlapping or other.label == span.label)
        if not any(span.start < other.end and other.start < span.end for other in rivals):
            kept.append(span)
    return SpansPrediction(tuple(sorted(kept, key=lambda span: (span.start, span.end, span.label))))


def _typed_spans(window: Pointed, threshold: float, temperature: float) -> Iterable[tuple[float, int, int]]:
    assert window.inside is not None
    log_start, log_end, log_inside = (
        np.log(np.maximum(sigmoid(logits / temperature), 1e-9)) for logits in (window.start, window.end, window.inside)
    )
    covering = window.offsets[:, 1] > window.offsets[:, 0]
    floor = 3 * np.log(threshold)  # no part of a span may be less likely than this
    sums = np.concatenate([[0.0], np.cumsum(log_inside)])
    for first in np.flatnonzero((log_start >= floor) & covering).tolist():
        for last in range(first, min(first + LONGEST, len(covering))):
            if not covering[last] or log_inside[last] < floor:
                break
            inside = (sums[last + 1] - sums[first]) / (last + 1 - first)
            probability = float(np.exp((log_start[first] + log_end[last] + inside) / 3))
            if probability >= threshold:
                yield probability, int(window.offsets[first, 0]), int(window.offsets[last, 1])


def overlap(golds: Sequence[GoldAnswer], found: Answer) -> float:
    """Return the F1 of an extracted answer's characters, by the places of the nearest gold answer's.

    1 where there is rightly none.
    """
    assert isinstance(found, ExtractAnswer)
    span = found.span
    if not golds or not span:
        return float(not golds and not span)
    shared = [max(min(end, span.end) - max(start, span.start), 0) for start, end, _ in golds]
    sizes = [end - start + span.end - span.start for start, end, _ in golds]
    return max(2 * both / size for both, size in zip(shared, sizes, strict=True))


def says(golds: Sequence[GoldAnswer], found: ExtractAnswer) -> bool:
    """Tell whether an answer says what a gold one says, wherever in the text; or is rightly none."""
    if not golds or not found.span:
        return not golds and not found.span
    return any(found.span.text == words[slice(*bare(words, 0, len(words)))] for _, _, words in golds)


def is_right(question: Question, gold: Any, found: Answer) -> float:
    """Return how right an answer is, 0 to 1.

    Of a choice, a truth or a level: whether it is the gold one. Of an answer from the text: `says`.
    Of mentions: F1 of exact spans and types, 1 where there are rightly none.
    """
    match question, found:
        case Choice(options=options), LabelPrediction(label=label):
            return float(label == options[gold].name)
        case Predicate(), PredicateAnswer(holds=holds):
            return float(holds == gold)
        case Score(levels=levels), ScoreAnswer(level=level):
            return float(level == levels[int(np.argmax(gold))].name)
        case Extract(), ExtractAnswer():
            return float(says(gold, found))
        case Mentions(types=types), SpansPrediction(spans=spans):
            wanted = {(types[kind].name, start, end) for kind, start, end in gold}
            given = {(span.label, span.start, span.end) for span in spans}
            return 2 * len(wanted & given) / (len(wanted) + len(given)) if wanted or given else 1.0
    raise TypeError(f"{type(found).__name__} is no answer to {kind_name(question)}")
