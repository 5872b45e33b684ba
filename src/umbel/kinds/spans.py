"""Token classification: flat labelled spans, tagged B, I or O on each token and decoded under the tags' rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umbel import calibrate, metrics, tagging
from umbel.borders import whole_words, without_spaces
from umbel.errors import suggest
from umbel.kinds.base import Floats
from umbel.overhangs import Sheds, learnt
from umbel.records import Prediction, Span, SpansPrediction, Task, Window, label_text
from umbel.tagging import OUTSIDE

if TYPE_CHECKING:
    from torch import Tensor

UNTRAINED = -100

Gold = tuple[tuple[int, int, str], ...]


class TokenClassification:
    """The hub's `token-classification`. Golds are `(start, end, label)` in the order of the text, not overlapping.

    Windows of a long text overlap by a quarter: each token's logits come from the window in which it stands furthest
    from an edge, and spans are decoded over the whole text, so that a window's edge never cuts one.
    """

    name = "token-classification"
    reads: Literal["pooled", "tokens", "nothing"] = "tokens"
    metrics = ("f1", "precision", "recall")
    trained = True

    def parse(self, task: Task, value: object, text: str) -> Gold:
        """Return the cell's spans, checked against the text and the labels."""
        spans = sorted(_span(task, item, text) for item in _items(value))
        for before, after in pairwise(spans):
            if after[0] < before[1]:
                raise ValueError(f"spans {before} and {after} overlap; expected flat spans")
        return tuple(spans)

    def labels_in(self, value: object) -> Sequence[str]:
        """Return the labels of a cell's spans."""
        return [_label(item) for item in _items(value) if "label" in item]

    def width(self, task: Task) -> int:
        """Return the number of tags."""
        return 1 + 2 * len(task.labels)

    def target(self, task: Task, gold: Any, window: Window) -> NDArray[Any]:
        """Return each token's tag `[tokens]`; special tokens and tokens that cover nothing are untrained.

        A token belongs to a span when at least half of it lies inside.
        """
        starts, ends = window.offsets[:, 0], window.offsets[:, 1]
        tags = np.where(ends > starts, OUTSIDE, UNTRAINED).astype(np.int64)
        for start, end, label in gold:
            overlap = np.minimum(ends, end) - np.maximum(starts, start)
            inside = np.flatnonzero((overlap * 2 >= ends - starts) & (overlap > 0) & (tags == OUTSIDE))
            begin = 1 + 2 * task.labels.index(label)
            tags[inside] = begin + 1
            tags[inside[:1]] = begin
        return tags

    def blend(self, task: Task, target: NDArray[Any], logits: Floats, share: float) -> NDArray[Any]:
        """Return each token's tag probabilities `[tokens, tags]` between the gold tag's and a teacher's."""
        gold = np.eye(self.width(task), dtype=np.float32)[target.clip(OUTSIDE)]
        mixed: NDArray[Any] = share * gold + (1 - share) * calibrate.softmax(logits)
        return np.where((target == UNTRAINED)[:, None], np.float32(0), mixed)

    def loss(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross entropy over each row's trained tokens `[rows]`."""
        from torch.nn import functional

        if target.ndim == logits.ndim:  # probabilities
            losses = -(target * functional.log_softmax(logits, -1)).sum(-1)
            return losses.sum(-1) / (target.sum(-1) > 0).sum(-1).clamp(min=1)
        losses = functional.cross_entropy(logits.transpose(1, 2), target, reduction="none", ignore_index=UNTRAINED)
        return losses.sum(-1) / (target != UNTRAINED).sum(-1).clamp(min=1)

    def merge(self, task: Task, logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
        """Return `[content tokens, tags]`, each token from the window where it has most context."""
        if len(logits) == 1:
            return logits[0][1:-1]
        total = windows[-1].first + len(windows[-1].ids) - 2
        merged = np.zeros((total, logits[0].shape[1]), np.float32)
        context = np.full(total, -1)
        for values, window in zip(logits, windows, strict=True):
            size = len(window.ids) - 2
            place = np.arange(window.first, window.first + size)
            room = np.minimum(np.arange(size), np.arange(size)[::-1])
            better = room > context[place]
            merged[place[better]], context[place[better]] = values[1:-1][better], room[better]
        return merged

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Return the spans of the likeliest allowed tags, as whole words; a probability is the tags' geometric mean.

        Those less probable than `abstain_below` are left out.
        """
        covering = offsets[:, 1] > offsets[:, 0]
        logits, offsets = logits[covering], offsets[covering]
        tags = tagging.best_tags(logits, task.outside_bias)
        if not tags.any():
            return SpansPrediction(())
        found = _spans(task, tags, logits / task.temperature_for(language), text, offsets)
        return SpansPrediction(tuple(span for span in found if span.probability >= task.abstain_below))

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return precision, recall and F1 of exact spans."""
        found = [
            {(span.start, span.end, span.label) for span in prediction}
            for prediction in predictions
            if isinstance(prediction, SpansPrediction)
        ]
        return metrics.micro([set(gold) for gold in golds], found)

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Learn which characters a span sheds: those that more often reach over its border than stand at its end.

        `overhangs.learnt` says which.
        """
        spans = ((text, [(start, end) for start, end, _ in gold], window.offsets) for text, gold, window in rows)
        found = learnt(spans)
        return replace(task, trim_start=found.start, trim_end=found.end)

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Fit a temperature for each language on the tags of all trained tokens, and how readily spans are found."""
        bias = tagging.fit_outside(*_trained(logits, targets)) if task.metric == "f1" else 0.0
        golds = np.concatenate(targets)
        trained = golds != UNTRAINED
        values, golds = np.concatenate(logits)[trained], golds[trained]
        names = np.repeat(np.array(languages), [len(target) for target in targets])[trained].tolist()
        fitted = calibrate.fit_temperatures(values, golds, names, calibrate.cross_entropy)
        calibrated = replace(task, temperature=fitted, outside_bias=bias)
        divisors = np.array([calibrated.temperature_for(name) for name in names])[:, None]
        return calibrated, {"ece-before": _error(values, golds), "ece-after": _error(values / divisors, golds)}


def _spans(task: Task, tags: NDArray[np.int64], logits: Floats, text: str, offsets: NDArray[np.int32]) -> list[Span]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(tags)), tags] - np.log(np.exp(shifted).sum(axis=1))  # log probability of each tag
    spans: list[Span] = []
    for first, last, place in tagging.runs(tags):
        taken = spans[-1].end if spans else 0
        free = max(int(offsets[first, 0]), taken)  # tokens may share a character
        edges = (free, int(offsets[first, 1])), (int(offsets[last, 0]), int(offsets[last, 1]))
        start, end = without_spaces(text, *Sheds(task.trim_start, task.trim_end).shed(text, *edges))
        if start < end:
            start, end = whole_words(text, start, end)
            start = max(start, taken)
            label = task.labels[place]
            probability = float(np.exp(chosen[first : last + 1].mean()))
            spans.append(Span(start, end, label, text[start:end], probability))
    return spans


