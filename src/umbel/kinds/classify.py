"""Text classification: one label of several, or with `multi-label` any number of them, read from the pooled hidden."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umbel import calibrate, metrics
from umbel.errors import suggest
from umbel.kinds.base import Floats, mean_of_windows
from umbel.records import LabelPrediction, LabelsPrediction, Prediction, Task, Window, label_text

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_THRESHOLD = 0.5
FEW = 32  # labels


class TextClassification:
    """The hub's `text-classification`. Golds are a label, or a frozen set of labels for a multi-label task.

    Windows of a long text merge by the mean of their logits, weighted by their tokens.
    """

    name = "text-classification"
    reads: Literal["pooled", "tokens", "nothing"] = "pooled"
    metrics = ("accuracy", "macro-f1", "micro-f1", "in-scope-accuracy", "out-of-scope-recall")
    trained = True

    def parse(self, task: Task, value: object, text: str) -> str | frozenset[str]:
        """Return the cell's label or labels, each one of the task's."""
        found = self.labels_in(value)
        for label in found:
            if label not in task.labels:
                raise ValueError(f"{label!r} is not a label{suggest(label, task.labels)}")
        if task.multi_label:
            return frozenset(found)
        if len(found) != 1:
            raise ValueError(f"found {len(found)} labels, expected one; several need `multi-label: true`")
        return found[0]

    def labels_in(self, value: object) -> Sequence[str]:
        """Return the label, or the list of labels, that a cell names; numbers and booleans are named as written."""
        values: list[Any] = value if isinstance(value, list) else [value]
        for item in values:
            if not isinstance(item, str | int):
                raise ValueError(f"found {item!r}, expected a label or a list of labels")
        return [label_text(item) for item in values]

    def width(self, task: Task) -> int:
        """Return the number of labels."""
        return len(task.labels)

    def target(self, task: Task, gold: Any, window: Window) -> NDArray[Any]:
        """Return the label's index `[]`, or 0/1 for each label `[labels]`."""
        if not task.multi_label:
            return np.array(task.labels.index(gold), np.int64)
        return np.array([label in gold for label in task.labels], np.float32)

    def blend(self, task: Task, target: NDArray[Any], logits: Floats, share: float) -> NDArray[Any]:
        """Return probabilities `[labels]` between the gold answer's and a teacher's."""
        said = calibrate.sigmoid(logits) if task.multi_label else calibrate.softmax(logits)
        gold = target if task.multi_label else np.eye(len(task.labels), dtype=np.float32)[target]
        mixed: NDArray[Any] = share * gold + (1 - share) * said
        return mixed

    def loss(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        """Return cross entropy, or the sum over labels of binary cross entropies, for each row `[rows]`."""
        from torch.nn import functional

        if not task.multi_label:
            return functional.cross_entropy(logits, target, reduction="none")
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)

    def merge(self, task: Task, logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
        """Return the mean of the windows' logits, weighted by tokens `[labels]`."""
        return mean_of_windows(logits, windows)

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Return the likeliest label, or all labels over their thresholds."""
        temperature = task.temperature_for(language)
        if task.multi_label:
            return _labels(task, calibrate.sigmoid(logits / temperature))
        return _label(task, _softmax(logits, temperature))

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return accuracy (of the whole set for multi-label) and F1; abstaining answers count by their best label."""
        wanted = [_as_set(gold) for gold in golds]
        found = [_given(task, prediction) for prediction in predictions]
        scores = {
            "accuracy": metrics.accuracy(wanted, found),
            "macro-f1": metrics.macro_f1(wanted, found, task.labels),
            "micro-f1": metrics.micro(wanted, found)["f1"],
        }
        if task.out_of_scope:
            outside = frozenset([task.out_of_scope])
            pairs = list(zip(wanted, found, strict=True))
            inside = [(gold, answer) for gold, answer in pairs if gold != outside]
            beyond = [(gold, answer) for gold, answer in pairs if gold == outside]
            scores["in-scope-accuracy"] = metrics.accuracy(*_columns(inside))
            if beyond or task.metric == "out-of-scope-recall":  # 0 would say that none was found
                scores["out-of-scope-recall"] = metrics.accuracy(*_columns(beyond))
        return scores

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Return the task as it is: train rows tell nothing more."""
        return task

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Fit a temperature for each language, and thresholds: of all labels if multi-label, else out of scope."""
        values, golds = np.stack(logits), np.stack(targets)
        loss = calibrate.binary_cross_entropy if task.multi_label else calibrate.cross_entropy
        fitted = calibrate.fit_temperatures(values, golds, languages, loss)
        calibrated = replace(task, temperature=fitted)
        divisors = np.array([calibrated.temperature_for(language) for language in languages])[:, None]
        if task.multi_label:
            chosen = calibrate.fit_thresholds(calibrate.sigmoid(values / divisors), golds)
            calibrated = replace(calibrated, thresholds=dict(zip(task.labels, chosen.tolist(), strict=True)))
        if task.out_of_scope:
            outside = task.labels.index(task.out_of_scope)
            probabilities = calibrate.softmax(values / divisors)[:, [outside]]
            (chosen,) = calibrate.fit_thresholds(probabilities, (golds == outside)[:, None].astype(float))
            calibrated = replace(calibrated, thresholds={task.out_of_scope: float(chosen)})
        errors = {"ece-before": _error(task, values, golds), "ece-after": _error(task, values / divisors, golds)}
        return calibrated, errors


def _softmax(logits: Floats, temperature: float) -> list[float]:
    """Return probabilities; of few labels by plain numbers, for which arrays take twice as long (docs/log.md)."""
    if len(logits) > FEW:
        return calibrate.softmax(logits / temperature).tolist()  # type: ignore[no-any-return]
    values = logits.tolist()
    top = max(values)
    shares = [math.exp((value - top) / temperature) for value in values]
    total = sum(shares)
    return [share / total for share in shares]


def _label(task: Task, probabilities: Sequence[float]) -> LabelPrediction:
    """Return the likeliest label; the out-of-scope one already from its threshold, even where another is likelier."""
    best = probabilities.index(max(probabilities))
    outside = task.labels.index(task.out_of_scope) if task.out_of_scope else -1
    if outside >= 0 and probabilities[outside] >= task.thresholds.get(task.out_of_scope, 1.0):
        best = outside
    probability = probabilities[best]
    abstained = best != outside and probability < task.abstain_below
    return LabelPrediction(
        None if abstained else task.labels[best],
        probability,
        dict(zip(task.labels, probabilities, strict=True)),
        abstained,
        best == outside,
    )


def _labels(task: Task, probabilities: Floats) -> LabelsPrediction:
    by_label = dict(zip(task.labels, probabilities.tolist(), strict=True))
    thresholds = task.thresholds
    given = tuple(label for label, p in by_label.items() if p >= thresholds.get(label, DEFAULT_THRESHOLD))
    return LabelsPrediction(given, by_label)


def _as_set(gold: Any) -> frozenset[str]:
    return gold if isinstance(gold, frozenset) else frozenset([gold])


def _given(task: Task, prediction: Prediction) -> frozenset[str]:
    if isinstance(prediction, LabelsPrediction):
        return frozenset(prediction.labels)
    assert isinstance(prediction, LabelPrediction)  # a task's predictions are of one type
    if prediction.out_of_scope:
        return frozenset([task.out_of_scope])
    return frozenset([max(prediction.probabilities, key=prediction.probabilities.__getitem__)])


def _columns(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


def _error(task: Task, logits: Floats, golds: NDArray[Any]) -> float:
    """Return the expected calibration error: of the best label, or of every label's own probability."""
    if task.multi_label:
        return metrics.calibration_error(calibrate.sigmoid(logits).ravel(), golds.ravel() > 0)
    probabilities = calibrate.softmax(logits)
    return metrics.calibration_error(probabilities.max(-1), probabilities.argmax(-1) == golds)
