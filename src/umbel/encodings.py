"""Encodings that are kept: a text read once, asked again and again; a cache of them bounded in bytes.

Knows nothing of how texts are encoded or asked.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from umbel.branch_graph import Kept
from umbel.records import Window

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    """What reading a text gave: its windows, and what is kept of each. Belongs to the model that made it (`maker`)."""

    text: str
    windows: tuple[Window, ...]
    kept: tuple[Kept, ...]
    maker: str

    @cached_property
    def vector(self) -> Floats:
        """The text as a vector of length 1 `[hidden]`: the mean of all its tokens' hidden states."""
        mean = np.concatenate([each.hidden for each in self.kept]).mean(axis=0)
        unit: Floats = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return unit

    @property
    def nbytes(self) -> int:
        """The bytes it takes."""
        return sum(each.nbytes for each in self.kept)


class EncodingCache:
    """Keeps the encodings used last, within a number of bytes; safe to use from several threads.

    The key covers the text and all that its encoding depends on: backbone, adapter and tokenizer, named by `maker`.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.nbytes = most_bytes, 0
        self.hits = self.misses = 0
        self._kept: OrderedDict[str, Encoding] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, maker: str, text: str) -> Encoding | None:
        """Return a text's encoding by this maker, or None."""
        with self._lock:
            key = key_of(maker, text)
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return found

    def put(self, encoding: Encoding) -> None:
        """Keep an encoding, and let go of those unused for longest; one larger than the whole cache is not kept."""
        key, size = key_of(encoding.maker, encoding.text), encoding.nbytes
        with self._lock:
            if size > self.most_bytes or key in self._kept:
                return
            self._kept[key] = encoding
            self.nbytes += size
            while self.nbytes > self.most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.nbytes -= oldest.nbytes

    def __len__(self) -> int:
        return len(self._kept)


def key_of(maker: str, text: str) -> str:
    """Return the SHA-256 that names a text's encoding."""
    return hashlib.sha256(f"{maker}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