def _trained(logits: Sequence[Floats], targets: Sequence[NDArray[Any]]) -> tuple[list[Floats], list[NDArray[np.int64]]]:
    """Return each row's logits and gold tags without the tokens that no span holds."""
    kept = [target != UNTRAINED for target in targets]
    return [row[keep] for row, keep in zip(logits, kept, strict=True)], [
        target[keep] for target, keep in zip(targets, kept, strict=True)
    ]


def _items(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"found {value!r:.60}, expected a list of {{start, end, label}}")
    return value


def _span(task: Task, item: dict[str, Any], text: str) -> tuple[int, int, str]:
    start, end, label = item.get("start"), item.get("end"), _label(item)
    if not isinstance(start, int) or not isinstance(end, int):
        raise ValueError(f"found {item!r:.60}, expected whole numbers `start` and `end`")
    if not 0 <= start < end <= len(text):
        raise ValueError(f"span {start}:{end} lies outside the text of {len(text)} characters or is empty")
    if label not in task.labels:
        raise ValueError(f"{label!r} is not a label{suggest(label, task.labels)}")
    return start, end, label


def _label(item: dict[str, Any]) -> str:
    """Return a span's label; numbers are named as written."""
    label = item.get("label")
    if not isinstance(label, str | int):
        raise ValueError(f"found {label!r:.60}, expected a label")
    return label_text(label)


def _error(logits: Floats, golds: NDArray[Any]) -> float:
    probabilities = calibrate.softmax(logits)
    return metrics.calibration_error(probabilities.max(-1), probabilities.argmax(-1) == golds)
