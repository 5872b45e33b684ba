"""Keeps a training's state in one file, written atomically, so that a killed training goes on where it was."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from umbel.errors import InputError

FILE, BEST = "checkpoint.safetensors", "best.safetensors"
_STATE = ("step", "exp_avg", "exp_avg_sq")  # a head counts only the steps that trained it


@dataclass
class Progress:
    """Where a training stands: the next batch of the plan, and what evaluation has said so far.

    `losses` are running means by task; `history` holds one record per evaluation; `best_mean` is the best mean score,
    where the best weights are kept; `turns` are rounds from which on other shares hold (`balance.Plan`);
    `best` maps a task to its best dev score and the evaluation that gave it; `stopped` lists the tasks that early
    stopping ended, with the round from which they are left out; `combining` is what weighing tasks has learnt.
    """

    declaration: str
    round: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0
    seconds: float = 0.0
    evaluated: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    stopped: dict[str, int] = field(default_factory=dict)
    combining: dict[str, Any] = field(default_factory=dict)
    turns: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    best_mean: float | None = None


def save(folder: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of model, optimizer and progress to `folder`, replacing the one before at once.

    It is the place, too, where memory that steps have freed is given back to the system.

    Raises:
        InputError: it cannot be written; the state before is kept.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tensors[f"model/{name}"] = parameter.detach()
        for key in _STATE if parameter in optimizer.state else ():
            tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
    _write(folder, FILE, tensors, {"progress": json.dumps(asdict(progress))})
    _give_back()


def _give_back() -> None:
    """Give freed memory back: of tensors of many sizes glibc keeps gigabytes (docs/log.md, "Memory that was freed")."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def save_best(folder: Path, model: nn.Module) -> None:
    """Keep the weights of the best evaluation so far in a file of their own.

    Raises:
        InputError: it cannot be written; the file before is kept.
    """
    trained = {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}
    _write(folder, BEST, trained, {})


def restore_best(folder: Path, model: nn.Module) -> None:
    """Give the model the weights of the best evaluation.

    Raises:
        InputError: they cannot be read.
    """
    path = folder / BEST
    try:
        with safe_open(path, "pt") as file:
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.data.copy_(file.get_tensor(name))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {error}", "start anew with --restart") from error


def _write(folder: Path, name: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    draft = folder / f"{name}.tmp"  # one name: what a kill leaves behind is overwritten
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft, metadata)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut could leave the new name on nothing
        os.replace(draft, folder / name)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        hint = "make room and run again to go on from the last save, or choose another --out"
        raise InputError(f"{folder / name}: the training cannot be saved: {error}", hint) from error


def restore(folder: Path, declaration: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Load the state in `folder` into model and optimizer, or return the start where there is none.

    Raises:
        InputError: the state is of another declaration, or cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return Progress(declaration)
    try:
        with safe_open(path, "pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            if progress.declaration == declaration:
                _load(file, progress, model, optimizer)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}", "start anew with --restart") from error
    if progress.declaration != declaration:
        raise InputError(
            f"{path}: belongs to another declaration or other data than the one given",
            "undo the change, choose another --out, or start anew with --restart",
        )
    return progress


def _load(file: Any, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy the file's tensors; one saved without the steps of single parameters counts all steps for each."""
    names = set(file.keys())
    for name, parameter in model.named_parameters():
        if f"model/{name}" not in names:
            continue
        parameter.data.copy_(file.get_tensor(f"model/{name}"))
        state = {key: file.get_tensor(f"{key}/{name}") for key in _STATE if f"{key}/{name}" in names}
        if state:
            optimizer.state[parameter] = {"step": torch.tensor(float(progress.step))} | state
