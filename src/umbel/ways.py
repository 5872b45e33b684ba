"""The ways in which a task can share the backbone, from all of it to layers of its own, and what each costs.

Knows nothing of torch, trainings and packs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from umbel.shapes import EncoderShape

FORKS = (2 / 3, 1 / 3, 0.0)  # shares of the layers that stay shared, where own ones are tried
GROUP_RANK = 2  # times the rank of one task's adapter has that of several


@dataclass(frozen=True)
class Way:
    """What of a task is its own.

    `all`: nothing but the head that was trained with the rest; `head`: a head trained on what the others left;
    `adapter`: a low-rank change of the layers from `layer` on (counted from 0); `fork`: those layers themselves;
    `group`: an adapter of all layers that it has together with other tasks; `group-fork`: all layers, together with
    them; `taught`: all layers, trained also on texts of others that such a part labelled. All layers begin at the
    untouched backbone: begun at the joint ones they stay behind (docs/log.md).
    """

    kind: Literal["all", "head", "adapter", "fork", "group", "group-fork", "taught"]
    layer: int = 0

    @property
    def name(self) -> str:
        """Name it, as files do: `adapter-8`."""
        return f"{self.kind}-{self.layer}" if self.own else self.kind

    @property
    def own(self) -> bool:
        """Tell whether layers run once more for it."""
        return self.kind not in ("all", "head")

    @property
    def fresh(self) -> bool:
        """Tell whether its layers begin at the untouched backbone, and its heads anew."""
        return self.kind in ("group-fork", "taught") or (self.kind == "fork" and self.layer == 0)

    @property
    def low_rank(self) -> bool:
        """Tell whether layers are changed by factors of low rank, and not copied."""
        return self.kind in ("adapter", "group")


ALL, HEAD = Way("all"), Way("head")
GROUP, GROUP_FORK = Way("group"), Way("group-fork")
GROUPS = (GROUP, GROUP_FORK)  # in the order of their cost
TAUGHT = Way("taught")


@dataclass(frozen=True)
class Cost:
    """What ways add to a pack: bytes, and encodings of a text when all of its tasks are asked."""

    bytes: int = 0
    encodings: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bytes + other.bytes, self.encodings + other.encodings)

    def within(self, other: Cost) -> bool:
        """Tell whether neither is more than the other's; a rounding of encodings is no more."""
        return self.bytes <= other.bytes and self.encodings <= other.encodings + 1e-9


def ways_of(layers: int) -> list[Way]:
    """Return the ways to try for a task that loses by sharing all, in the order of their cost."""
    own = [(Way("adapter", layer), Way("fork", layer)) for layer in dict.fromkeys(round(s * layers) for s in FORKS)]
    return [HEAD, *(way for pair in own for way in pair)]


def cost_of(way: Way, shape: EncoderShape, rank: int) -> Cost:
    """Return what one way adds: low-rank factors in 16 bits, whole layers in 8, as packs store them."""
    if not way.own:
        return Cost()
    hidden, wide = shape.hidden, shape.intermediate
    outputs = 5 * hidden + wide  # of a layer's six matrices
    if way.low_rank:
        layer = 2 * rank_of(way, rank) * (outputs + 5 * hidden + wide)
    else:
        layer = 4 * hidden**2 + 2 * hidden * wide + 8 * outputs + 16 * hidden  # with scales, biases and norms in fp32
    own = shape.layers - way.layer
    return Cost(own * layer, own / shape.layers)


def rank_of(way: Way, rank: int) -> int:
    """Return the rank of a way's low-rank factors, where those of one task's adapter have `rank`."""
    return GROUP_RANK * rank if way == GROUP else rank
