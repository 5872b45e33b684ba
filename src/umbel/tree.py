"""Packs branches into rows: a question's tokens and, under it, its options as parallel leaves; in numpy.

A row is one branch, so that nothing about it depends on which others are asked. Knows nothing of engines and texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LENGTH_STEP = 16  # rows are padded to a multiple of it
QUESTION, PADDING = 0, -1  # nodes of a row: the question, its options from 1 on, padding

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Branch:
    """A question as token ids, special tokens at both ends, and its options, each with a special token at its end.

    `role` and `option_role` are indices of `readouts.ROLES`.
    """

    question: Ints
    role: int
    options: tuple[Ints, ...] = ()
    option_role: int = 0

    def __len__(self) -> int:
        return len(self.question) + sum(map(len, self.options))

    @property
    def key(self) -> tuple[int, int, bytes, tuple[bytes, ...]]:
        """What tells it from all others."""
        return self.role, self.option_role, self.question.tobytes(), tuple(option.tobytes() for option in self.options)

    @property
    def padded(self) -> int:
        """The length of the branch's row."""
        return -(-len(self) // LENGTH_STEP) * LENGTH_STEP


@dataclass(frozen=True)
class Rows:
    """Branches of one padded length, one a row: `ids`, `positions`, `roles` and `nodes`, all `[rows, length]`.

    Options of a question count their positions from its end on, all alike. `reads` gives for each row the place of the
    question's last token, then of each option's in the order of the branch.
    """

    ids: Ints
    positions: Ints
    roles: Ints
    nodes: Ints
    reads: tuple[Ints, ...]

    @cached_property
    def attends(self) -> Bools:
        """Whether a token `[rows, length, .]` sees another one `[., ., length]`: of its own node, or the question's."""
        one, other = self.nodes[:, :, None], self.nodes[:, None, :]
        seen: Bools = ((one == other) | (other == QUESTION)) & (other != PADDING)
        return seen

    @cached_property
    def used(self) -> Bools:
        """Whether a place `[rows, length]` holds a token: those of a row come first, then its padding."""
        found: Bools = self.nodes != PADDING
        return found

    @cached_property
    def firsts(self) -> Ints:
        """Return where each row `[rows]` begins when the tokens of all rows stand in a line, without padding."""
        sizes = self.used.sum(axis=1, dtype=np.int32)
        firsts: Ints = np.cumsum(sizes, dtype=np.int32) - sizes
        return firsts

    @cached_property
    def spread(self) -> tuple[Ints, Ints]:
        """Return how that line and the rows map to each other.

        Which token of the line stands at each place `[rows, length]`, the row's last one for its padding, and the place
        of each token `[tokens]` in the rows laid end to end.
        """
        used = self.used
        last = used.sum(axis=1, dtype=np.int32) - 1
        places = np.minimum(np.arange(used.shape[1], dtype=np.int32), last[:, None])
        return self.firsts[:, None] + places, np.flatnonzero(used).astype(np.int32)

    @cached_property
    def read(self) -> list[Ints]:
        """Return for each row the places in that line of the tokens that answers are read from.

        Those of `reads`; of a branch without options all of the question's, in their order.
        """
        return [
            first + (reads if len(reads) > 1 else np.arange(reads[0] + 1, dtype=np.int32))
            for first, reads in zip(self.firsts, self.reads, strict=True)
        ]


def rows_of(branches: Sequence[Branch], pad: int, length: int = 0) -> Rows:
    """Lay out branches, each in a row; all are padded to `length`, or to the longest one's padded length."""
    length = length or max(branch.padded for branch in branches)
    ids = np.full((len(branches), length), pad, np.int32)
    positions, roles = np.zeros_like(ids), np.zeros_like(ids)
    nodes = np.full_like(ids, PADDING)
    reads = []
    for row, branch in enumerate(branches):
        order = canonical(branch)
        parts = [branch.question, *(branch.options[place] for place in order)]
        ends = np.cumsum([len(part) for part in parts])
        used = slice(0, int(ends[-1]))
        ids[row, used] = np.concatenate(parts)
        starts = [0, *(len(branch.question) for _ in branch.options)]
        positions[row, used] = np.concatenate([np.arange(len(p)) + s for p, s in zip(parts, starts, strict=True)])
        nodes[row, used] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        roles[row, used] = np.where(nodes[row, used] == QUESTION, branch.role, branch.option_role)
        places = np.empty(len(parts), np.int32)
        places[[0, *(place + 1 for place in order)]] = ends - 1
        reads.append(places)
    return Rows(ids, positions, roles, nodes, tuple(reads))


def canonical(branch: Branch) -> list[int]:
    """Return the options' places in the order they are laid out in: by their ids, so that theirs changes no bit."""
    return sorted(range(len(branch.options)), key=lambda place: branch.options[place].tolist())


def cut(branch: Branch, most: int) -> list[tuple[Branch, list[int]]]:
    """Cut a branch into ones of at most `most` tokens that repeat its question, each with its options' places.

    Each has at least one option. The cut depends on the options alone, not on their order.
    """
    parts: list[list[int]] = [[]]
    used = len(branch.question)
    for place in canonical(branch):
        if parts[-1] and used + len(branch.options[place]) > most:
            parts.append([])
            used = len(branch.question)
        parts[-1].append(place)
        used += len(branch.options[place])
    return [
        (Branch(branch.question, branch.role, tuple(branch.options[p] for p in part), branch.option_role), part)
        for part in parts
    ]
