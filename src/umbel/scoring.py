"""Scores a pack on the dev rows that a declaration names, with the runtime or the training engine.

Knows nothing of terminals: it tells a function how many rows are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umbel.answered import scored
from umbel.asking import Asker, read_templates
from umbel.data import load
from umbel.errors import InputError, MissingExtraError, PackError
from umbel.evaluate import LIMIT, Predictor, evaluate, spread
from umbel.records import Example, Prediction, Result, Task

if TYPE_CHECKING:
    from umbel.manifest import Manifest
    from umbel.pack import Pack
    from umbel.runtime import Model
    from umbel.spec import PackSpec, TaskSpec
    from umbel.weights import Backbone

Told = Callable[[int], None]
CHUNK = 256
SCORES = ("rows", "metric", "score", "scores", "languages")  # of a report, that a pack keeps


def score(
    predictor: Predictor, tasks: Mapping[str, Task], spec: PackSpec, limit: int = 0, told: Told = lambda rows: None
) -> dict[str, dict[str, Any]]:
    """Return each task's report, as `evaluate` gives it, on at most `limit` rows of each dev file; 0: on all.

    `told` is called with the number of rows answered since it was called last.

    Raises:
        InputError: the declaration names none of the tasks.
        DataError: the dev rows have faults.
    """
    known, dev = dev_data(spec, tasks)
    return evaluate(told_in_chunks(predictor, told), known, dev, limit=limit or LIMIT)


def with_scores(manifest: Manifest, found: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """Return a manifest with other dev scores (`score`); scores alone and errors of calibration stay."""
    entries = dict(manifest.tasks)
    for name, figures in found.items():
        scores = entries[name].scores | {key: figures[key] for key in SCORES}
        entries[name] = entries[name].model_copy(update={"scores": scores})
    return manifest.model_copy(update={"tasks": entries})


def dev_data(spec: PackSpec, tasks: Mapping[str, Task]) -> tuple[dict[str, Task], dict[str, list[Example]]]:
    """Return those of the tasks that the declaration has dev rows for, and these rows by file.

    Raises:
        InputError: the declaration names none of the tasks.
        DataError: the dev rows have faults.
    """
    data = load(_dev_only(spec, tasks))
    return {name: task for name, task in tasks.items() if name in data.tasks}, data.dev


def score_questions(
    model: Model, spec: PackSpec, rows: int, told: Told = lambda rows: None
) -> dict[str, dict[str, float]]:
    """Return for each kind of question `asked`, `score` and `ece` (`answered.scored`).

    The declaration's templates make the questions, of at most `rows` rows of each dev file; of rows that bring their
    own questions, these are asked.

    Raises:
        InputError: the declaration names no templates.
        PackError: the pack was not trained for questions.
        DataError: the dev rows have faults.
        SpecError: the templates have faults.
    """
    if not spec.train.questions:
        raise InputError(f"{spec.name}: `train.questions` names no templates", "name the pack's declaration")
    known = {name: entry.labels for name, entry in model.pack.manifest.tasks.items()}
    data = load(spec.model_copy(update={"tasks": tuple(_without_train(task, known) for task in spec.tasks)}))
    asker = Asker(read_templates(spec.folder / spec.train.questions, data.tasks), data.tasks)
    answers = []
    for place, row in enumerate(row for file in data.dev.values() for row in spread(file, rows)):
        drawn = asker.ask(row, np.random.default_rng([spec.train.seed, place]), 1)
        if drawn:
            found = model.ask(row.text, [question for question, _ in drawn])
            answers += [(*each, answer) for each, answer in zip(drawn, found, strict=True)]
        told(1)
    return scored(answers)


def _dev_only(spec: PackSpec, tasks: Mapping[str, Task]) -> PackSpec:
    """Return the declaration of these tasks without its train files."""
    labels = {name: task.labels for name, task in tasks.items()}
    kept = tuple(_without_train(task, labels) for task in spec.tasks if task.name in tasks)
    if not kept:
        names = ", ".join(task.name for task in spec.tasks)
        raise InputError(f"{spec.name}: none of its tasks is in the pack; found {names}", "name the pack's declaration")
    return spec.model_copy(update={"tasks": kept})


def _without_train(task: TaskSpec, labels: Mapping[str, tuple[str, ...]]) -> TaskSpec:
    """Return a task without its train files, with the pack's labels where it knows them: dev rows are read by these."""
    data = tuple(entry.model_copy(update={"train": ()}) for entry in task.data)
    return task.model_copy(update={"data": data, "labels": labels.get(task.name, task.labels)})


def told_in_chunks(predictor: Predictor, told: Told) -> Predictor:
    """Ask a predictor for a few hundred rows at a time, and tell after each."""

    def predict(texts: list[str], tasks: Sequence[str]) -> list[Mapping[str, Prediction]]:
        answers: list[Mapping[str, Prediction]] = []
        for start in range(0, len(texts), CHUNK):
            some = texts[start : start + CHUNK]
            answers += predictor(some, tasks)
            told(len(some))
        return answers

    return predict


def runtime_predictor(model: Model) -> Predictor:
    """Return a predictor that answers with the runtime."""

    def predict(texts: list[str], tasks: Sequence[str]) -> list[Result]:
        return model(texts, tasks)

    return predict


def torch_predictor(pack: Pack, backbone: Backbone) -> Predictor:
    """Return a predictor that answers with the training engine in fp32.

    Raises:
        MissingExtraError: torch is not installed.
        PackError: the pack is damaged, or was trained on another backbone.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", "train") from error
    if backbone.sha256 != pack.manifest.backbone.sha256:
        found, expected = backbone.sha256, pack.manifest.backbone.sha256
        raise PackError(f"{pack.folder}: found a backbone with SHA-256 {found}, expected {expected}", "pull that one")
    readers: dict[str, list[str]] = {}  # tasks by the fork they read, if any
    for name in pack.tasks:
        readers.setdefault(pack.forks[name].sha256 if name in pack.forks else "", []).append(name)
    parts: dict[str, Predictor] = {}
    for names in readers.values():
        parts |= dict.fromkeys(names, _torch_part(pack, backbone, names))

    def predict(texts: list[str], tasks: Sequence[str]) -> list[Mapping[str, Prediction]]:
        answers: list[dict[str, Prediction]] = [{} for _ in texts]
        for part in {id(each): each for each in (parts[task] for task in tasks)}.values():
            for answer, found in zip(answers, part(texts, [t for t in tasks if parts[t] is part]), strict=True):
                answer.update(found)
        return list(answers)

    return predict


def _torch_part(pack: Pack, backbone: Backbone, tasks: Sequence[str]) -> Predictor:
    """Return what answers tasks that read one encoder: the shared one, or that of a fork they have together."""
    import torch

    from umbel.adapters import merge
    from umbel.backbones.bert import BertEncoder
    from umbel.model import MultiTaskModel, PooledHead, TrainedPredictor

    tensors = merge(merge(backbone.all_tensors(), pack.adapter()), pack.fork(tasks[0]))
    encoder = BertEncoder.from_tensors(backbone.shape, tensors)
    model = MultiTaskModel(encoder, {task: pack.tasks[task] for task in tasks}, backbone.tokenizer.pad)
    for name in tasks:
        if name not in model.heads and pack.manifest.tasks[name].head:  # the map of vectors
            model.heads[name] = PooledHead(backbone.shape.hidden, backbone.shape.hidden)
    for name, head in model.heads.items():
        head.load_state_dict({key: torch.from_numpy(value) for key, value in pack.head(name).items()})
    model.ngrams = pack.ngrams(tasks)
    return TrainedPredictor(model, backbone.tokenizer)
