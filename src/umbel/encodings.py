"""Encodings that are kept: a text read once, asked again and again; a cache of them bounded in bytes.

A text too long for that is read anew, piece by piece, each time it is asked. Knows nothing of how texts are read.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from umbel.branch_graph import Kept
from umbel.records import Window

Floats = NDArray[np.float32]


AT_ONCE = 8  # windows of a long text that are read together
MOST_HELD = 64  # windows: of 512 tokens and the default backbone they take 600 MB

Progress = Callable[[int, int], None]  # how many windows are read, of how many


@dataclass(frozen=True)
class Passing:
    """What is kept of windows, made by `read` a few windows at a time whenever it is gone through, and let go again."""

    windows: Sequence[Window]
    read: Callable[[Sequence[Window]], Iterable[Kept]]
    progress: Progress | None = None

    def __iter__(self) -> Iterator[Kept]:
        for at in range(0, len(self.windows), AT_ONCE):
            yield from self.read(self.windows[at : at + AT_ONCE])
            if self.progress:
                self.progress(min(at + AT_ONCE, len(self.windows)), len(self.windows))


@dataclass(frozen=True)
class Encoding:
    """What reading a text gave: its windows, and what is kept of each. Belongs to the model that made it (`maker`).

    Of more than `MOST_HELD` windows nothing is kept: they are read whenever it is asked, in bounded memory.
    """

    text: str
    windows: tuple[Window, ...]
    kept: tuple[Kept, ...] | Passing
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
        return 0 if isinstance(self.kept, Passing) else sum(each.nbytes for each in self.kept)


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
        """Keep an encoding, and let go of those unused for longest; one larger than the cache is not kept."""
        key, size = key_of(encoding.maker, encoding.text), encoding.nbytes
        with self._lock:
            if not size or size > self.most_bytes or key in self._kept:
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
