"""Runs `umbel detach`: trains a task's own layers, proves that nothing else moved, and tells what it cost and gave.

Knows nothing of how a fork is trained.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel import load as load_model
from umbel.cache import atomic_write, sole
from umbel.console import training
from umbel.data import load
from umbel.errors import InputError, suggest
from umbel.evaluate import evaluate
from umbel.kinds.base import kind_of
from umbel.loading import backbone_of_pack, ready_model
from umbel.metrics import better
from umbel.pack import Pack, shipped
from umbel.packing import moved, write_tasks
from umbel.scoring import runtime_predictor
from umbel.spec import PackSpec, load_spec
from umbel.teach import prove
from umbel.terminal import file_size, output, row_bar, spinner
from umbel.training import RUNS, forget, need_torch

if TYPE_CHECKING:
    from umbel.data import Data
    from umbel.runtime import Model

SHARED = 2 / 3  # of the layers, where nothing else is asked for
BASIS = "basis"  # a file that names what the layers are trained over


@dataclass(frozen=True)
class Detachment:
    """What detaching gave: scores before and after on the same dev rows, and the bytes of the task's own layers.

    `pack` is None where the task was better as it was, and nothing was written.
    """

    pack: Pack | None
    before: float
    after: float
    bytes: int
    unchanged: dict[str, int]


def detach_pack(
    name: str,
    task: str,
    declaration: Path,
    first: int | None,
    epochs: float,
    out: Path | None,
    anyway: bool,
    restart: bool = False,
) -> Detachment:
    """Give a task of the pack called `name` its own layers from `first` on and write the pack to `out`, or in place.

    It goes on from what an unfinished run saved of the same pack, unless `restart`.

    Raises:
        MissingExtraError: torch is not installed.
        InputError: the task or layer is not there, or a shipped pack would be changed in place.
        UmbelError: the proof failed; the pack is as it was.
    """
    need_torch()
    from umbel.detaching import OwnPart, alone
    from umbel.ways import Way

    model = ready_model(name)
    pack = model.pack
    check_task(pack, name, task, out)
    with spinner(f"reading the data of {task}"):
        spec = declared_alone(load_spec(declaration), pack, task)
        spec, data = alone(spec, load(spec), pack, [task], epochs)
    backbone = backbone_of_pack(pack)
    first = round(SHARED * backbone.shape.layers) if first is None else first
    folder = RUNS / f"{pack.manifest.name}-detach" / f"{task}-{first}"
    with sole(folder), training(output()) as reporter:
        _forget_others(folder, f"{model.forward.maker} {pack.manifest.tasks[task].head}", restart)
        part = OwnPart(pack, [task], spec, data, backbone, Way("fork", first), folder, reporter)
        with row_bar(f"encoding the rows up to layer {first}") as told:
            part.encode(told)
        forked = part.run()
        part.encodings.unlink(missing_ok=True)
    target = out or pack.folder
    draft = target.with_name(f".{target.name}.{os.getpid()}.detached")
    try:
        with spinner("compiling, and comparing what must not have changed"):
            again = load_model(
                write_tasks(pack, draft, forked.entries, forked.heads, forked.fork, forked.ngrams).folder
            )
            unchanged = prove(model, again, task)
            before, after = (_score(each, task, data) for each in (model, again))
        size = sum(path.stat().st_size for path in draft.glob(f"forks/{task}.safetensors"))
        gains = better(pack.tasks[task].metric, after, before)
        written = moved(again.pack, target) if gains or anyway else None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if written:
        shutil.rmtree(folder, ignore_errors=True)
    return Detachment(written, before, after, size, unchanged)


def _forget_others(folder: Path, basis: str, restart: bool) -> None:
    """Forget what was saved in a folder over another encoder or head, or all of it where that is wanted."""
    from umbel import checkpoint

    note = folder / BASIS
    if restart or not note.exists() or note.read_text(encoding="utf-8") != basis:
        forget(folder / checkpoint.FILE)
        with atomic_write(note) as draft:
            draft.write_text(basis, encoding="utf-8")


def check_task(pack: Pack, name: str, task: str, out: Path | None) -> None:
    """Check that a task was trained on rows, and that the pack may be changed.

    Raises:
        InputError: it was not, or the pack is a shipped one and there is no `out`.
    """
    if task not in pack.tasks:
        known = list(pack.tasks)
        raise InputError(f"{task!r} is not a task of {name}{suggest(task, known)}", f"its tasks are {', '.join(known)}")
    if not kind_of(pack.tasks[task].kind).trained or pack.manifest.tasks[task].head is None:
        raise InputError(f"{task}: has no head that could be trained", "name a task that was trained on rows")
    if out is None and name in shipped():
        raise InputError(f"{name} comes with Umbel and stays as it is", "name a folder for the new pack with --out")


def declared_alone(spec: PackSpec, pack: Pack, task: str) -> PackSpec:
    """Return the declaration of the task alone, with the pack's labels.

    Raises:
        InputError: it does not declare the task.
    """
    kept = tuple(
        each.model_copy(update={"labels": pack.tasks[task].labels}) for each in spec.tasks if each.name == task
    )
    if not kept:
        raise InputError(f"{spec.name}: declares no task {task}", "name the pack's declaration with --data")
    return spec.model_copy(update={"tasks": kept})


def _score(model: Model, task: str, data: Data) -> float:
    report: dict[str, Any] = evaluate(runtime_predictor(model), {task: model.tasks[task]}, data.dev)
    return float(report[task]["score"])


def tell(task: str, metric: str, found: Detachment) -> None:
    """Say what detaching gave."""
    console = output()
    console.print(
        f"{task}: {metric} {found.before:.2f} as it was, {found.after:.2f} with its own layers", soft_wrap=True
    )
    files, answers = found.unchanged["files"], found.unchanged["answers"]
    console.print(
        f"all else is as it was: {files} files and manifest entries and {answers} answers of other tasks compared",
        soft_wrap=True,
    )
    if found.pack:
        console.print(f"its layers take {file_size(found.bytes)}; the pack is in {found.pack.folder}", soft_wrap=True)
    else:
        console.print("nothing was written, for it is no better; --anyway writes it all the same", soft_wrap=True)
