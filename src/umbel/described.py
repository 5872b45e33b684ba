"""Tasks that a pack answers from a description alone: as questions to its branches, until a head is taught.

Knows nothing of engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from umbel.decide import Answer
from umbel.errors import PackError
from umbel.questions import Choice, Mentions, Option, Predicate, PredicateAnswer, Question
from umbel.records import LabelPrediction, LabelsPrediction, Prediction, SpansPrediction, Task

DEFAULT_THRESHOLD = 0.5


def questions_of(task: Task) -> list[Question]:
    """Return what a task asks: one choice, a statement for each label of several, or types of spans.

    Raises:
        PackError: tasks of its kind cannot be described.
    """
    options = tuple(Option(words_of(label), task.descriptions.get(label, "")) for label in task.labels)
    if task.kind == "text-classification" and not task.multi_label:
        return [Choice(task.instruction, options)]
    if task.kind == "text-classification":
        return [Predicate(f"{task.instruction} {option.words}") for option in options]
    if task.kind == "token-classification":
        return [Mentions(options)]
    raise PackError(f"{task.name}: a task of kind {task.kind} cannot be answered from a description", "give it data")


def words_of(label: str) -> str:
    """Return a label as words."""
    return label.replace("_", " ").replace("-", " ")


def prediction_of(task: Task, answers: Sequence[Answer]) -> Prediction:
    """Return the task's prediction from the answers to its questions."""
    first = answers[0]
    if isinstance(first, LabelPrediction):
        names = dict(zip(task.labels, first.probabilities.values(), strict=True))
        best = max(names, key=names.__getitem__)
        outside = best == task.out_of_scope
        abstained = not outside and names[best] < task.abstain_below
        return LabelPrediction(None if abstained else best, names[best], names, abstained, outside)
    if isinstance(first, SpansPrediction):
        labels = {words_of(label): label for label in task.labels}
        return SpansPrediction(tuple(replace(span, label=labels[span.label]) for span in first))
    truths = [answer.probability for answer in answers if isinstance(answer, PredicateAnswer)]
    by_label = dict(zip(task.labels, truths, strict=True))
    given = tuple(label for label, p in by_label.items() if p >= task.thresholds.get(label, DEFAULT_THRESHOLD))
    return LabelsPrediction(given, by_label)
