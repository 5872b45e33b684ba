"""A decoder that scores a text's questions and their options in one pass, by the graph of `bench/_decoder_graph.py`.

For measurements alone: it reads several times faster than llama.cpp, rounds otherwise, and keeps nothing. Tokens and
the chat template are still llama.cpp's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umbel.catalogue import pull
from umbel.decoderfile import read_decoder
from umbel.decoding.base import Floats, Prefix, Stem, Tokens
from umbel.decoding.load import load_decoder
from umbel.decoding.scores import chosen

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from _decoder_graph import GraphDecoder  # type: ignore[import-not-found]

NOTHING = np.zeros(0, np.float32)


class PackedDecoder:
    """Answers `keep` and `score` as a decoder does; a stem needs at least one token."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._words = load_decoder(name, threads, context=1024)
        self._graph = GraphDecoder(read_decoder(pull(name)), "bfloat16", threads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._words, name)

    def keep(self, tokens: Tokens, seconds: float | None = None) -> Prefix:
        """Return the prefix, which is read when it is scored."""
        return Prefix(tuple(tokens), NOTHING)

    def score(self, prefix: Prefix, stems: Sequence[Stem], adapter: str | None = None) -> list[list[Floats]]:
        """Return for each stem's leaves the log-probability of each of its tokens."""
        tree = Tree(prefix.tokens)
        asked = []
        for stem in stems:
            last = tree.grow(stem.tokens, tree.trunk)
            asked.append([(leaf, [last, *tree.grow_path(leaf[:-1], last)]) for leaf in stem.leaves])
        wanted = [place for leaves in asked for _, path in leaves for place in path]
        logits = self._graph.read_tree(tree.tokens, np.array(tree.places), tree.sees(), wanted)
        rows = iter(logits)
        return [[_scores(leaf, [next(rows) for _ in path]) for leaf, path in leaves] for leaves in asked]


def _scores(leaf: Tokens, logits: Sequence[Floats]) -> Floats:
    following = np.stack(logits[1:]) if len(logits) > 1 else np.zeros((0, len(logits[0])), np.float32)
    return chosen(logits[0], following, leaf)


class Tree:
    """Tokens that each attend to their ancestors; the trunk is a chain."""

    def __init__(self, trunk: Tokens) -> None:
        self.tokens = list(trunk)
        self.parents = list(range(-1, len(trunk) - 1))
        self.places = list(range(len(trunk)))
        self.trunk = len(trunk) - 1

    def grow(self, tokens: Tokens, parent: int) -> int:
        """Add a chain under a token and return its last one."""
        return self.grow_path(tokens, parent)[-1]

    def grow_path(self, tokens: Tokens, parent: int) -> list[int]:
        """Add a chain under a token and return where its tokens stand."""
        path = []
        for token in tokens:
            self.tokens.append(token)
            self.parents.append(parent)
            self.places.append(self.places[parent] + 1)
            parent = len(self.tokens) - 1
            path.append(parent)
        return path

    def sees(self) -> np.ndarray:
        """Return what each token attends to: itself and its ancestors `[tokens, tokens]`."""
        found = np.eye(len(self.tokens), dtype=bool)
        for place, parent in enumerate(self.parents):
            if parent >= 0:
                found[place] |= found[parent]
        return found
