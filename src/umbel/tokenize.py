"""Turns text into windows of token ids with offsets, and nothing else; needs no torch.

Two sources of a vocabulary: the SentencePiece-unigram vocabulary of a block file, read by the sentencepiece library,
whose normaliser is a map of characters, and a hub `tokenizer.json`, read by the tokenizers library. Offsets always
refer to the text as it was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from umbel.errors import BackboneError, MissingExtraError
from umbel.records import Window

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HubLibraryTokenizer

OVERLAP = 4  # neighbouring windows share a quarter of their tokens
METASPACE = "▁"
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)

Ints = NDArray[np.int32]
Pieces = tuple[Ints, Ints]  # ids [tokens], offsets [tokens, 2] without special tokens


class Cutter(Protocol):
    """Cuts texts without lone surrogates into pieces."""

    def cut(self, texts: Sequence[str]) -> list[Pieces]:
        """Return each text's token ids and offsets; a token that covers nothing has an empty offset."""

    def describe(self) -> bytes:
        """Return what names the vocabulary and its rules, to be hashed."""


class SentencePieces:
    """Cuts by a SentencePiece model, after mapping characters by a table as its normaliser does."""

    def __init__(self, model: bytes, table: Mapping[int, str]) -> None:
        self._model, self._table = model, dict(table)
        self._processor = SentencePieceProcessor.from_proto(model)
        self._resizing = {code for code, value in table.items() if len(value) != 1}

    def cut(self, texts: Sequence[str]) -> list[Pieces]:
        """Return each text's token ids and offsets."""
        mapped = [text.translate(self._table) for text in texts]
        # One by one: for a list the library starts threads, each time anew (docs/log.md).
        found = [self._processor.encode_as_offset_mapping(text) for text in mapped]
        return [self._pieces(*row) for row in zip(texts, mapped, found, strict=True)]

    def describe(self) -> bytes:
        """Return the model and the table."""
        return self._model + repr(sorted(self._table.items())).encode()

    def _pieces(self, text: str, mapped: str, found: Mapping[str, list[object]]) -> Pieces:
        ids = np.array(found["ids"], np.int32)
        offsets = np.array(found["offsets"], np.int32).reshape(-1, 2)
        spaced = [str(piece)[:1] == METASPACE for piece in found["pieces"]]
        begins = _after_spaces(mapped)[offsets[:, 0]]  # a word's piece begins with the space before it
        offsets[:, 0] = np.where(spaced, np.minimum(begins, offsets[:, 1]), offsets[:, 0])
        origins = self._origins(text)
        if origins is None:
            return ids, offsets
        starts, ends = origins[offsets[:, 0]], origins[np.maximum(offsets[:, 1] - 1, 0)] + 1  # the last one's end
        return ids, np.stack([starts, np.where(offsets[:, 1] > offsets[:, 0], ends, starts)], axis=1)

    def _origins(self, text: str) -> Ints | None:
        """Return where each mapped character came from `[characters + 1]`, None where nothing moved."""
        if self._resizing.isdisjoint(map(ord, text)):
            return None
        lengths = [len(self._table.get(ord(character), "x")) for character in text]
        return np.append(np.repeat(np.arange(len(text), dtype=np.int32), lengths), np.int32(len(text)))


def _after_spaces(text: str) -> Ints:
    """Return for each place `[characters + 1]` the first one from there on that holds no space."""
    places = np.arange(len(text) + 1, dtype=np.int32)
    spaces = np.frombuffer((text + "\0").encode("utf-32-le", "surrogatepass"), np.uint32) == ord(" ")
    return np.minimum.accumulate(np.where(spaces, len(text), places)[::-1])[::-1]


class HubPieces:
    """Cuts by a hub `tokenizer.json`."""

    def __init__(self, tokenizer: HubLibraryTokenizer) -> None:
        self._tokenizer = tokenizer

    def cut(self, texts: Sequence[str]) -> list[Pieces]:
        """Return each text's token ids and offsets."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [(np.array(e.ids, np.int32), self._offsets(e.tokens, e.offsets)) for e in found]

    def describe(self) -> bytes:
        """Return the whole `tokenizer.json`."""
        return self._tokenizer.to_str().encode()

    def _offsets(self, tokens: Sequence[str], offsets: Sequence[tuple[int, int]]) -> Ints:
        """Return offsets `[tokens, 2]`; a lone metaspace covers nothing."""
        found = np.array(offsets, np.int32).reshape(-1, 2)
        lone = np.array([token == METASPACE for token in tokens], bool)
        found[lone, 1] = found[lone, 0]
        return found


class Tokenizer:
    """Cuts texts into windows of at most `max_tokens` tokens, special tokens included."""

    def __init__(self, cutter: Cutter, special: tuple[int, int, int], max_tokens: int) -> None:
        self._cutter = cutter
        self.first, self.last, self.pad = special
        self.max_tokens = max_tokens

    @classmethod
    def from_file(cls, path: Path, max_tokens: int = 512) -> Tokenizer:
        """Read a hub `tokenizer.json`.

        Raises:
            BackboneError: the file cannot be read, or does not put one special token at either end.
            MissingExtraError: the tokenizers library is not installed.
        """
        try:
            from tokenizers import Tokenizer as HubLibraryTokenizer  # only these backbones need it
        except ImportError as error:
            raise MissingExtraError("tokenizers", "hub") from error
        try:
            tokenizer = HubLibraryTokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BackboneError(f"{path}: not a readable tokenizer.json ({error})") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ends = tokenizer.encode("").ids
        if len(ends) != 2:
            raise BackboneError(f"{path}: found {len(ends)} special tokens around a text, expected one at either end")
        pad = next((i for name in ("<pad>", "[PAD]") if (i := tokenizer.token_to_id(name)) is not None), 0)
        return cls(HubPieces(tokenizer), (ends[0], ends[1], pad), max_tokens)

    @property
    def sha256(self) -> str:
        """Name the vocabulary and its rules by a hash."""
        return hashlib.sha256(self._cutter.describe()).hexdigest()

    def windows(self, text: str, max_tokens: int | None = None) -> list[Window]:
        """Cut one text into windows: one when it fits, else overlapping ones; blank text gives one empty window."""
        return self.windows_many([text], max_tokens)[0]

    def windows_many(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[Window]]:
        """Cut each text into windows. Lone surrogates are read as U+FFFD."""
        size = min(max_tokens or self.max_tokens, self.max_tokens) - 2
        cut = self._cutter.cut([text.translate(_SURROGATES) for text in texts])
        return [self._windows(ids, offsets, size) for ids, offsets in cut]

    def _windows(self, ids: Ints, offsets: Ints, size: int) -> list[Window]:
        step = size - size // OVERLAP
        starts = range(0, max(len(ids) - size, 0) + step, step)
        return [self._window(ids[start : start + size], offsets[start : start + size], start) for start in starts]

    def _window(self, ids: Ints, offsets: Ints, start: int) -> Window:
        whole, places = np.empty(len(ids) + 2, np.int32), np.zeros((len(ids) + 2, 2), np.int32)
        whole[0], whole[1:-1], whole[-1] = self.first, ids, self.last
        places[1:-1] = offsets
        return Window(whole, places, start)
