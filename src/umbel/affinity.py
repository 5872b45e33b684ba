"""Watches a joint training: how the tasks' gradients agree, what a step for one does to another, how far it drifted.

`Prober` is a `Reporter`: it looks at the model between two steps and changes nothing. Cosines are of gradients on the
shared parameters, by group of layers. Lookahead affinity follows TAG (Fifty et al. 2021): `1 - after / before` of one
task's loss when the shared parameters take a step for another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from umbel.cache import atomic_write
from umbel.intervals import rounded

if TYPE_CHECKING:
    from umbel.balance import Plan
    from umbel.checkpoint import Progress
    from umbel.data import Data
    from umbel.train import Item, Status, Trainer

MOMENTS = (0.02, 0.3, 0.6, 0.9)  # of the training done
PROBE_ROWS = 16  # of each task
GROUPS = 4  # that an encoder's layers are divided into
_LAYER = re.compile(r"\.layer\.(\d+)\.")
_BLOCK = re.compile(r"^blocks\.(\d+)\.")


class Prober:
    """Probes a training at `moments`; what it found is kept in `file`, so that a resumed training loses nothing.

    `found` holds plain values by step: `fraction`, `cosine` by group and `affinity` `[tasks, tasks]` (row: for whom the
    step is taken), `drift` by task.
    """

    def __init__(self, file: Path, moments: Sequence[float] = MOMENTS, rows: int = PROBE_ROWS) -> None:
        self.file, self.moments, self.rows = file, moments, rows
        self.found: dict[int, dict[str, Any]] = {}
        if file.exists():
            self.found = {each["step"]: each for each in json.loads(file.read_text(encoding="utf-8"))}
        self._trainer: Trainer | None = None
        self._start: dict[str, Tensor] = {}

    def watch(self, trainer: Trainer) -> None:
        """Take the trainer to look at; called before it runs, for drift is measured from here."""
        self._trainer = trainer
        trainer.model.eval()
        self._start = {name: _means(trainer, items) for name, items in self._items(trainer).items()}

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Need nothing of a plan."""

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Need nothing of scores."""

    def stepped(self, status: Status) -> None:
        """Probe when a moment has come that has not been probed yet."""
        due = sum(moment <= status.fraction for moment in self.moments)
        if self._trainer and sum(each["step"] <= status.step for each in self.found.values()) < due:
            self.found[status.step] = {"step": status.step, "fraction": status.fraction, **self._probe(self._trainer)}
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as draft:
                draft.write_text(json.dumps(rounded(list(self.found.values()), 6)), encoding="utf-8")

    def _items(self, trainer: Trainer) -> dict[str, list[Item]]:
        """Return the first rows of each task: a task's own, for every source of a study is one task's."""
        items = [item for source in trainer.items.values() for item in source]
        return {name: [i for i in items if name in i.golds][: self.rows] for name in trainer.model.heads}

    def _probe(self, trainer: Trainer) -> dict[str, Any]:
        trainer.model.eval()
        losses_so_far = dict(trainer.progress.losses)
        items = self._items(trainer)
        groups = shared_groups(trainer.model.encoder)
        gradients = {name: gradient(trainer, rows, groups) for name, rows in items.items()}
        found = {
            "tasks": list(items),
            "cosine": {group: cosines([each[group] for each in gradients.values()]).tolist() for group in groups},
            "affinity": lookahead(trainer, items, gradients, groups).tolist(),
            "drift": {name: _drift(self._start[name], _means(trainer, rows)) for name, rows in items.items()},
        }
        trainer.progress.losses.clear()
        trainer.progress.losses.update(losses_so_far)
        return found


Groups = Mapping[str, Sequence[nn.Parameter]]
Gradient = Mapping[str, Tensor]  # by group, [numbers]


def shared_groups(encoder: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the encoder's trained parameters by group of layers, from the lowest to the highest."""
    trained = [(name, each) for name, each in encoder.named_parameters() if each.requires_grad]
    numbers = [int(found[1]) for name, _ in trained if (found := _LAYER.search(f".{name}"))]
    step = -(-(max(numbers) + 1) // GROUPS) if numbers else 1
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained:
        groups.setdefault(_group(name, step), []).append(parameter)
    return groups


def _group(name: str, step: int) -> str:
    if layer := _LAYER.search(f".{name}"):
        first = int(layer[1]) // step * step
        return f"layers {first + 1} to {first + step}" if step > 1 else f"layer {first + 1}"
    if block := _BLOCK.search(name):
        return f"adapter block {int(block[1]) + 1}"
    return "embeddings"


def gradient(trainer: Trainer, items: Sequence[Item], groups: Groups) -> dict[str, Tensor]:
    """Return the gradient of the items' mean loss on each group of shared parameters."""
    parameters = [each for group in groups.values() for each in group]
    _, losses = trainer.losses(items)
    total = sum(losses.values(), torch.zeros(())) / len(items)
    parts = torch.autograd.grad(total, parameters, allow_unused=True) if losses else [None] * len(parameters)
    flat = iter(
        torch.zeros_like(each).flatten() if part is None else part.flatten()
        for each, part in zip(parameters, parts, strict=True)
    )
    return {name: torch.cat([next(flat) for _ in group]) for name, group in groups.items()}


def cosines(gradients: Sequence[Tensor]) -> Tensor:
    """Return the cosine of every two gradients `[tasks, tasks]`; 0 where one has no length."""
    units = [each / each.norm().clamp(min=1e-20) for each in gradients]
    return torch.tensor([[float(one @ other) for other in units] for one in units])


@torch.no_grad()
def lookahead(
    trainer: Trainer, items: Mapping[str, Sequence[Item]], gradients: Mapping[str, Gradient], groups: Groups
) -> Tensor:
    """Return what a step for each task (row) takes off each task's loss (column), as a share of it `[tasks, tasks]`.

    A step is as long as the optimiser's own, which moves every number by about the rate, whatever a gradient's length.
    """
    every = [item for rows in items.values() for item in rows]
    rate = trainer.optimizer.param_groups[0]["lr"]
    before = trainer.losses(every)[1]
    rows = []
    for name in items:
        kept = {group: [each.detach().clone() for each in members] for group, members in groups.items()}
        length = torch.cat(list(gradients[name].values())).norm().clamp(min=1e-20)
        count = sum(each.numel() for each in gradients[name].values())
        for group, members in groups.items():
            parts = torch.split(gradients[name][group], [each.numel() for each in members])
            for member, part in zip(members, parts, strict=True):
                member.sub_((rate * count**0.5 / length) * part.view_as(member))
        after = trainer.losses(every)[1]
        rows.append([1 - float(after[other] / before[other].clamp(min=1e-9)) for other in items])
        for group, members in groups.items():
            for member, value in zip(members, kept[group], strict=True):
                member.copy_(value)
    return torch.tensor(rows)


@torch.no_grad()
def _means(trainer: Trainer, items: Sequence[Item]) -> Tensor:
    """Return the mean hidden states of the items' windows `[items, hidden]`."""
    ids, mask = trainer.model.pad_windows([item.window for item in items])
    hidden = trainer.model.encode(ids, mask)
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _drift(before: Tensor, now: Tensor) -> float:
    """Return how far the shared encoding moved: one less the mean cosine of texts' mean hidden states."""
    return 1 - float(nn.functional.cosine_similarity(before, now).mean())
