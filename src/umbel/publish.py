"""Makes a pack of a trained model: calibrates every task on dev, scores it, and writes manifest, weights and card."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umbel import adapters
from umbel.card import card_of
from umbel.evaluate import evaluate
from umbel.kinds.base import kind_of
from umbel.model import MultiTaskModel, TrainedPredictor, merged_logits
from umbel.pack import BackboneName, DataNote, Manifest, Pack, TaskEntry, write_pack
from umbel.records import Example, Task
from umbel.spec import DataSpec
from umbel.train import FROZEN, Trainer

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]


def publish(trainer: Trainer, folder: Path) -> Pack:
    """Write the trained model as a pack to `folder` and return it.

    The encoder that is calibrated and scored is the one the pack holds, its adapter rounded as stored.

    Raises:
        CacheError: the folder cannot be written.
    """
    trainer.model.eval()
    adapter, form = _adapter(trainer)
    _load_stored(trainer, adapter)
    errors = calibrate_tasks(trainer)
    predictor = TrainedPredictor(trainer.model, trainer.backbone.tokenizer, trainer.precision)
    reports = evaluate(predictor, trainer.model.tasks, trainer.data.dev)
    tasks = {name: _entry(trainer, name, reports.get(name, {}) | errors.get(name, {})) for name in trainer.model.tasks}
    manifest = Manifest(
        name=trainer.spec.name,
        version=trainer.spec.version,
        licence=trainer.spec.licence,
        description=trainer.spec.description,
        backbone=BackboneName(name=trainer.backbone.name, sha256=trainer.backbone.sha256),
        tasks=tasks,
        training=_training(trainer),
    )
    heads = {name: _arrays(head) for name, head in trainer.model.heads.items()}
    return write_pack(folder, manifest, heads, adapter, form, card_of(manifest))


def calibrate_tasks(trainer: Trainer) -> dict[str, dict[str, float]]:
    """Fit every task's temperatures and thresholds on all its dev rows, in place; return the calibration errors."""
    logits: dict[str, list[Floats]] = {}
    targets: dict[str, list[NDArray[Any]]] = {}
    languages: dict[str, list[str]] = {}
    for examples in trainer.data.dev.values():
        for example, row in _dev_logits(trainer, examples):
            for name, (values, target) in row.items():
                logits.setdefault(name, []).append(values)
                targets.setdefault(name, []).append(target)
                languages.setdefault(name, []).append(example.language)
    errors = {}
    for name, values in logits.items():
        task = trainer.model.tasks[name]
        fitted, found = kind_of(task.kind).calibrate(task, values, targets[name], languages[name])
        trainer.model.tasks[name] = fitted
        errors[name] = {key: round(value, 4) for key, value in found.items()}
    return errors


def _dev_logits(
    trainer: Trainer, examples: Sequence[Example]
) -> list[tuple[Example, dict[str, tuple[Floats, NDArray[Any]]]]]:
    names = sorted({name for example in examples for name in example.golds})
    texts = [example.text for example in examples]
    logits, readings = merged_logits(
        trainer.model, trainer.backbone.tokenizer, texts, names, precision=trainer.precision
    )
    rows = []
    for example, values, reading in zip(examples, logits, readings, strict=True):
        row = {}
        for name, gold in example.golds.items():
            task = trainer.model.tasks[name]
            kind = kind_of(task.kind)
            target = kind.target(task, gold, reading.whole)
            row[name] = (values[name], target[1:-1] if kind.reads == "tokens" else target)
        rows.append((example, row))
    return rows


def _adapter(trainer: Trainer) -> tuple[dict[str, NDArray[Any]], Any]:
    """Return what training changed in the backbone, and the form it is kept in."""
    encoder, sharing = trainer.model.encoder, trainer.settings.sharing
    if sharing == "full":
        after = {name: value.numpy() for name, value in encoder.state_dict().items() if name != FROZEN}
        return adapters.full_difference(trainer.backbone.tensors, after), "full"
    return (adapters.low_rank(encoder) if sharing == "adapter" else {}), "lora"


@torch.no_grad()
def _load_stored(trainer: Trainer, adapter: Mapping[str, NDArray[Any]]) -> None:
    if trainer.settings.sharing != "full":
        return
    merged = adapters.merge(trainer.backbone.tensors, adapter)
    for name, parameter in trainer.model.encoder.named_parameters():
        if name != FROZEN:
            parameter.copy_(torch.tensor(merged[name]))


def _arrays(head: torch.nn.Module) -> dict[str, Floats]:
    return {name: parameter.detach().numpy() for name, parameter in head.named_parameters()}


def _entry(trainer: Trainer, name: str, scores: Mapping[str, Any]) -> TaskEntry:
    task: Task = trainer.model.tasks[name]
    spec = next(spec for spec in trainer.spec.tasks if spec.name == name)
    return TaskEntry(
        kind=task.kind,
        labels=task.labels,
        multi_label=task.multi_label,
        metric=task.metric,
        description=task.description,
        languages=task.languages,
        temperature=dict(task.temperature),
        thresholds=dict(task.thresholds),
        abstain_below=task.abstain_below,
        out_of_scope=task.out_of_scope,
        scores=dict(scores),
        data=tuple(_note(trainer, name, data) for data in spec.data),
    )


def _note(trainer: Trainer, task: str, data: DataSpec) -> DataNote:
    counts = [
        sum(task in example.golds for file in files for example in examples.get(file, []))
        for files, examples in ((data.train, trainer.data.train), (data.dev, trainer.data.dev))
    ]
    source = data.source or ", ".join(data.train)
    return DataNote(source=source, licence=data.licence, language=data.language, train=counts[0], dev=counts[1])


def _training(trainer: Trainer) -> dict[str, Any]:
    progress = trainer.progress
    return {
        "settings": trainer.settings.model_dump(mode="json", by_alias=True),
        "rows": progress.rows,
        "steps": progress.step,
        "seconds": round(progress.seconds),
        "stopped": progress.stopped,
    }
