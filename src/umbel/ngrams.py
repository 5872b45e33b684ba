"""A text's character n-grams, and what a task reads off them beside the encoding; in numpy.

An encoder of subwords learns what words mean; a linear map of n-grams learns which names and turns of phrase go with
which label, and the two err in different places (Cheng et al. 2016, Wide & Deep Learning; docs/log.md). The text is
read as `NFKC` in lower case. An n-gram is known by a hash of 32 bits, equal on every machine; features are
`(1 + log count) * idf`, scaled to length 1. Knows nothing of encodings, packs and training.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint32]

_FACTOR, _HALF, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(29)


def counted(text: str, longest: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Return the hashes of a text's n-grams of 1 to `longest` characters, each once and sorted, and their counts."""
    normal = unicodedata.normalize("NFKC", text).lower()
    points = np.frombuffer(normal.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    hashes = np.zeros(len(points), np.uint64)
    found = []
    for size in range(1, min(longest, len(points)) + 1):
        hashes = (hashes[: len(points) - size + 1] + points[size - 1 :] + np.uint64(1)) * _FACTOR  # modulo 2**64
        hashes ^= hashes >> _SHIFT
        found.append((hashes ^ (hashes >> _HALF)).astype(np.uint32))
    return np.unique(np.concatenate(found or [np.zeros(0, np.uint32)]), return_counts=True)


@dataclass(frozen=True)
class Vocabulary:
    """The n-grams that a task knows: sorted hashes `keys` `[n-grams]`, and `idf` `[n-grams]`."""

    keys: Hashes
    idf: Floats

    def features(self, hashes: Hashes, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
        """Return the places of those of a text's n-grams that are known, and their features, of length 1 together."""
        places = np.minimum(np.searchsorted(self.keys, hashes), len(self.keys) - 1)
        known = self.keys[places] == hashes
        places = places[known]
        values = (1 + np.log(counts[known])).astype(np.float32) * self.idf[places]
        length = np.sqrt(np.vecdot(values, values))
        return places, values / length if length else values


@dataclass(frozen=True)
class Ngrams:
    """What a task's n-grams of up to `longest` characters add to its logits: `weight` `[n-grams, labels]`, `bias`.

    Weights are `as_stored`, in 32 bits: of many labels they would take longer to convert than to find.
    """

    longest: int
    vocabulary: Vocabulary
    weight: Floats
    bias: Floats

    def logits(self, hashes: Hashes, counts: NDArray[np.int64]) -> Floats:
        """Return what to add to the logits `[labels]` of a text with these n-grams (`counted`)."""
        places, values = self.vocabulary.features(hashes, counts)
        found: Floats = np.einsum("n,nl->l", values, self.weight[places]) + self.bias
        return found

    def of(self, text: str) -> Floats:
        """Return what to add to a text's logits `[labels]`."""
        return self.logits(*counted(text, self.longest))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays as a pack stores them."""
        idf, weight = (values.astype(np.float16) for values in (self.vocabulary.idf, self.weight))
        return {"keys": self.vocabulary.keys, "idf": idf, "weight": weight, "bias": self.bias}


def as_stored(values: NDArray[Any]) -> Floats:
    """Return values rounded to the 16 bits that a pack keeps of them."""
    return values.astype(np.float16).astype(np.float32)


def ngrams_of(longest: int, tensors: dict[str, NDArray[Any]], labels: int) -> Ngrams:
    """Return n-grams from stored arrays.

    Raises:
        ValueError: they are not those of a task with so many labels.
    """
    known = len(tensors.get("keys", ()))
    wanted = {"keys": (known,), "idf": (known,), "weight": (known, labels), "bias": (labels,)}
    if not known or {name: value.shape for name, value in tensors.items()} != wanted:
        raise ValueError("not the n-grams of a task with these labels")
    vocabulary = Vocabulary(tensors["keys"], tensors["idf"].astype(np.float32))
    return Ngrams(longest, vocabulary, tensors["weight"].astype(np.float32), tensors["bias"])
