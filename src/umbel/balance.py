"""Decides which rows a joint training sees and in which batches; knows nothing of torch, texts or losses.

A plan is a pure function of its round: any round can be rebuilt from the seed alone, so training resumes by naming a
round and a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ROUND_ROWS = 4096  # enough rows to sort by length that little is padded
LEAST = 0.5  # of its share, what a task keeps that makes no progress

Row = tuple[str, int]


def shares_of(
    sizes: Mapping[str, int],
    by: Literal["size", "square-root", "temperature", "progress"],
    temperature: float = 1.0,
    factors: Mapping[str, float] | None = None,
    cap: int = 0,
) -> dict[str, float]:
    """Return each source's share of the rows; shares sum to 1.

    Rows are drawn by size, by its square root, or by `size ** (1 / temperature)` (Aharoni et al. 2019), times the
    source's own factor; `progress` begins with the square root (`by_progress`). With a `cap` a larger source counts as
    one of so many rows (Raffel et al. 2020).
    """
    power = {"size": 1.0, "temperature": 1 / temperature}.get(by, 0.5)
    counted = {name: min(size, cap) if cap else size for name, size in sizes.items()}
    weights = {name: size**power * (factors or {}).get(name, 1.0) for name, size in counted.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def by_progress(
    shares: Mapping[str, float], rows: Mapping[str, Sequence[Collection[str]]], history: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """Return shares that go where dev scores move, as a teacher would have it (Matiisen et al. 2017); they sum to 1.

    `rows` are the tasks that each row of a source trains, `history` the dev scores of the evaluations so far. A task
    counts by how far its score moved between the last two, up or down, but by half of the average at least, so that
    none is forgotten. With fewer than two evaluations the shares are as they were.
    """
    if len(history) < 2:
        return dict(shares)
    moved = {task: abs(score - history[-2].get(task, score)) for task, score in history[-1].items()}
    mean = sum(moved.values()) / max(len(moved), 1)
    factors = {task: LEAST + (1 - LEAST) * move / mean if mean else 1.0 for task, move in moved.items()}
    weights = {}
    for source, share in shares.items():
        known = [factors[task] for tasks in rows[source] for task in tasks if task in factors]
        weights[source] = share * (sum(known) / len(known) if known else 1.0)
    total = sum(weights.values())
    return {source: weight / total for source, weight in weights.items()}


@dataclass(frozen=True)
class Plan:
    """The rows of every round, cut into batches of one length.

    `lengths` gives each source's tokens per row. A batch holds at most `batch_rows` rows and, padded, at most
    `batch_tokens` tokens, but always one row. Rows are sorted by length within a round of `round_rows`. `turns` are
    rounds, in order, from which on other shares hold.
    """

    lengths: Mapping[str, NDArray[np.integer]]
    shares: Mapping[str, float]
    rows: int
    batch_rows: int
    batch_tokens: int
    seed: int
    round_rows: int = ROUND_ROWS
    turns: Sequence[tuple[int, Mapping[str, float]]] = ()

    @property
    def rounds(self) -> int:
        """The number of rounds that make up the training."""
        return -(-self.rows // self.round_rows)

    def fraction(self, number: int, part: float) -> float:
        """Return how much of the training lies before a point of one round, `part` of it done: 0 to 1."""
        first, last = (self._rows_before(n) for n in (number, number + 1))
        return (first + part * (last - first)) / self.rows

    def batches(self, number: int, without: Collection[str] = ()) -> list[list[Row]]:
        """Return the batches of one round, leaving out the sources in `without`."""
        rows = [row for source in self.shares if source not in without for row in self._drawn(source, number)]
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(rows))
        rows = [rows[index] for index in order]
        rows.sort(key=lambda row: self.lengths[row[0]][row[1]])
        batches = self._cut(rows)
        return [batches[index] for index in rng.permutation(len(batches))]

    def _drawn(self, source: str, number: int) -> list[Row]:
        first, last = self._drawn_before(source, number), self._drawn_before(source, number + 1)
        size = len(self.lengths[source])
        key = sorted(self.shares).index(source)
        orders = {
            epoch: np.random.default_rng([self.seed, key, epoch]).permutation(size)
            for epoch in range(first // size, (max(last, 1) - 1) // size + 1)
        }
        return [(source, int(orders[place // size][place % size])) for place in range(first, last)]

    def _drawn_before(self, source: str, number: int) -> int:
        drawn, shares, since = 0.0, self.shares, 0
        for turn, later in (*self.turns, (number, self.shares)):
            until = min(turn, number)
            drawn += shares[source] * (self._rows_before(until) - self._rows_before(since))
            shares, since = later, until
        return round(drawn)

    def _rows_before(self, number: int) -> int:
        return min(number * self.round_rows, self.rows)

    def _cut(self, rows: Sequence[Row]) -> list[list[Row]]:
        batches: list[list[Row]] = []
        for row in rows:
            length = int(self.lengths[row[0]][row[1]])  # rows come sorted: this is the batch's longest
            full = not batches or len(batches[-1]) >= self.batch_rows
            if full or (len(batches[-1]) + 1) * length > self.batch_tokens:
                batches.append([])
            batches[-1].append(row)
        return batches
