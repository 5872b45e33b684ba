"""Runs `umbel teach-reading`: reads passages with the pack, trains its reading head, and writes the pack again.

Knows nothing of how the head works or learns.
"""

from __future__ import annotations

from pathlib import Path

from umbel.cache import sole
from umbel.data import load
from umbel.errors import InputError
from umbel.loading import ready_model
from umbel.pack import Pack, read_pack
from umbel.reading import apart, joined
from umbel.spec import load_spec
from umbel.tables import counted
from umbel.terminal import count_bar, output, row_bar, spinner
from umbel.training import PACK, RUNS, forget, need_torch

START_SHARE = 0.5  # of the usual rate, for a head that has learnt already


def teach_reading(
    name: str,
    declaration: Path,
    folder: Path | None,
    epochs: float | None,
    restart: bool,
    start: str | None = None,
    beside: str | None = None,
) -> Path:
    """Train the reading head of the pack called `name` on a declaration's questions; return the new pack's folder.

    It goes on from what is saved in `folder`, and begins with the head of the pack `start`, if given; then of the heads
    between the two that is taken which answers dev questions best. What the pack `beside` has, if given, stays beside
    the new one where dev questions are answered better so: an answer is the mean of all.

    Raises:
        MissingExtraError: torch is not installed.
        SpecError, DataError: the declaration or its data has faults.
        PackError: the pack was not trained for questions, or `start` or `beside` is none.
        InputError: no row brings a question to answer, `start` or `beside` has no head or one of another shape, both
            are given, or `folder` holds the state of another training.
    """
    if start and beside:
        raise InputError("found both --start and --beside", "a head that begins with another one errs as that does")
    spec = load_spec(declaration)
    need_torch()
    from umbel import checkpoint
    from umbel.reading_train import ReadingSettings, ReadingTrainer, add_reading, on_the_way, passages_of, weights_of

    model = ready_model(name)
    _ = model.reader  # a pack without branches is told at once
    began, kept = (_with_head(each) if each else None for each in (start, beside))
    _same_backbone(model.pack, kept)
    folder = folder or RUNS / f"{model.pack.manifest.name}-reading"
    rate = ReadingSettings.learning_rate * (START_SHARE if began else 1)
    settings = ReadingSettings(epochs=epochs or ReadingSettings.epochs, learning_rate=rate)
    with spinner(f"reading the data of {spec.name}"):
        data = load(spec)
    asked = {task.name for task in data.tasks.values() if task.kind == "asked"}
    rows = [row for file in data.train.values() for row in file if asked & row.golds.keys()]
    if not rows:
        raise InputError(
            f"{declaration}: no task of kind asked brings rows", "docs/reference/kinds.md shows their cells"
        )
    with row_bar("reading passages") as done:
        passages = passages_of(model, rows, data, settings.max_tokens, done)
    questions = counted(sum(len(passage.questions) for passage in passages), "question")
    output().print(f"{questions} on {counted(len(passages), 'passage')}; saved in {folder}", soft_wrap=True)
    with sole(folder), count_bar("learning to read", "steps") as advance:
        if restart:
            forget(folder / checkpoint.FILE)
        start_with = began.reading() if began else None
        branches = model.pack.manifest.branches
        basis = f"{model.forward.maker} {branches.sha256 if branches else ''}"
        trainer = ReadingTrainer(passages, settings, folder, start_with, basis)
        weights = weights_of(trainer.run(lambda progress, steps: advance(progress.step, steps)))
    training = {"settings": vars(settings), "passages": len(passages), "steps": trainer.steps}
    del trainer, passages  # gigabytes, and the dev questions take as many
    training |= {key: _named(each) for key, each in (("began", began), ("beside", kept)) if each}
    heads = on_the_way(began.reading(), weights) if began else {"trained": weights}
    if kept:
        heads |= {"beside": joined(*apart(kept.reading()), weights)}
    with spinner("calibrating on dev and writing the pack"):
        version = spec.version if spec.name == model.pack.manifest.name else ""
        pack = add_reading(model, folder / PACK, heads, data, training, version)
    scores = pack.manifest.reading.scores if pack.manifest.reading else {}
    if "score" in scores:
        output().print(f"dev: {scores['score']:.1f} % of {scores['asked']} questions exactly right", soft_wrap=True)
    return pack.folder


def _same_backbone(pack: Pack, other: Pack | None) -> None:
    if other and other.manifest.backbone.sha256 != pack.manifest.backbone.sha256:
        raise InputError(f"{other.folder}: its reading head is of another backbone", "name a pack over the same one")


def _named(pack: Pack) -> dict[str, str]:
    return {"pack": pack.manifest.name, "version": pack.manifest.version}


def _with_head(name: str) -> Pack:
    pack = read_pack(name)
    if not pack.manifest.reading:
        raise InputError(f"{pack.folder}: has no reading head", "name a pack that `umbel teach-reading` made")
    return pack
