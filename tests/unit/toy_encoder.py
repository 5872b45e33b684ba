"""An encoder of an index that needs no model: a text's vector counts its words, a token is a word or Han character."""

from __future__ import annotations

import re
from zlib import crc32

import numpy as np

from umbel.retrieval.encoder import Maker

HIDDEN = 64
TOKEN = re.compile(r"[\u4e00-\u9fff]|\w+|[^\w\s]")


def token_starts(text: str) -> np.ndarray:
    return np.array([found.start() for found in TOKEN.finditer(text)], np.int32)


class ToyEncoder:
    """`made` are the texts that were made into vectors."""

    longest = 100

    def __init__(self, adapter: str = "a" * 64) -> None:
        self.maker = Maker("toy", "1.0", "b" * 64, adapter, "c" * 64)
        self.made: list[str] = []

    def vectors(self, texts):
        self.made += texts
        vectors = np.full((len(texts), HIDDEN), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in TOKEN.findall(text.lower()):
                vectors[row, crc32(word.encode()) % HIDDEN] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    token_starts = staticmethod(token_starts)
