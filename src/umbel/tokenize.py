"""Turns text into windows of token ids with offsets, and nothing else; needs no torch.

Two sources of a vocabulary: the SentencePiece-unigram vocabulary of a block file, whose normaliser is a map of
characters, and a hub `tokenizer.json`. Offsets always refer to the text as it was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer as HubTokenizer, models, pre_tokenizers

from umbel.blockfile import Vocabulary
from umbel.errors import BackboneError
from umbel.records import Window

OVERLAP = 4  # neighbouring windows share a quarter of their tokens
METASPACE = "▁"
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


class _Normaliser:
    """Maps characters as SentencePiece does, and leads offsets in the mapped text back to the given one."""

    def __init__(self, table: dict[int, str]) -> None:
        self.table = table
        self.resizing = {code for code, value in table.items() if len(value) != 1}

    def apply(self, text: str) -> tuple[str, NDArray[np.int32] | None]:
        """Return the mapped text and the origin of each of its characters `[characters + 1]`, None for the same."""
        mapped = text.translate(self.table)
        if self.resizing.isdisjoint(map(ord, text)):
            return mapped, None
        lengths = [len(self.table.get(ord(character), "x")) for character in text]
        origins = np.repeat(np.arange(len(text), dtype=np.int32), lengths)
        return mapped, np.append(origins, np.int32(len(text)))


class Tokenizer:
    """Cuts texts into windows of at most `max_tokens` tokens, special tokens included."""

    def __init__(
        self,
        tokenizer: HubTokenizer,
        special: tuple[int, int, int],
        max_tokens: int,
        normaliser: dict[int, str] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.first, self.last, self.pad = special
        self.max_tokens = max_tokens
        self._normaliser = _Normaliser(normaliser or {})

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary, max_tokens: int = 512) -> Tokenizer:
        """Build the tokenizer of a block file's vocabulary."""
        pieces = list(zip(vocabulary.pieces, vocabulary.scores, strict=True))
        tokenizer = HubTokenizer(models.Unigram(pieces, unk_id=vocabulary.unk, byte_fallback=False))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
        )
        special = (vocabulary.bos, vocabulary.eos, vocabulary.pad)
        return cls(tokenizer, special, max_tokens, vocabulary.normaliser)

    @classmethod
    def from_file(cls, path: Path, max_tokens: int = 512) -> Tokenizer:
        """Read a hub `tokenizer.json`.

        Raises:
            BackboneError: the file cannot be read, or does not put one special token at either end.
        """
        try:
            tokenizer = HubTokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BackboneError(f"{path}: not a readable tokenizer.json ({error})") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ends = tokenizer.encode("").ids
        if len(ends) != 2:
            raise BackboneError(f"{path}: found {len(ends)} special tokens around a text, expected one at either end")
        pad = next((i for name in ("<pad>", "[PAD]") if (i := tokenizer.token_to_id(name)) is not None), 0)
        return cls(tokenizer, (ends[0], ends[1], pad), max_tokens)

    @property
    def sha256(self) -> str:
        """Name the vocabulary and its rules by a hash."""
        table = sorted(self._normaliser.table.items())
        return hashlib.sha256((self._tokenizer.to_str() + repr(table)).encode()).hexdigest()

    def windows(self, text: str, max_tokens: int | None = None) -> list[Window]:
        """Cut one text into windows: one when it fits, else overlapping ones; blank text gives one empty window."""
        return self.windows_many([text], max_tokens)[0]

    def windows_many(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[Window]]:
        """Cut each text into windows. Lone surrogates are read as U+FFFD."""
        size = min(max_tokens or self.max_tokens, self.max_tokens) - 2
        mapped = [self._normaliser.apply(text.translate(_SURROGATES)) for text in texts]
        encodings = self._tokenizer.encode_batch([text for text, _ in mapped], add_special_tokens=False)
        return [
            self._cut(encoding, origins, size) for encoding, (_, origins) in zip(encodings, mapped, strict=True)
        ]

    def _cut(self, encoding: Encoding, origins: NDArray[np.int32] | None, size: int) -> list[Window]:
        ids = np.array(encoding.ids, np.int32)
        offsets = _offsets(encoding, origins)
        step = size - size // OVERLAP
        starts = range(0, max(len(ids) - size, 0) + step, step)
        return [self._window(ids[start : start + size], offsets[start : start + size], start) for start in starts]

    def _window(self, ids: NDArray[np.int32], offsets: NDArray[np.int32], start: int) -> Window:
        ids = np.concatenate([[self.first], ids, [self.last]]).astype(np.int32)
        return Window(ids, np.pad(offsets, ((1, 1), (0, 0))), start)


def _offsets(encoding: Encoding, origins: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """Return `[tokens, 2]` in the given text; a lone metaspace covers nothing."""
    offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
    lone = np.array([token == METASPACE for token in encoding.tokens], bool)
    offsets[lone, 1] = offsets[lone, 0]
    if origins is None:
        return offsets
    starts, ends = origins[offsets[:, 0]], origins[np.maximum(offsets[:, 1] - 1, 0)] + 1  # the last character's end
    return np.stack([starts, np.where(lone, starts, ends)], axis=1)
