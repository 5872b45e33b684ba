"""What an index needs of a pack: vectors of texts, where their tokens begin, and what the vectors depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from umbel.errors import PackError
from umbel.manifest import VECTORS
from umbel.pack import find_pack, shipped
from umbel.records import VectorPrediction
from umbel.windows import joined_offsets

if TYPE_CHECKING:
    from umbel.runtime import Model

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Maker:
    """What vectors come from: `pack` is a shipped pack's name or a folder; vectors depend on the hashes alone.

    `map` is that of the map they are read through, if any.
    """

    pack: str
    version: str
    backbone: str
    adapter: str
    tokenizer: str
    map: str = ""

    @property
    def hashes(self) -> tuple[str, str, str, str]:
        """The hashes of backbone, adapter, tokenizer and map: vectors of equal ones can be compared."""
        return self.backbone, self.adapter, self.tokenizer, self.map

    def __str__(self) -> str:
        adapter = f"adapter {self.adapter[:8]}" if self.adapter else "no adapter"
        parts = [f"backbone {self.backbone[:8]}", adapter, f"tokenizer {self.tokenizer[:8]}"]
        parts += [f"map {self.map[:8]}"] if self.map else []
        return f"pack {self.pack} {self.version} ({', '.join(parts)})"


class Encoder(Protocol):
    """Makes the vectors of an index; `longest` is the most tokens that it reads at once."""

    maker: Maker
    longest: int

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return vectors of length 1 for passages or queries `[texts, hidden]`."""

    def token_starts(self, text: str) -> NDArray[np.int32]:
        """Return the offsets at which the text's tokens begin `[tokens]`."""


class PackEncoder:
    """Makes vectors with a pack's task of kind feature-extraction.

    Raises:
        PackError: the pack has no such task.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.task = next((name for name, task in model.tasks.items() if task.kind == VECTORS), "")
        manifest = model.pack.manifest
        if not self.task:
            raise PackError(
                f"{manifest.name}: the pack gives no vectors", f"add a task of kind {VECTORS}, or take base"
            )
        self.maker = Maker(_name_of(model), manifest.version, *model.vector_hashes)
        self.longest = model.tokenizer.max_tokens - 2

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return vectors of length 1 for passages or queries `[texts, hidden]`."""
        predictions = [result[self.task] for result in self.model(texts, [self.task])]
        return np.stack([each.vector for each in predictions if isinstance(each, VectorPrediction)])

    def token_starts(self, text: str) -> NDArray[np.int32]:
        """Return the offsets at which the text's tokens begin `[tokens]`."""
        return joined_offsets(self.model.tokenizer.windows(text))[:, 0]


def _name_of(model: Model) -> str:
    """Return how to find the model's pack again."""
    name, folder = model.pack.manifest.name, model.pack.folder
    return name if name in shipped() and find_pack(name) == folder else str(folder.absolute())
