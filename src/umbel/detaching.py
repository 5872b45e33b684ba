"""Gives a task of a trained pack upper layers of its own, trained over the shared lower ones, which stay as they are.

What enters the fork is computed by the runtime's own engine, once per text. Needs torch; knows nothing of the command
line, and of how the pack was trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from umbel import adapters
from umbel.backbones.bert import BertEncoder, Encoding
from umbel.data import Data
from umbel.engine import GraphBuilder
from umbel.errors import InputError
from umbel.frozen import HiddenStates
from umbel.pack import ForkFile, Pack, TaskEntry
from umbel.publish import calibrated
from umbel.train import Trainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umbel.spec import PackSpec
    from umbel.train import Reporter
    from umbel.weights import Backbone

STACK = "encoder.layer."  # how the names of a layer's tensors begin
HEAD_SHARE = 0.2  # of the declared rate, for the head is trained already


@dataclass(frozen=True)
class Forked:
    """A task with layers of its own, ready to be written into the pack."""

    entry: TaskEntry
    head: Mapping[str, NDArray[Any]]
    fork: Mapping[str, NDArray[Any]]


class UpperEncoder(nn.Module):
    """What `MultiTaskModel` asks of an encoder: some upper layers over kept hidden states, without keys and values."""

    def __init__(self, states: HiddenStates, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.states, self.shape = states, states.shape
        self.layer = nn.ModuleList(layers)

    def encode(self, ids: Tensor, mask: Tensor) -> Encoding:
        """Return the hidden states `[batch, tokens, hidden]` of right-padded ids."""
        hidden = self.states.of(ids, mask)
        for layer in self.layer:
            hidden, _ = layer(hidden, mask[:, None, None, :], 0.0, None)
        return Encoding(hidden, mask, ())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the hidden states alone."""
        return self.encode(ids, mask).hidden


def train_fork(
    pack: Pack, task: str, spec: PackSpec, data: Data, backbone: Backbone, first: int, folder: Path, reporter: Reporter
) -> Forked:
    """Train a task's own layers from `first` on, and its head from where it is; calibrate and score what is stored.

    `spec` and `data` are those of this task alone (`alone`). A broken-off training in `folder` goes on.

    Raises:
        InputError: there is no such layer to fork at.
    """
    if not 0 < first < backbone.shape.layers:
        raise InputError(f"found layer {first} to fork at, expected 1 to {backbone.shape.layers - 1}")
    shared = adapters.merge(backbone.tensors, pack.adapter())
    states = HiddenStates(backbone, GraphBuilder(backbone.shape, shared).build_lower(first))
    whole = BertEncoder.from_tensors(backbone.shape, {**backbone.all_tensors(), **shared})
    upper = UpperEncoder(states, whole.encoder.layer[first:])
    trainer = Trainer(spec, data, backbone, folder, reporter, encoder=cast("BertEncoder", upper))
    head = trainer.model.heads[task]
    head.load_state_dict({name: torch.from_numpy(value) for name, value in pack.head(task).items()})
    states.encode(item.window for items in trainer.items.values() for item in items)
    trainer.run()
    fork = adapters.full_difference(shared, _named(upper, first))
    _load(upper, first, adapters.merge(shared, fork))  # what is scored is what is stored, rounded
    report = calibrated(trainer)[task]
    return Forked(_entry(pack, trainer, task, first, report), _arrays(head), fork)


def alone(spec: PackSpec, data: Data, pack: Pack, task: str, epochs: float) -> tuple[PackSpec, Data]:
    """Return the declaration and data of one task of the pack, for `epochs` passes over its rows.

    Raises:
        InputError: the declaration has no rows of it.
    """
    train, dev = ({s: _rows(rows, task) for s, rows in files.items()} for files in (data.train, data.dev))
    train, dev = ({s: rows for s, rows in files.items() if rows} for files in (train, dev))
    if not train or not dev:
        raise InputError(f"{spec.name}: holds no train or no dev rows of {task}", "name the pack's declaration")
    settings = {
        "epochs": epochs,
        "evaluate_every": epochs,
        "patience": 0,
        "sharing": "full",
        "combining": "sum",
        "head_learning_rate": HEAD_SHARE * spec.train.head_learning_rate,
        "mixing": spec.train.mixing.model_copy(update={"by": "size"}),
        "teachers": "",
        "questions": "",
        "keep_vectors": 0.0,
    }
    kept = tuple(each for each in spec.tasks if each.name == task)
    declared = spec.model_copy(update={"tasks": kept, "train": spec.train.model_copy(update=settings)})
    return declared, Data({task: data.tasks[task]}, train, dev, dict.fromkeys(train, 1.0))


def _rows(examples: Iterable[Any], task: str) -> list[Any]:
    return [example for example in examples if task in example.golds]


def _named(upper: UpperEncoder, first: int) -> dict[str, NDArray[Any]]:
    """Return the layers' tensors under the names they have in the whole encoder."""
    found = {}
    for name, value in upper.layer.named_parameters():
        number, _, rest = name.partition(".")
        found[f"{STACK}{int(number) + first}.{rest}"] = value.detach().numpy()
    return found


@torch.no_grad()
def _load(upper: UpperEncoder, first: int, tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, value in upper.layer.named_parameters():
        number, _, rest = name.partition(".")
        value.copy_(torch.tensor(tensors[f"{STACK}{int(number) + first}.{rest}"]))


def _arrays(head: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: parameter.detach().numpy() for name, parameter in head.named_parameters()}


def _entry(pack: Pack, trainer: Trainer, name: str, first: int, report: Mapping[str, Any]) -> TaskEntry:
    """Return the pack's entry with the calibration and scores of the detached task; `together` keeps the one before."""
    task, before = trainer.model.tasks[name], pack.manifest.tasks[name]
    kept = {"alone": before.scores["alone"]} if "alone" in before.scores else {}
    together = {"together": before.scores["score"]} if "score" in before.scores else {}
    return before.model_copy(
        update={
            "temperature": dict(task.temperature),
            "thresholds": dict(task.thresholds),
            "trim_start": task.trim_start,
            "trim_end": task.trim_end,
            "scores": {**report, **kept, **together},
            "fork": ForkFile(file="", sha256="", kind="full", layer=first),
        }
    )
