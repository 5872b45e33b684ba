"""Runs a training from its declaration to the pack: reads, shows, trains or goes on, publishes.

Knows nothing of how training works; this is the one module of the command line that needs torch, and says so when it
is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.asking import Asker, read_templates
from umbel.console import training
from umbel.curves import Curves, Writer, writer_to
from umbel.cuts import sentences
from umbel.data import Data, load
from umbel.errors import InputError, MissingExtraError
from umbel.loading import backbone_of, fetched, ready_backbone
from umbel.pack import Pack, read_pack
from umbel.spec import load_spec
from umbel.terminal import count_bar, errors, output, spinner

if TYPE_CHECKING:
    from umbel.processes import Processes
    from umbel.spec import PackSpec
    from umbel.train import Trainer
    from umbel.tuning import Progress
    from umbel.writings import Writing

RUNS = Path("runs")
PACK = "pack"  # below the training's folder: writing a pack replaces all of its own folder


def need_torch() -> None:
    """Check that torch is there before anything long is begun.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import_module("torch")
    except ImportError as error:
        raise MissingExtraError("torch", "train") from error


def train_pack(
    declaration: Path,
    folder: Path | None = None,
    restart: bool = False,
    teach: Path | None = None,
    log_to: str | None = None,
    name: str = PACK,
) -> Path | None:
    """Train the tasks of a declaration, from the last save in `folder` if there is one; return the pack's own.

    What the trained tasks say of their train rows is kept in `teach`, if given; `log_to` is a folder for TensorBoard,
    or `mlflow:ADDRESS`; `name` is the pack's below `folder`. Of several processes that torchrun started only the first
    shows anything, writes, and returns a folder.

    Raises:
        MissingExtraError: torch, or what `log_to` needs, is not installed.
        SpecError, DataError: the declaration or its data has faults.
        InputError: `folder` holds the state of another training.
    """
    spec = load_spec(declaration)
    need_torch()
    from umbel.processes import joined

    folder = folder or RUNS / spec.name
    with joined() as processes, _one_speaks(processes):
        writer = writer_to(log_to, folder) if log_to and processes.leads else None
        return _train(spec, folder, restart, teach, processes, writer, name)


def _train(
    spec: PackSpec,
    folder: Path,
    restart: bool,
    teach: Path | None,
    processes: Processes,
    writer: Writer | None,
    name: str,
) -> Path | None:
    from umbel import checkpoint
    from umbel.publish import publish
    from umbel.train import Trainer
    from umbel.writer_training import put_in, train_writers, untaught

    if restart and processes.leads:
        forget(folder / checkpoint.FILE)
    processes.from_leader(None)  # the others look for a saved state only now
    with spinner(f"reading the data of {spec.name}"):
        data = load(spec)
    backbone = ready_backbone(backbone_of(spec))
    console = output()
    console.print(f"training {spec.name} {spec.version} on {backbone.name}; saved in {folder}", soft_wrap=True)
    with training(console) as shown, closing(writer) if writer else nullcontext():
        reporter = Curves(shown, writer) if writer else shown
        with spinner("cutting the rows into tokens"):
            trainer = Trainer(spec, data, backbone, folder, reporter, processes, asker_of(spec, data))
        if spec.train.start:
            _begin(trainer)
        other = _other(trainer) if spec.train.average_with else None
        for line in sentences(trainer.cuts, spec.train.max_tokens):
            console.print(line, style="yellow", soft_wrap=True)
        for line in untaught(spec):
            console.print(line, soft_wrap=True)
        trainer.run()
    if not processes.leads:
        return None
    if other:
        _average(trainer, other)
    if teach:
        with spinner("answering the train rows"):
            trainer.teach(teach)
    adapters = train_writers(spec, folder, restart, _shown)
    with count_bar("calibrating on dev, and writing the pack", "rows") as told:
        pack = publish(trainer, folder / name, told)
    for task in spec.tasks:
        if task.ngrams and pack.manifest.tasks[task.name].ngrams is None:
            console.print(f"{task.name}: reads no n-grams; with them it is no better on dev rows", soft_wrap=True)
    return put_in(pack, adapters).folder


def _begin(trainer: Trainer) -> None:
    """Let the training begin where the pack that its declaration names ended, and say so."""
    from umbel.continuing import begin_with, folder_of

    pack = read_pack(folder_of(trainer.settings.start, trainer.spec.folder))
    fold = trainer.settings.fold
    anew = begin_with(pack, trainer.model, trainer.backbone, fold)
    trainer.began = {"pack": pack.manifest.name, "version": pack.manifest.version}
    heads = f"; heads begin anew for {', '.join(anew)}" if anew else ""
    parts = f"; {fold:g} of the own parts of {', '.join(pack.forks)} folded into the encoder" if pack.forks else ""
    output().print(f"beginning with {pack.manifest.name} {pack.manifest.version}{heads}{parts}", soft_wrap=True)


def _other(trainer: Trainer) -> Pack:
    """Return the pack that the trained weights are to be averaged with: one that cannot be is told before the start."""
    from umbel.continuing import check_backbone, folder_of

    pack = read_pack(folder_of(trainer.settings.average_with, trainer.spec.folder))
    check_backbone(pack, trainer.backbone, "average-with")
    return pack


def _average(trainer: Trainer, pack: Pack) -> None:
    """Average the trained weights with a pack's, and say so."""
    from umbel.continuing import average_with

    kept = average_with(pack, trainer.model, trainer.backbone)
    trainer.averaged = {"pack": pack.manifest.name, "version": pack.manifest.version}
    heads = f"; heads as they were trained for {', '.join(kept)}" if kept else ""
    output().print(f"averaged with {pack.manifest.name} {pack.manifest.version}{heads}", soft_wrap=True)


def _shown(name: str, writing: Writing) -> Progress:
    """Get a decoder ready whose adapter is trained, and return what shows how its loss falls."""
    fetched(writing.decoder)
    output().print(f"tasks.{name}: training an adapter of {writing.decoder}", soft_wrap=True)

    def progress(done: int, total: int, loss: float) -> None:
        errors().print(f"{done} of {total} rows, loss {loss:.3f}", soft_wrap=True)

    return progress


def asker_of(spec: PackSpec, data: Data) -> Asker | None:
    """Return what makes questions of rows, where the declaration names templates.

    Raises:
        SpecError: the templates have faults.
    """
    if not spec.train.questions:
        return None
    return Asker(read_templates(spec.folder / spec.train.questions, data.tasks), data.tasks)


@contextmanager
def _one_speaks(processes: Processes) -> Iterator[None]:
    """Keep the processes that do not lead from writing to the terminal that all share."""
    if processes.leads:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def forget(path: Path) -> None:
    """Delete what was saved of a training, if anything.

    Raises:
        InputError: it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be deleted: {error.strerror}", "choose another --out") from error
