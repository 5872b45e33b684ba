"""What trained tasks say of their train rows, kept in files and read again as teachers of a joint training.

A teacher's logits stand beside the gold answer of the same row. Early in a training the teacher's probabilities are
the target, later the gold answer takes over: teacher annealing (BAM, Clark et al. 2019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from umbel.cache import atomic_write
from umbel.errors import InputError

if TYPE_CHECKING:
    from umbel.records import Example

Floats = NDArray[np.float32]


def write_teacher(folder: Path, task: str, rows: Mapping[str, tuple[Sequence[Example], Sequence[Floats]]]) -> Path:
    """Keep a task's logits on the train rows of each source, in 16 bits, in `folder`; return the file.

    Raises:
        CacheError: it cannot be written.
    """
    path = folder / f"{task}.safetensors"
    tensors: dict[str, NDArray[np.generic]] = {}
    for source, (_, logits) in rows.items():
        tensors[f"{source}/logits"] = np.concatenate([np.atleast_2d(each) for each in logits]).astype(np.float16)
        tensors[f"{source}/rows"] = np.array([len(np.atleast_2d(each)) for each in logits], np.int32)
    names = {source: texts_hash(task, examples) for source, (examples, _) in rows.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, names)
    return path


def read_teacher(folder: Path, task: str, train: Mapping[str, Sequence[Example]]) -> dict[str, list[Floats]] | None:
    """Return a task's kept logits by source, for the rows that answer it, in order; None where it has no teacher.

    Raises:
        InputError: the file is damaged, or was made of other rows.
    """
    path = folder / f"{task}.safetensors"
    if not path.exists():
        return None
    found: dict[str, list[Floats]] = {}
    try:
        with safe_open(path, "np") as file:
            names = file.metadata() or {}
            for source, examples in train.items():
                if any(task in example.golds for example in examples):
                    _check(path, source, names.get(source), texts_hash(task, examples))
                    starts = np.cumsum(file.get_tensor(f"{source}/rows"))[:-1]
                    found[source] = np.split(file.get_tensor(f"{source}/logits").astype(np.float32), starts)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {error}", "make the teacher again") from error
    return found


def _check(path: Path, source: str, found: str | None, expected: str) -> None:
    if found != expected:
        what = "no rows of it" if found is None else "other rows"
        raise InputError(f"{path}: {source}: holds {what}", "make the teacher again on the same data and settings")


def texts_hash(task: str, examples: Sequence[Example]) -> str:
    """Name the rows that answer a task, in their order."""
    texts = "\0".join(example.text for example in examples if task in example.golds)
    return hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest()
