"""Reads safetensors files as memory-mapped arrays, so that an embedding table need never be held as fp32.

Knows nothing of models. The safetensors library checks the file; its numpy side lacks bfloat16 and rows by index,
which are read here.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from umbel.errors import BackboneError

Floats = NDArray[np.float32]

_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class StoredMatrix:
    """An array as its file stores it, given out as fp32: all of it, or rows of a matrix `[rows, columns]`."""

    def __init__(self, stored: NDArray[Any], kind: str) -> None:
        self._stored, self._kind = stored, kind
        self.shape: tuple[int, ...] = stored.shape

    def rows(self, indices: NDArray[np.integer[Any]]) -> Floats:
        """Return the rows at `indices` `[...]` as fp32 `[..., columns]`."""
        return self._as_floats(self._stored[indices])

    def dense(self) -> Floats:
        """Return the whole array as fp32; one stored as fp32 stays mapped from disk."""
        return self._as_floats(self._stored)

    def _as_floats(self, stored: NDArray[Any]) -> Floats:
        if self._kind == "BF16":  # the upper half of an fp32
            return (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float32, copy=False)


def read_safetensors(path: Path) -> dict[str, StoredMatrix]:
    """Map every floating-point tensor of the file by name; others are left out.

    Raises:
        BackboneError: the file is not a complete safetensors file.
    """
    try:
        with safe_open(path, "np"):  # the library checks the header against the file's length
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"{path}: not a complete safetensors file ({error})", "fetch it again") from error
    header.pop("__metadata__", None)
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if header else np.empty(0, np.uint8)
    return {name: _map(data, entry) for name, entry in header.items() if entry["dtype"] in _STORED}


def _map(data: NDArray[np.uint8], entry: dict[str, Any]) -> StoredMatrix:
    start, end = entry["data_offsets"]
    stored = np.asarray(data[start:end]).view(_STORED[entry["dtype"]]).reshape(entry["shape"])
    return StoredMatrix(stored, entry["dtype"])
