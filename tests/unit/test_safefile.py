"""Reading safetensors as mapped arrays, against the safetensors library."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from umbel.errors import BackboneError
from umbel.safefile import read_safetensors

VALUES = np.random.default_rng(3).normal(size=(7, 4)).astype(np.float32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 0.0), (np.float16, 1e-3)])
def test_rows_and_the_whole_are_as_written(tmp_path: Path, dtype: type, tolerance: float) -> None:
    save_file({"matrix": VALUES.astype(dtype), "ids": np.arange(3)}, tmp_path / "a.safetensors")
    stored = read_safetensors(tmp_path / "a.safetensors")
    assert set(stored) == {"matrix"}  # whole numbers are no weights
    np.testing.assert_allclose(stored["matrix"].dense(), VALUES, rtol=tolerance)
    indices = np.array([[0, 6], [3, 3]])
    rows = stored["matrix"].rows(indices)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, VALUES[indices], rtol=tolerance)  # [2, 2, columns]


def test_bfloat16_is_the_upper_half_of_fp32(tmp_path: Path) -> None:
    halves = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    entry = {"dtype": "BF16", "shape": [7, 4], "data_offsets": [0, halves.nbytes]}
    header = json.dumps({"matrix": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + halves.tobytes())
    stored = read_safetensors(tmp_path / "a.safetensors")["matrix"]
    np.testing.assert_allclose(stored.dense(), VALUES, rtol=1e-2)
    np.testing.assert_array_equal(stored.rows(np.array([2])), stored.dense()[[2]])


def test_the_whole_of_fp32_stays_on_disk(tmp_path: Path) -> None:
    save_file({"matrix": VALUES}, tmp_path / "a.safetensors", metadata={"format": "np"})
    assert not read_safetensors(tmp_path / "a.safetensors")["matrix"].dense().flags.owndata


def test_a_file_without_tensors_is_empty(tmp_path: Path) -> None:
    save_file({}, tmp_path / "a.safetensors")
    assert read_safetensors(tmp_path / "a.safetensors") == {}


def test_damaged_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"matrix": VALUES}, path)
    whole = path.read_bytes()
    for damage in (b"", whole[:5], whole[:-1], b"\xff" * 40, whole + b"x"):
        path.write_bytes(damage)
        with pytest.raises(BackboneError, match=r"a\.safetensors: not a complete safetensors file"):
            read_safetensors(path)
    path.unlink()
    with pytest.raises(BackboneError, match=r"a\.safetensors: not a complete"):
        read_safetensors(path)
