"""Fits what character n-grams add to a task's logits, and tells on dev rows whether they help.

A logistic regression on a task's train rows, which no other task sees; the encoding stays as it is. How much it counts
beside the head is fitted on dev rows, as temperatures are, for on its own train rows a head is too sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from umbel import calibrate
from umbel.kinds.base import kind_of
from umbel.manifest import NgramsFile
from umbel.metrics import better
from umbel.ngrams import Ngrams, Vocabulary, as_stored, counted
from umbel.records import Example, Task, language_of

Floats = NDArray[np.float32]

LONGEST = 3  # characters
LEAST_ROWS = 2  # n-grams of fewer train rows are not learnt
STRENGTH = 0.05  # of the squared penalty on weights, for features of length 1 (docs/log.md)
STEPS = 100
SHARES = np.linspace(0.0, 2.0, 21)  # of n-grams, beside a head's one


@dataclass(frozen=True)
class Rows:
    """Rows of one task, and `targets` `[rows]` or `[rows, labels]`, which the kind makes of their gold answers."""

    examples: Sequence[Example]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Judged:
    """How much n-grams count beside a head, and the task's score on dev rows without and with them.

    Each half of the rows is scored with what was fitted on the other.
    """

    share: float
    without: float
    score: float

    def helps(self, metric: str) -> bool:
        """Tell whether the score is better with them."""
        return self.share > 0 and better(metric, self.score, self.without)

    def entry(self, longest: int) -> NgramsFile:
        """Return what a pack keeps of it."""
        known = {"without": round(self.without, 4), "score": round(self.score, 4)}
        return NgramsFile(file="", sha256="", longest=longest, **known)


def learn(task: Task, train: Rows, dev: Rows, logits: Floats, longest: int = LONGEST) -> tuple[Ngrams, Judged]:
    """Return n-grams, weighed as they should count beside a head that gives `logits` `[dev rows, labels]`."""
    ngrams = fit(task, [example.text for example in train.examples], train.targets, longest)
    judged = judge(task, logits, np.stack([ngrams.of(example.text) for example in dev.examples]), dev)
    weight = as_stored(ngrams.weight * np.float32(judged.share))
    return replace(ngrams, weight=weight, bias=ngrams.bias * np.float32(judged.share)), judged


def fit(task: Task, texts: Sequence[str], targets: NDArray[Any], longest: int = LONGEST) -> Ngrams:
    """Learn which n-grams go with which labels."""
    found = [counted(text, longest) for text in texts]
    keys, counts = np.unique(np.concatenate([hashes for hashes, _ in found]), return_counts=True)
    often = counts >= min(LEAST_ROWS, counts.max())
    keys, counts = keys[often], counts[often]
    idf = np.log((1 + len(texts)) / (1 + counts)) + 1
    vocabulary = Vocabulary(keys, as_stored(idf))
    rows = [vocabulary.features(*each) for each in found]
    weight, bias = _regression(rows, len(keys), torch.from_numpy(targets), len(task.labels))
    return Ngrams(longest, vocabulary, as_stored(weight.numpy()), bias.numpy())


def _regression(
    rows: Sequence[tuple[NDArray[np.int64], Floats]], width: int, targets: Tensor, labels: int
) -> tuple[Tensor, Tensor]:
    """Return weights `[width, labels]` and biases `[labels]` of a logistic regression with a squared penalty.

    `rows` are the places and values of each text's features.
    """
    begins = torch.from_numpy(np.cumsum([0, *(len(places) for places, _ in rows)]))[:-1]
    places = torch.from_numpy(np.concatenate([places for places, _ in rows]))
    values = torch.from_numpy(np.concatenate([values for _, values in rows]))
    weight, bias = torch.zeros(width, labels, requires_grad=True), torch.zeros(labels, requires_grad=True)
    loss_of = functional.binary_cross_entropy_with_logits if targets.ndim == 2 else functional.cross_entropy
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, history_size=8, line_search_fn="strong_wolfe", tolerance_grad=1e-6 * len(rows)
    )

    def step() -> Tensor:
        solver.zero_grad()
        logits = functional.embedding_bag(places, weight, begins, mode="sum", per_sample_weights=values) + bias
        loss = loss_of(logits, targets, reduction="sum") + STRENGTH / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(step)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def judge(task: Task, logits: Floats, added: Floats, dev: Rows) -> Judged:
    """Tell how much n-grams that add `added` should count beside a head that gives `logits`, both `[rows, labels]`."""
    kind = kind_of(task.kind)
    languages = [example.language for example in dev.examples]
    half = np.arange(len(dev.examples)) % 2 == 0
    nothing: NDArray[np.int32] = np.zeros((0, 2), np.int32)

    def score(shares: tuple[float, float]) -> float:
        said: dict[int, Any] = {}
        for rows, others, share in ((half, ~half, shares[1]), (~half, half, shares[0])):
            mixed = logits + np.float32(share) * added
            learnt = [languages[place] for place in np.flatnonzero(others).tolist()]
            fitted, _ = kind.calibrate(task, list(mixed[others]), list(dev.targets[others]), learnt)
            for place in np.flatnonzero(rows).tolist():
                example = dev.examples[place]
                said[place] = kind.predict(fitted, mixed[place], example.text, nothing, language_of(example.text))
        golds = [example.golds[task.name] for example in dev.examples]
        return kind.score(task, golds, [said[place] for place in range(len(golds))])[task.metric]

    shares = [_share(task, logits[rows], added[rows], dev.targets[rows]) for rows in (half, ~half)]
    return Judged(_share(task, logits, added, dev.targets), score((0.0, 0.0)), score((shares[0], shares[1])))


def _share(task: Task, logits: Floats, added: Floats, targets: NDArray[Any]) -> float:
    """Return how much n-grams should count: under the best temperature for each share, the one of the least loss."""
    loss = calibrate.binary_cross_entropy if task.multi_label else calibrate.cross_entropy

    def least(share: float) -> float:
        mixed = logits + np.float32(share) * added
        return loss(mixed / calibrate.fit_temperature(lambda t: loss(mixed / t, targets)), targets)

    return float(min(SHARES, key=least))
