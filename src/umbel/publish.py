"""Makes a pack of a trained model: calibrates every task on dev, scores it, and writes manifest, weights and card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umbel import adapters, answered
from umbel.calibrate import MIN_ROWS
from umbel.card import card_of
from umbel.decide import BLANK_SHARE, UNCALIBRATED
from umbel.evaluate import evaluate, spread
from umbel.kinds.base import kind_of
from umbel.model import Reading, merged_logits
from umbel.ngram_training import Rows, learn
from umbel.ngrams import Ngrams
from umbel.pack import BackboneName, BranchesFile, DataNote, Manifest, NgramsFile, Pack, TaskEntry
from umbel.packing import write_pack
from umbel.readouts import KNOWN
from umbel.records import Example, Prediction, Task
from umbel.spec import DataSpec
from umbel.train import FROZEN, Trainer
from umbel.writings import Writing

Floats = NDArray[np.float32]
DEV_ASKED = 250  # rows of each dev file that questions are drawn for
CHUNK = 512  # dev rows between two reports of progress
NAMES = 64  # of options that become vectors at once


def publish(trainer: Trainer, folder: Path, progress: Callable[[int, int], None] = lambda done, rows: None) -> Pack:
    """Write the trained model as a pack to `folder` and return it.

    `progress` is told how many dev rows are answered or asked about, and how many there are.

    The encoder that is calibrated and scored is the one the pack holds, its adapter rounded as stored.

    Raises:
        CacheError: the folder cannot be written.
    """
    adapter, form = _adapter(trainer)
    _load_stored(trainer, adapter)
    observe(trainer)
    asked = [row for file in trainer.data.dev.values() for row in spread(file, DEV_ASKED)] if trainer.quiz else []
    rows, done = len(asked) + sum(map(len, trainer.data.dev.values())), 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        progress(done, rows)

    dev = DevLogits(trainer, told)
    ngrams = read_ngrams(trainer, dev)
    reports = scores_of(trainer, dev)
    readouts = _arrays(trainer.model.readouts) | _known(trainer)
    branches = _branches(trainer, asked, told, len(readouts.get(KNOWN, ())))
    tasks = {name: _entry(trainer, name, reports.get(name, {}), ngrams.get(name)) for name in trainer.data.tasks}
    manifest = Manifest(
        name=trainer.spec.name,
        version=trainer.spec.version,
        licence=trainer.spec.licence,
        description=trainer.spec.description,
        backbone=BackboneName(name=trainer.backbone.name, sha256=trainer.backbone.sha256),
        branches=branches,
        tasks=tasks,
        flow=trainer.spec.flow,
        training=_training(trainer),
    )
    heads = {name: _arrays(head) for name, head in trainer.model.heads.items()}
    return write_pack(folder, manifest, heads, adapter, form, card_of(manifest), readouts, trainer.model.ngrams)


def calibrated_scores(trainer: Trainer) -> dict[str, float]:
    """Return each task's own metric on all dev rows, calibrated on them as a published pack would be."""
    return {name: report["score"] for name, report in calibrated(trainer).items()}


