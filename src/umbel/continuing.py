"""Lets a training begin with a pack's weights in place of the backbone's, and end half-way to one. Needs torch.

`start:` and `average-with:` of a declaration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from umbel import adapters
from umbel.errors import InputError
from umbel.pack import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from umbel.model import MultiTaskModel
    from umbel.pack import Pack
    from umbel.records import Task
    from umbel.weights import Backbone


def folder_of(name: str, folder: Path) -> Path | str:
    """Return the pack that a declaration in `folder` names: one beside it, else a path or a shipped pack's name."""
    beside = folder / name
    return beside if (beside / MANIFEST).is_file() else name


@torch.no_grad()
def begin_with(pack: Pack, model: MultiTaskModel, backbone: Backbone, fold: float) -> list[str]:
    """Give the encoder, the readouts and the heads of tasks that are the same the pack's weights, in place.

    `fold` is the share that the encoder takes of what each part of tasks' own changes in it (`folded`). Returns the
    names of tasks whose heads begin anew: the pack has none, one for other labels, or one for layers that are left out.

    Raises:
        InputError: the pack is of another backbone.
        PackError: a file of it is missing or damaged.
    """
    check_backbone(pack, backbone, "start")
    tensors = folded(pack, backbone, fold)
    _copy({name: value for name, value in model.encoder.named_parameters() if name in tensors}, tensors)
    known = pack.branches()
    _copy({name: value for name, value in model.readouts.items() if name in known}, known)
    anew, apart = [], trained_anew(pack)
    for name, head in model.heads.items():
        if name not in apart and _same(model.tasks[name], pack.tasks.get(name)):
            _copy(dict(head.named_parameters()), pack.head(name))
        else:
            anew.append(name)
    return anew


@torch.no_grad()
def average_with(pack: Pack, model: MultiTaskModel, backbone: Backbone) -> list[str]:
    """Take the mean of the trained weights and a pack's: encoder, readouts, and heads of tasks that are the same.

    It is often better than either, where one was trained on from the other (Wortsman et al. 2022). Parts of tasks' own
    are left out. Returns the names of tasks whose heads stay as trained: the pack has none over its shared encoder.

    Raises:
        InputError: the pack is of another backbone.
        PackError: a file of it is missing or damaged.
    """
    check_backbone(pack, backbone, "average-with")
    tensors = folded(pack, backbone, 0.0)
    _copy({name: value for name, value in model.encoder.named_parameters() if name in tensors}, tensors, 0.5)
    known = pack.branches()
    _copy({name: value for name, value in model.readouts.items() if name in known}, known, 0.5)
    kept = []
    for name, head in model.heads.items():
        if name not in pack.forks and _same(model.tasks[name], pack.tasks.get(name)):
            _copy(dict(head.named_parameters()), pack.head(name), 0.5)
        else:
            kept.append(name)
    return kept


def folded(pack: Pack, backbone: Backbone, fold: float) -> dict[str, NDArray[np.float32]]:
    """Return the tensors that a pack changes in its backbone, with a share of what tasks' own parts change in them.

    Parts add up (task arithmetic, Ilharco et al. 2023); one that tasks have together counts once. Layers that were
    `trained_anew` are left out.

    Raises:
        PackError: a file of the pack is missing or damaged.
    """
    adapter = pack.adapter()
    shared = adapters.merge(backbone.tensors, adapter)
    changed = _names(adapter)
    found = {name: shared[name] for name in changed}
    apart = trained_anew(pack)
    for task in {fork.sha256: task for task, fork in pack.forks.items() if task not in apart}.values():
        fork = pack.fork(task)
        own = adapters.merge(shared, fork)
        for name in _names(fork):
            found[name] = found.get(name, shared[name]) + fold * (own[name] - shared[name])
    return found


def trained_anew(pack: Pack) -> set[str]:
    """Return the tasks whose own layers began at the backbone, and not at the pack's.

    Half of the way between two trainings is neither: every task would lose by it (docs/log.md).
    """
    return {task for task, fork in pack.forks.items() if fork.anew}


def _names(adapter: Mapping[str, NDArray[Any]]) -> set[str]:
    return {key.rpartition(".")[0] for key in adapter}


def check_backbone(pack: Pack, backbone: Backbone, key: str) -> None:
    """Refuse a pack of another backbone, which the declaration names under that key.

    Raises:
        InputError: it is.
    """
    if pack.manifest.backbone.sha256 != backbone.sha256:
        found = pack.manifest.backbone.name
        raise InputError(
            f"{key}: {pack.folder} begins from the backbone {found}, this training from {backbone.name}",
            f"declare `backbone: {found}`, or leave out `{key}`",
        )


def _copy(parameters: Mapping[str, nn.Parameter], values: Mapping[str, NDArray[Any]], share: float = 1.0) -> None:
    """Take the values, or go that share of the way to them."""
    for name, parameter in parameters.items():
        value = torch.tensor(values[name])
        parameter.copy_(value if share == 1 else parameter.lerp(value, share))


def _same(task: Task, before: Task | None) -> bool:
    if before is None:
        return False
    return (task.kind, task.labels, task.multi_label) == (before.kind, before.labels, before.multi_label)
