"""A SentencePiece-unigram vocabulary as the model file that the sentencepiece library reads.

Writes the few fields of `sentencepiece_model.proto` that encoding needs, so that neither protobuf nor the original file
is required. Knows nothing of windows and offsets.
"""

from __future__ import annotations

import struct

from umbel.blockfile import Vocabulary

_VARINT, _BYTES, _FLOAT = 0, 2, 5  # wire types
_UNIGRAM = 1
_UNKNOWN, _CONTROL = 2, 3  # types of pieces


def model_file(vocabulary: Vocabulary) -> bytes:
    """Return the serialised model; its normaliser only escapes white space, characters are mapped before."""
    types = {vocabulary.unk: _UNKNOWN} | dict.fromkeys((vocabulary.bos, vocabulary.eos, vocabulary.pad), _CONTROL)
    pieces = (
        _message(1, _piece(text, score, types.get(number, 0))) for number, (text, score) in enumerate(vocabulary.pieces)
    )
    ids = zip((40, 41, 42, 43), (vocabulary.unk, vocabulary.bos, vocabulary.eos, vocabulary.pad), strict=True)
    trainer = _number(3, _UNIGRAM) + b"".join(_number(field, value) for field, value in ids)
    normaliser = _message(1, b"identity") + _number(3, 1) + _number(4, 1) + _number(5, 1)
    return b"".join(pieces) + _message(2, trainer) + _message(3, normaliser)


def _piece(text: str, score: float, kind: int) -> bytes:
    fields = _message(1, text.encode()) + _varint(2 << 3 | _FLOAT) + struct.pack("<f", score)
    return fields + _number(3, kind) if kind else fields


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(body)) + body


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    low = bytearray()
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    low.append(value)
    return bytes(low)
