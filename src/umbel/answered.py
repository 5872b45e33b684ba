"""Questions that were asked with their gold answers known: fits their calibration and scores them, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel import decide, metrics
from umbel.calibrate import binary_cross_entropy, fit_temperature
from umbel.decide import UNCALIBRATED, Calibration, kind_name
from umbel.questions import (
    Choice,
    ExtractAnswer,
    Mentions,
    Predicate,
    PredicateAnswer,
    Question,
    Score,
    ScoreAnswer,
)
from umbel.records import LabelPrediction, SpansPrediction

Floats = NDArray[np.float32]
THRESHOLDS = np.linspace(0.1, 0.9, 17).round(2).tolist()  # of mentions
BREVITIES = np.linspace(0.0, 1.5, 7).round(2).tolist()  # of answers
MIN_ASKED, MOST_ASKED = 20, 1000  # fewer of a kind fit nothing, more fit no temperature better


@dataclass(frozen=True)
class Answered:
    """A question of a text, its gold answer (as in `branching.Asked`), and each window's offsets and logits."""

    question: Question
    gold: Any
    text: str
    windows: Sequence[tuple[NDArray[np.int32], Sequence[Floats]]]

    def answer(self, calibration: Calibration = UNCALIBRATED) -> decide.Answer:
        """Answer it."""
        return decide.answer(self.question, self.text, self.windows, calibration)


def fit(asked: Iterable[Answered], start: Calibration = UNCALIBRATED) -> Calibration:
    """Return temperatures by kind of question, the threshold of mentions with the best F1, the brevity of answers.

    Answers are as exact and overlap as much with the gold ones as brevity can make them. The rest is that of `start`.
    """
    by_kind = {name: found for name, found in _by_kind(asked).items() if len(found) >= MIN_ASKED}
    tried = [replace(start, brevity=brevity) for brevity in BREVITIES if brevity == 0 or "extract" in by_kind]
    calibration = max(tried, key=lambda each: _score("extract", by_kind, each))
    temperatures = {
        name: fit_temperature(_loss_of(_some(found), calibration))
        for name, found in by_kind.items()
        if name != "mentions"
    }
    calibration = replace(calibration, temperatures=temperatures)
    if "mentions" not in by_kind:
        return calibration
    tried = [replace(calibration, mention=threshold) for threshold in THRESHOLDS]
    return max(tried, key=lambda each: _score("mentions", by_kind, each))


def _some(found: list[Answered]) -> list[Answered]:
    """Return MOST_ASKED of them at most, from everywhere."""
    return found[:: -(-len(found) // MOST_ASKED)]


def _score(kind: str, by_kind: Mapping[str, list[Answered]], calibration: Calibration) -> float:
    found = by_kind.get(kind, [])
    reached = scores(found, calibration)[kind] if found else {}
    return reached.get("score", 0.0) + reached.get("f1", 0.0)


def scores(asked: Iterable[Answered], calibration: Calibration) -> dict[str, dict[str, float]]:
    """Return `scored` of the answers that the calibration gives."""
    return scored([(each.question, each.gold, each.answer(calibration)) for each in asked])


def scored(answers: Iterable[tuple[Question, Any, decide.Answer]]) -> dict[str, dict[str, float]]:
    """Return for each kind of question `asked`, `score` (percent right, or F1 of mentions) and, but for those, `ece`.

    An answer from the text is right where it says what a gold one says, or rightly none; its `f1` is that of the
    characters' places.
    """
    by_kind: dict[str, list[tuple[Question, Any, decide.Answer]]] = {}
    for each in answers:
        by_kind.setdefault(kind_name(each[0]), []).append(each)
    report = {}
    for name, found in sorted(by_kind.items()):
        right = np.array([decide.is_right(*each) for each in found])
        entry: dict[str, float] = {"asked": len(found), "score": float(100 * right.mean())}
        if name == "extract":
            entry["f1"] = float(100 * np.mean([decide.overlap(gold, answer) for _, gold, answer in found]))
        if name == "mentions":
            entry["score"] = _mentions_f1(found)
        else:
            entry["ece"] = metrics.calibration_error(np.array([_sureness(each[2]) for each in found]), right > 0)
        report[name] = entry
    return report


def _by_kind(asked: Iterable[Answered]) -> Mapping[str, list[Answered]]:
    found: dict[str, list[Answered]] = {}
    for each in asked:
        found.setdefault(kind_name(each.question), []).append(each)
    return found


def _loss_of(asked: Sequence[Answered], calibration: Calibration) -> Callable[[float], float]:
    """Return the mean negative log likelihood of the gold answers as a function of the temperature."""

    def loss(temperature: float) -> float:
        return float(np.mean([_surprise(each, temperature, calibration) for each in asked]))

    return loss


def _surprise(asked: Answered, temperature: float, calibration: Calibration) -> float:
    kind = kind_name(asked.question)
    found = asked.answer(replace(calibration, temperatures={kind: temperature}))
    match asked.question, found:
        case Predicate(), PredicateAnswer(probability=probability):
            logit = np.log(np.clip(probability, 1e-9, 1)) - np.log(np.clip(1 - probability, 1e-9, 1))
            return binary_cross_entropy(np.array([logit]), np.array([float(asked.gold)]))
        case Choice(options=options), LabelPrediction(probabilities=probabilities):
            return float(-np.log(max(probabilities[options[asked.gold].name], 1e-9)))
        case Score(levels=levels), ScoreAnswer(probabilities=probabilities):
            nearest = levels[int(np.argmax(asked.gold))].name  # what `is_right` asks for, not how near others are
            return float(-np.log(max(probabilities[nearest], 1e-9)))
        case _, ExtractAnswer(probability=probability):
            right = decide.is_right(asked.question, asked.gold, found)
            return float(-np.log(max(probability if right else 1 - probability, 1e-9)))
    raise TypeError(f"{kind} has no temperature")


def _sureness(answer: decide.Answer) -> float:
    match answer:
        case LabelPrediction(probability=probability) | ExtractAnswer(probability=probability):
            return probability
        case PredicateAnswer(probability=probability):
            return max(probability, 1 - probability)
        case _:
            return max(answer.probabilities.values())  # type: ignore[union-attr]


def _mentions_f1(answers: Sequence[tuple[Question, Any, decide.Answer]]) -> float:
    wanted, given = [], []
    for question, gold, found in answers:
        assert isinstance(question, Mentions)
        assert isinstance(found, SpansPrediction)
        wanted.append({(question.types[kind].name, start, end) for kind, start, end in gold})
        given.append({(span.label, span.start, span.end) for span in found})
    return metrics.micro(wanted, given)["f1"]