def calibrated(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Calibrate every task of the model on its dev rows, in place, and return the reports that a pack would keep."""
    observe(trainer)
    return scores_of(trainer, DevLogits(trainer, lambda rows: None))


def scores_of(trainer: Trainer, dev: DevLogits) -> dict[str, dict[str, Any]]:
    """Calibrate every task on its logits of dev rows, in place, and return the reports that a pack would keep."""
    errors = dev.calibrate()
    reports = evaluate(dev, trainer.model.tasks, trainer.data.dev)
    return {name: report | errors.get(name, {}) for name, report in reports.items()}


def observe(trainer: Trainer) -> None:
    """Let every task count what it needs in its train rows, in place."""
    for name, task in trainer.model.tasks.items():
        rows = (
            (example.text, item.golds[name], item.window)
            for source, examples in trainer.data.train.items()
            for example, item in zip(examples, trainer.items[source], strict=True)
            if name in item.golds
        )
        trainer.model.tasks[name] = kind_of(task.kind).observe(task, rows)


def read_ngrams(trainer: Trainer, dev: DevLogits) -> dict[str, NgramsFile]:
    """Give tasks that declare n-grams, and are better with them on dev rows, theirs; return what is known of each."""
    found = {}
    for declared in trainer.spec.tasks:
        if not declared.ngrams or declared.name not in trainer.model.tasks:
            continue
        task = trainer.model.tasks[declared.name]
        held, logits = dev.rows_of(task)
        if len(held.examples) < MIN_ROWS:
            continue
        rows = [
            (example, kind_of(task.kind).target(task, item.golds[task.name], item.window))
            for source, examples in trainer.data.train.items()
            for example, item in zip(examples, trainer.items[source], strict=True)
            if task.name in item.golds
        ]
        train = Rows([example for example, _ in rows], np.stack([target for _, target in rows]))
        ngrams, judged = learn(task, train, held, logits, declared.ngrams)
        if judged.helps(task.metric):
            trainer.model.ngrams[task.name] = ngrams
            dev.add(task.name, ngrams)
            found[task.name] = judged.entry(declared.ngrams)
    return found


class DevLogits:
    """The logits of all dev rows, encoded once: tasks are calibrated on them, then answer from them."""

    def __init__(self, trainer: Trainer, progress: Callable[[int], None]) -> None:
        self.model = trainer.model
        self.rows: dict[str, tuple[dict[str, Floats], Reading]] = {}
        self.examples = [example for examples in trainer.data.dev.values() for example in examples]
        for examples in trainer.data.dev.values():
            names = sorted({name for example in examples for name in example.golds if name in self.model.tasks})
            for at in range(0, len(examples), CHUNK):
                texts = [example.text for example in examples[at : at + CHUNK]]
                logits, readings = merged_logits(
                    self.model, trainer.backbone.tokenizer, texts, names, precision=trainer.precision
                )
                for text, values, reading in zip(texts, logits, readings, strict=True):
                    kept, _ = self.rows.setdefault(text, ({}, reading))
                    kept.update(values)
                progress(len(texts))

    def __call__(self, texts: list[str], tasks: Sequence[str]) -> list[dict[str, Prediction]]:
        """Answer dev texts with the tasks as they are calibrated now."""
        return [self.model.predict(text, self._of(text, tasks), self.rows[text][1]) for text in texts]

    def calibrate(self) -> dict[str, dict[str, float]]:
        """Fit every task's temperatures and thresholds on its dev rows, in place; return the calibration errors."""
        errors = {}
        for name, task in self.model.tasks.items():
            kind = kind_of(task.kind)
            examples = [example for example in self.examples if name in example.golds]
            if not examples:
                continue
            values = [self.rows[example.text][0][name] for example in examples]
            languages = [example.language for example in examples]
            self.model.tasks[name], found = kind.calibrate(
                task, values, [self._target(task, example) for example in examples], languages
            )
            errors[name] = {key: round(value, 4) for key, value in found.items()}
        return errors

    def rows_of(self, task: Task) -> tuple[Rows, Floats]:
        """Return the dev rows of a task, and its logits of them `[rows, ...]`."""
        examples = [example for example in self.examples if task.name in example.golds]
        if not examples:
            return Rows([], np.zeros(0)), np.zeros(0, np.float32)
        targets = np.stack([self._target(task, example) for example in examples])
        return Rows(examples, targets), np.stack([self.rows[example.text][0][task.name] for example in examples])

    def add(self, name: str, ngrams: Ngrams) -> None:
        """Let a task read n-grams, too."""
        for text, (logits, _) in self.rows.items():
            if name in logits:
                logits[name] = logits[name] + ngrams.of(text)

    def _target(self, task: Task, example: Example) -> NDArray[Any]:
        kind = kind_of(task.kind)
        target = kind.target(task, example.golds[task.name], self.rows[example.text][1].whole)
        return target[1:-1] if kind.reads == "tokens" else target

    def _of(self, text: str, tasks: Sequence[str]) -> dict[str, Floats]:
        return {name: self.rows[text][0][name] for name in tasks}


@torch.no_grad()
def _known(trainer: Trainer) -> dict[str, NDArray[np.float16]]:
    """Return the vectors of the names that options had in training `[names, hidden]`; none without questions."""
    if not trainer.quiz:
        return {}
    names = trainer.quiz.asker.option_names(row for rows in trainer.data.train.values() for row in rows)
    windows = [cut[0] for cut in trainer.backbone.tokenizer.windows_many(names)]
    found = []
    for at in range(0, len(windows), NAMES):
        ids, mask = trainer.model.pad_windows(windows[at : at + NAMES])
        hidden = trainer.model.encoder(ids, mask) * mask[..., None]
        found.append(torch.nn.functional.normalize(hidden.sum(1), dim=-1))
    return {KNOWN: torch.cat(found).numpy().astype(np.float16)}


def _branches(
    trainer: Trainer, rows: Sequence[Example], told: Callable[[int], None], known: int
) -> BranchesFile | None:
    """Ask questions on dev rows, fit their calibration on them and score them; None without readouts."""
    if not trainer.quiz:
        return None
    found = trainer.quiz.ask(trainer.model, rows, trainer.settings.seed, told=told)
    calibration = answered.fit(found)
    before, after = answered.scores(found, UNCALIBRATED), answered.scores(found, calibration)
    scores = {kind: {**each, "ece-before": before[kind].get("ece")} for kind, each in after.items()}
    return BranchesFile(
        file="",
        sha256="",
        temperatures=dict(calibration.temperatures),
        mention=calibration.mention,
        blank=BLANK_SHARE,
        known=known,
        brevity=calibration.brevity,
        scores=scores,
    )


def _adapter(trainer: Trainer) -> tuple[dict[str, NDArray[Any]], Any]:
    """Return what training changed in the backbone, and the form it is kept in."""
    encoder, sharing = trainer.model.encoder, trainer.settings.sharing
    if sharing == "full":
        after = {name: value.numpy() for name, value in encoder.state_dict().items() if name != FROZEN}
        return adapters.full_difference(trainer.backbone.tensors, after), "full"
    return (adapters.low_rank(encoder) if sharing == "adapter" else {}), "lora"


@torch.no_grad()
def _load_stored(trainer: Trainer, adapter: Mapping[str, NDArray[Any]]) -> None:
    """Give the encoder what the pack will hold, rounded as it is stored."""
    encoder, sharing = trainer.model.encoder, trainer.settings.sharing
    if sharing == "adapter":
        adapters.load_low_rank(encoder, adapter)
    elif sharing == "full":
        merged = adapters.merge(trainer.backbone.tensors, adapter)
        for name, parameter in encoder.named_parameters():
            if name != FROZEN:
                parameter.copy_(torch.tensor(merged[name]))


def _arrays(head: torch.nn.Module) -> dict[str, Floats]:
    return {name: parameter.detach().numpy() for name, parameter in head.named_parameters()}


def _entry(trainer: Trainer, name: str, scores: Mapping[str, Any], ngrams: NgramsFile | None) -> TaskEntry:
    task: Task = trainer.model.tasks.get(name, trainer.data.tasks[name])
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
        trim_start=task.trim_start,
        trim_end=task.trim_end,
        outside_bias=task.outside_bias,
        writing=_without_path(spec.writing or Writing()) if task.kind == "text-generation" else None,
        ngrams=ngrams,
        scores=dict(scores),
        data=tuple(_note(trainer, name, data) for data in spec.data),
    )


def _without_path(writing: Writing) -> Writing:
    """Leave out where a task's examples lay: a pack keeps no path of the machine."""
    return writing.model_copy(update={"examples": ""})


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
        "settings": trainer.settings.model_dump(mode="json", by_alias=True, exclude={"start", "average_with"}),  # paths
        **({"began": trainer.began} if trainer.began else {}),
        **({"averaged": trainer.averaged} if trainer.averaged else {}),
        "rows": progress.rows,
        "steps": progress.step,
        "seconds": round(progress.seconds),
        "stopped": progress.stopped,
    }
