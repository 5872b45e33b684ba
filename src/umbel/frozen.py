"""A frozen encoder whose hidden states are computed once per window, under a small adapter that trains.

The cheap stand-in for a whole encoder: tasks share the adapter and nothing else that moves. A training over it costs
about a hundredth of one through all layers, so that many can be compared. Knows nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from umbel.backbones.bert import Encoding
from umbel.cache import atomic_write
from umbel.engine import OpenVinoEngine, build_graph

if TYPE_CHECKING:
    from umbel.records import Window
    from umbel.weights import Backbone

WIDTH = 64  # of an adapter's bottleneck
BLOCKS = 2
BATCH_TOKENS = 1024

Half = NDArray[np.float16]


class HiddenStates:
    """The hidden states `[tokens, hidden]` of windows, by their token ids; in 16 bits, about 0.8 kB a token.

    They are scaled to mean 0 and variance 1 in each number over the windows of `prepare`, for the states of an encoder
    of the e5 family differ little between texts.
    """

    def __init__(self, backbone: Backbone, graph: ov.Model | None = None, name: str = "") -> None:
        """Take the backbone; `graph` gives other hidden states of it, say those that enter a layer; `name` them."""
        self.shape, self._backbone, self._graph = backbone.shape, backbone, graph
        self._name = f"{backbone.sha256} {name}".strip()
        self._kept: dict[bytes, Half] = {}
        self.mean = torch.zeros(self.shape.hidden)
        self.scale = torch.ones(self.shape.hidden)

    def __len__(self) -> int:
        return len(self._kept)

    def prepare(self, windows: Iterable[Window], told: Callable[[int], None] = lambda rows: None) -> None:
        """Encode the windows that are not kept yet, and fit the scale to all of these."""
        wanted = self.encode(windows, told)
        sums, squares, count = np.zeros(self.shape.hidden), np.zeros(self.shape.hidden), 0
        for key in wanted:
            states = self._kept[key].astype(np.float64)
            sums, squares, count = sums + states.sum(0), squares + (states**2).sum(0), count + len(states)
        mean = sums / max(count, 1)
        self.mean = torch.tensor(mean, dtype=torch.float32)
        spread = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 1e-12))
        self.scale = torch.tensor(spread, dtype=torch.float32)

    def encode(self, windows: Iterable[Window], told: Callable[[int], None] = lambda rows: None) -> list[bytes]:
        """Encode the windows that are not kept yet; return the names of all of these."""
        wanted = {_key(window.ids): window.ids for window in windows}
        missing = sorted((ids for key, ids in wanted.items() if key not in self._kept), key=len)
        for batch in _batches(missing):
            self._encode(batch)
            told(len(batch))
        return list(wanted)

    def of(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return scaled hidden states `[batch, tokens, hidden]` of right-padded ids, zero where padded."""
        lengths = mask.sum(1).tolist()
        rows = [row[:length] for row, length in zip(ids.numpy().astype(np.int32), lengths, strict=True)]
        missing = [row for row in rows if _key(row) not in self._kept]
        for batch in _batches(missing):
            self._encode(batch)
        found = np.zeros((*ids.shape, self.shape.hidden), np.float16)
        for place, row in enumerate(rows):
            found[place, : len(row)] = self._kept[_key(row)]
        return (torch.from_numpy(found).float() - self.mean) / self.scale * mask[..., None]

    def _encode(self, batch: Sequence[NDArray[np.int32]]) -> None:
        ids = np.zeros((len(batch), max(map(len, batch))), np.int64)
        for place, row in enumerate(batch):
            ids[place, : len(row)] = row
        lengths = np.array([len(row) for row in batch], np.int32)
        hidden = self._engine.encode(self._backbone.embedding.rows(ids), lengths)
        for place, row in enumerate(batch):
            self._kept[_key(row)] = hidden[place, : len(row)].astype(np.float16)

    @cached_property
    def _engine(self) -> OpenVinoEngine:
        """The runtime's engine: it encodes several times as fast as the training engine."""
        graph = self._graph or build_graph(self.shape, self._backbone.tensors)
        return OpenVinoEngine(graph, threads=torch.get_num_threads())

    def save(self, path: Path) -> None:
        """Keep all states in one file.

        Raises:
            CacheError: it cannot be written.
        """
        keys = list(self._kept)
        ids = [np.frombuffer(key, np.int32) for key in keys]
        tensors: dict[str, NDArray[np.generic]] = {
            "ids": np.concatenate(ids),
            "lengths": np.array([len(each) for each in ids], np.int64),
            "states": np.concatenate([self._kept[key] for key in keys]),
        }
        with atomic_write(path) as draft:
            save_file(tensors, draft, {"backbone": self._name})

    def restore(self, path: Path) -> None:
        """Take the states of a file that `save` wrote; one that is not there, or of another backbone, gives none."""
        if not path.exists():
            return
        try:
            with safe_open(path, "np") as file:
                if (file.metadata() or {}).get("backbone") != self._name:
                    return
                places = np.cumsum(file.get_tensor("lengths"))[:-1]
                ids, states = (np.split(file.get_tensor(name), places) for name in ("ids", "states"))
        except (OSError, SafetensorError):  # what a crash left behind is made again
            return
        self._kept.update(zip(map(_key, ids), states, strict=True))


class Bottleneck(nn.Module):
    """`x + up(gelu(down(x)))` (Houlsby et al. 2019); starts as the identity."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return hidden states of the same shape."""
        update: Tensor = self.up(functional.gelu(self.down(hidden)))
        return hidden + update


class FrozenEncoder(nn.Module):
    """What `MultiTaskModel` asks of an encoder, over kept hidden states: only the `blocks` train.

    It has no keys and values, so that no questions can be asked of it.
    """

    def __init__(self, states: HiddenStates, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.states, self.shape = states, states.shape
        self.blocks = nn.ModuleList(Bottleneck(self.shape.hidden, width) for _ in range(blocks))

    def encode(self, ids: Tensor, mask: Tensor) -> Encoding:
        """Return the adapted hidden states, without keys and values."""
        hidden = self.states.of(ids, mask)
        for block in self.blocks:
            hidden = block(hidden)
        return Encoding(hidden, mask, ())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the adapted hidden states `[batch, tokens, hidden]`."""
        return self.encode(ids, mask).hidden


def _key(ids: NDArray[np.int32]) -> bytes:
    return np.ascontiguousarray(ids, np.int32).tobytes()


def _batches(rows: Sequence[NDArray[np.int32]]) -> Iterable[list[NDArray[np.int32]]]:
    """Yield rows, which come sorted by length, in batches of at most `BATCH_TOKENS` tokens."""
    batch: list[NDArray[np.int32]] = []
    for row in sorted(rows, key=len):
        if batch and (len(batch) + 1) * len(row) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
