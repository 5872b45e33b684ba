"""Runs `umbel ngrams`: lets a trained task read character n-grams, proves that nothing else moved, tells what it gave.

Knows nothing of how n-grams are fitted.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umbel import load as load_model
from umbel.batches import chunked
from umbel.calibrate import MIN_ROWS
from umbel.card import card_of
from umbel.data import load
from umbel.declaration import VERSION
from umbel.detachment import check_task, declared_alone
from umbel.errors import InputError
from umbel.evaluate import evaluate
from umbel.kinds.base import kind_of
from umbel.loading import ready_model
from umbel.packing import moved, write_taught
from umbel.records import language_of
from umbel.spec import load_spec
from umbel.teach import prove
from umbel.terminal import file_size, output, row_bar, spinner
from umbel.training import need_torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umbel.manifest import TaskEntry
    from umbel.ngram_training import Judged, Rows
    from umbel.ngrams import Ngrams
    from umbel.pack import Pack
    from umbel.records import Example
    from umbel.runtime import Model

CHUNK = 512  # dev rows between two steps of the bar
NO_OFFSETS: NDArray[np.int32] = np.zeros((0, 2), np.int32)  # classes are answered without them


@dataclass(frozen=True)
class Added:
    """What n-grams gave: how they were judged, how many there are, their bytes, and what was compared.

    `pack` is None where the task was better as it was, and nothing was written.
    """

    pack: Pack | None
    judged: Judged
    known: int
    bytes: int
    unchanged: dict[str, int]


def add_ngrams(
    name: str, task: str, declaration: Path, longest: int, out: Path | None, version: str, anyway: bool
) -> Added:
    """Let a task of the pack called `name` read n-grams of up to `longest` characters; write it to `out`, or in place.

    Raises:
        MissingExtraError: torch is not installed.
        InputError: the task is not there or of another kind, has too few rows, the version is none, or a shipped pack
            would be changed.
        UmbelError: the proof failed; the pack is as it was.
    """
    need_torch()
    from umbel.ngram_training import learn

    if version and not VERSION.fullmatch(version):
        raise InputError(f"--version: found {version!r}", "give three numbers like 1.0.0")
    model = ready_model(name)
    pack = model.pack
    check_task(pack, name, task, out)
    if pack.tasks[task].kind != "text-classification":
        raise InputError(f"{task}: a task of kind {pack.tasks[task].kind}", "only text-classification reads n-grams")
    with spinner(f"reading the data of {task}"):
        data = load(declared_alone(load_spec(declaration), pack, task))
        train, dev = (rows_of(model, task, list(examples)) for examples in (data.train_of(task), data.dev_of(task)))
    logits = head_logits(model, task, [example.text for example in dev.examples])
    with spinner("learning which n-grams go with which labels"):
        ngrams, judged = learn(pack.tasks[task], train, dev, logits, longest)
        entry = _entry(model, task, ngrams, judged, dev, logits, data.dev)
    target = out or pack.folder
    draft = target.with_name(f".{target.name}.{os.getpid()}.ngrams")
    try:
        with spinner("comparing what must not have changed"):
            version = version or pack.manifest.version
            again = load_model(write_taught(pack, draft, task, entry, ngrams, version, card_of).folder)
            unchanged = prove(model, again, task)
        size = (draft / f"ngrams/{task}.safetensors").stat().st_size
        helps = judged.helps(pack.tasks[task].metric)
        written = moved(again.pack, target) if helps or anyway else None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Added(written, judged, len(ngrams.vocabulary.keys), size, unchanged)


def rows_of(model: Model, task: str, examples: Sequence[Example]) -> Rows:
    """Return rows with what their gold answers make of logits.

    Raises:
        InputError: there are too few.
    """
    from umbel.ngram_training import Rows

    if len(examples) < MIN_ROWS:
        raise InputError(f"{task}: found {len(examples)} rows, expected {MIN_ROWS} or more", "name more in --data")
    known = model.tasks[task]
    windows = [cut[0] for cut in model.tokenizer.windows_many([example.text for example in examples])]
    golds = [example.golds[task] for example in examples]
    targets = [kind_of(known.kind).target(known, gold, cut) for gold, cut in zip(golds, windows, strict=True)]
    return Rows(examples, np.stack(targets))


def head_logits(model: Model, task: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return what the task's head says of texts, without its n-grams, `[texts, labels]`."""
    found = []
    with row_bar("reading dev rows") as told:
        for some in chunked(texts, CHUNK):
            found += model.head_logits(some, task)
            told(len(some))
    return np.stack(found)


def _entry(
    model: Model,
    task: str,
    ngrams: Ngrams,
    judged: Judged,
    dev: Rows,
    logits: NDArray[np.float32],
    files: Mapping[str, Sequence[Example]],
) -> TaskEntry:
    """Return the task's entry, calibrated and scored anew on the dev rows, which stand in `files`."""
    mixed = [row + ngrams.of(example.text) for row, example in zip(logits, dev.examples, strict=True)]
    languages = [example.language for example in dev.examples]
    known = model.tasks[task]
    kind = kind_of(known.kind)
    fitted, errors = kind.calibrate(known, mixed, list(dev.targets), languages)
    said = {
        example.text: {task: kind.predict(fitted, values, example.text, NO_OFFSETS, language_of(example.text))}
        for example, values in zip(dev.examples, mixed, strict=True)
    }
    report = evaluate(lambda texts, _: [said[text] for text in texts], {task: fitted}, files)[task]
    entry = model.pack.manifest.tasks[task]
    update = {
        "temperature": dict(fitted.temperature),
        "thresholds": dict(fitted.thresholds),
        "ngrams": judged.entry(ngrams.longest),
        "scores": entry.scores | report | {name: round(error, 4) for name, error in errors.items()},
    }
    return entry.model_copy(update=update)


def tell(task: str, metric: str, found: Added) -> None:
    """Say what n-grams gave."""
    console = output()
    judged = found.judged
    line = f"{task}: {metric} {judged.without:.2f} as it was, {judged.score:.2f} with n-grams"
    console.print(f"{line}, each half of the dev rows with what the other half fitted", soft_wrap=True)
    files, answers = found.unchanged["files"], found.unchanged["answers"]
    console.print(
        f"all else is as it was: {files} files and manifest entries and {answers} answers of other tasks compared",
        soft_wrap=True,
    )
    if found.pack:
        size = f"{found.known:,} n-grams take {file_size(found.bytes)}"
        console.print(f"{size}; the pack is in {found.pack.folder}", soft_wrap=True)
    else:
        console.print("nothing was written, for it is no better; --anyway writes it all the same", soft_wrap=True)
