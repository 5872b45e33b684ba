"""Detached tasks: upper layers of their own, read from what the shared lower layers gave; knows nothing of packs.

The lower layers run once, whoever forks where; a fork that several tasks have together runs once for them. A fork's
engine is given the same hidden states in the same batches as the shared layers are, so that a detached task's answer
has the same bits beside any others, and theirs beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from umbel.engine import Engine, Floats


class Forks:
    """The forks of a pack: `layers` says above which layers each task's are its own, `engines` run them."""

    def __init__(self, layers: Mapping[str, int], engines: Mapping[str, Engine]) -> None:
        self.layers, self._engines = dict(layers), dict(engines)
        self._places = {layer: place for place, layer in enumerate(levels(layers.values()))}

    def read(self, lower: Sequence[Floats], lengths: NDArray[np.int32], tasks: Collection[str]) -> dict[str, Floats]:
        """Return the hidden states `[batch, tokens, hidden]` of each of the tasks that is detached.

        `lower` are what enters the layers named by `levels`, in that order.
        """
        wanted = {task: self._engines[task] for task in self.layers if task in tasks}
        places = {engine: self._places[self.layers[task]] for task, engine in wanted.items()}
        states = {engine: engine.encode(lower[place], lengths) for engine, place in places.items()}
        return {task: states[engine] for task, engine in wanted.items()}


def levels(layers: Collection[int]) -> list[int]:
    """Return the layers that some task forks at, from the lowest, each once: what a graph is to give."""
    return sorted(set(layers))
