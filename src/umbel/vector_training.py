"""Fits the linear map through which a pack's vectors are read, and tells on texts held back whether it helps.

An encoder that many tasks have bent gives vectors in which texts alike in topic lie together, whatever else they say.
The map is learnt on the sealed encoder, so nothing else moves: texts shall be as like each other as the untouched
backbone finds them (Park et al. 2019, Relational Knowledge Distillation), and a question shall be nearest to its own
passage among those of a batch (van den Oord et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Map = tuple[Floats, Floats]
"""A weight `[hidden, hidden]` and a bias `[hidden]`."""

STEPS = 600
WARM_UP = 30
RATE = 1e-3
ROWS = 768  # texts of a step, half of the steps of one file's alone
LEAST = 16  # texts of a file that has steps of its own
PAIRS = 512  # questions of a step
SHARPNESS = 100.0  # cosines count so much: those of the e5 family lie near each other (docs/log.md)
PAIRED = 1.0  # how much a question's passage counts beside the backbone's likenesses (docs/log.md)
HELD_BACK = 0.1  # of documents, to judge by


@dataclass(frozen=True)
class Texts:
    """What a map is learnt from, row by row.

    `means` `[texts, hidden]` are the pack's mean hidden states, `targets` the untouched backbone's vectors, of length
    1; `files` `[texts]` numbers where they come from, and `documents` `[texts]` the whole texts: a text of its own, a
    passage of it and questions about it have one number. `pairs` `[pairs, 2]` are places of questions and passages.
    """

    means: Floats
    targets: Floats
    files: Places
    documents: Places
    pairs: Places


@dataclass(frozen=True)
class Judged:
    """How vectors do on texts held back, in percent, as they were before and through the map.

    `nearest` is how often a text's nearest other text is the backbone's; `found` how often a question's nearest passage
    is its own, None where there are no questions.
    """

    nearest: tuple[float, float]
    found: tuple[float, float] | None

    @property
    def helps(self) -> bool:
        """Tell whether vectors are better than before."""
        gains = [after - before for before, after in (self.nearest, *([self.found] if self.found else []))]
        return sum(gains) > 0

    def scores(self) -> Mapping[str, float]:
        """Return what a pack keeps of it."""
        named = {"nearest": self.nearest} | ({"found": self.found} if self.found else {})
        return {
            f"{name}{end}": round(value, 4)
            for name, both in named.items()
            for end, value in zip(("-before", ""), both, strict=True)
        }


def learn(texts: Texts, seed: int = 1, before: Map | None = None) -> tuple[Map, Judged]:
    """Return a map, and how it does on texts of which it has seen nothing, beside the map `before`, if any."""
    rng = np.random.default_rng(seed)
    held = (rng.random(texts.documents.max() + 1) < HELD_BACK)[texts.documents]
    found = fit(_only(texts, ~held), rng)
    return found, judge(_only(texts, held), found, before)


def fit(texts: Texts, rng: np.random.Generator) -> Map:
    """Learn the map, beginning with none."""
    means, targets = torch.from_numpy(texts.means), torch.from_numpy(texts.targets)
    every = np.arange(len(means))
    counts = np.bincount(texts.files)
    files = [np.flatnonzero(texts.files == file) for file in np.flatnonzero(counts >= LEAST)] or [every]
    weight, bias = torch.eye(means.shape[1]).requires_grad_(), torch.zeros(means.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias])
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * (1 - step / STEPS)
        rows = every if step % 2 else files[rng.integers(len(files))]
        rows = rng.choice(rows, min(ROWS, len(rows)), replace=False)
        loss = _unlike(_through(means[rows], weight, bias), targets[rows])
        pairs = _drawn(texts.pairs, rng)
        if len(pairs) > 1:
            questions, passages = (_through(means[pairs[:, side]], weight, bias) for side in (0, 1))
            loss = loss + PAIRED * _apart(questions, passages)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weight.detach().numpy(), bias.detach().numpy()


def judge(texts: Texts, found: Map, before: Map | None = None) -> Judged:
    """Compare vectors through a map with those through the one `before`, or through none."""
    both = [_unit(texts.means @ each[0].T + each[1]) if each else _unit(texts.means) for each in (before, found)]
    wanted = _nearest(texts.targets)
    nearest = [100 * float(np.mean(_nearest(vectors) == wanted)) for vectors in both]
    own = [_found(vectors, texts.pairs) for vectors in both] if len(texts.pairs) else None
    return Judged((nearest[0], nearest[1]), (own[0], own[1]) if own else None)


def _through(means: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.normalize(functional.linear(means, weight, bias), dim=-1)


def _unlike(vectors: Tensor, targets: Tensor) -> Tensor:
    """Return how far likenesses among the vectors `[rows, hidden]` are from those among the targets."""
    itself = torch.eye(len(vectors)) * 1e4
    said, wanted = ((each @ each.T * SHARPNESS - itself).log_softmax(1) for each in (vectors, targets))
    return functional.kl_div(said, wanted, log_target=True, reduction="batchmean")


def _apart(questions: Tensor, passages: Tensor) -> Tensor:
    """Return the cross entropy of each question's passage among all, and of each passage's question."""
    cosines = questions @ passages.T * SHARPNESS
    own = torch.arange(len(cosines))
    return (functional.cross_entropy(cosines, own) + functional.cross_entropy(cosines.T, own)) / 2


def _drawn(pairs: Places, rng: np.random.Generator) -> Places:
    """Return pairs of a step, one of each passage."""
    some = pairs[rng.permutation(len(pairs))[:PAIRS]]
    return some[np.unique(some[:, 1], return_index=True)[1]]


def _only(texts: Texts, kept: NDArray[np.bool_]) -> Texts:
    """Return the texts that are kept, with the pairs among them."""
    new = np.cumsum(kept) - 1
    pairs = texts.pairs[kept[texts.pairs].all(axis=1)]
    return Texts(texts.means[kept], texts.targets[kept], texts.files[kept], texts.documents[kept], new[pairs])


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _nearest(vectors: Floats) -> Places:
    """Return the place of each vector's nearest other one `[texts]`."""
    found = np.zeros(len(vectors), np.int64)
    for at in range(0, len(vectors), ROWS):  # of very many, all at once would not fit into memory
        cosines = vectors[at : at + ROWS] @ vectors.T
        cosines[np.arange(len(cosines)), at + np.arange(len(cosines))] = -np.inf
        found[at : at + ROWS] = cosines.argmax(axis=1)
    return found


def _found(vectors: Floats, pairs: Places) -> float:
    """Return how often, in percent, a question's nearest passage is its own."""
    passages = np.unique(pairs[:, 1])
    nearest = passages[(vectors[pairs[:, 0]] @ vectors[passages].T).argmax(axis=1)]
    return 100 * float(np.mean(nearest == pairs[:, 1]))


def numbered(names: Sequence[str]) -> Places:
    """Return the same number for the same name `[names]`."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
