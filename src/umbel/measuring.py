"""Runs `umbel interference`: reads, states the budget, trains or goes on, and writes the figures; needs torch.

Knows nothing of how a study is made.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.cache import atomic_write, sole
from umbel.data import load
from umbel.errors import InputError, suggest
from umbel.loading import backbone_of, ready_backbone
from umbel.spec import load_spec
from umbel.subsets import Budget, Rows, rows_of
from umbel.terminal import count_bar, output, row_bar, spinner
from umbel.training import RUNS, need_torch

if TYPE_CHECKING:
    from umbel.interference import Design, Study
    from umbel.spec import PackSpec

FIGURES = "interference.json"
PARTS = (0.1, 0.33)  # of a task's rows, to see what the amount of data does


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None leaves a number to the pack's size."""

    cheap: bool = False
    seeds: int = 3
    rows: int | None = None
    pairs: int | None = None
    sizes: Sequence[int] | None = None
    tasks: Sequence[str] = ()
    minutes: float | None = None


def measure(declaration: Path, folder: Path | None, wanted: Wanted) -> tuple[Path, dict[str, Any], bool]:
    """Make the trainings of a study, or go on with them; return where the figures are, these, and whether all are done.

    Raises:
        MissingExtraError: torch is not installed.
        SpecError, DataError: the declaration or its data has faults.
        InputError: a task is unknown, or `folder` holds another study.
    """
    spec = load_spec(declaration)
    need_torch()
    began = time.monotonic()
    folder = folder or RUNS / f"{spec.name}-interference{'-cheap' if wanted.cheap else ''}"
    with sole(folder):
        return _measured(spec, folder, wanted, began)


def _measured(spec: PackSpec, folder: Path, wanted: Wanted, began: float) -> tuple[Path, dict[str, Any], bool]:
    from umbel.frozen import HiddenStates
    from umbel.interference import Study, design_of

    with spinner(f"reading the data of {spec.name}"):
        rows = rows_of(spec, load(spec), _checked(spec.name, [task.name for task in spec.tasks], wanted.tasks))
    backbone = ready_backbone(backbone_of(spec))
    budget = _budget(wanted.rows)
    design = design_of(list(rows.tasks), wanted.seeds, wanted.pairs, _sizes(wanted, budget))
    study = Study(rows, backbone, folder, budget, HiddenStates(backbone) if wanted.cheap else None)
    output().print(_stated(study, design), soft_wrap=True)
    with row_bar("encoding rows") as told:
        study.prepare(design.tasks, told)
    limit = wanted.minutes * 60 - (time.monotonic() - began) if wanted.minutes else float("inf")
    with count_bar("training", "rows") as advance:
        done = study.run(design, advance, limit)
    found = figures_of(study, design, rows, time.monotonic() - began)
    path = folder / FIGURES
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path, found, done


def figures_of(study: Study, design: Design, rows: Rows, seconds: float) -> dict[str, Any]:
    """Return the study's figures, with what they were measured on."""
    from umbel.effects import Effects

    return {
        "pack": rows.spec.name,
        "version": rows.spec.version,
        "mode": study.mode,
        "backbone": study.backbone.name,
        "budget": asdict(study.budget),
        "rows": {task: min(study.budget.rows, len(kept)) for task, kept in rows.train.items()},
        "rows_in_all": {task: len(kept) for task, kept in rows.train.items()},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "seconds_of_this_command": round(seconds),
        },
        **Effects(design, study.finished, rows.tasks).figures(),
    }


def _checked(pack: str, known: Sequence[str], wanted: Sequence[str]) -> Sequence[str]:
    for name in wanted:
        if name not in known:
            raise InputError(
                f"{name!r} is not a task of {pack}{suggest(name, known)}", f"its tasks: {', '.join(known)}"
            )
    return wanted


def _budget(rows: int | None) -> Budget:
    return Budget() if rows is None else replace(Budget(), rows=rows, drawn=2 * rows)


def _sizes(wanted: Wanted, budget: Budget) -> list[int]:
    return list(wanted.sizes) if wanted.sizes is not None else [max(round(part * budget.rows), 1) for part in PARTS]


def _stated(study: Study, design: Design) -> str:
    """State the budget before anything is spent."""
    runs = list(dict.fromkeys(design.runs()))
    rows = sum(study.budget.drawn * len(run.tasks) for run in runs)
    left = sum(run.key not in study.finished for run in runs)
    shared = "a small adapter over the frozen backbone" if study.mode == "cheap" else "the backbone"
    return (
        f"{len(runs)} trainings ({left} to make) that share {shared}, {rows:,} rows in all: {len(design.tasks)} tasks, "
        f"{len(design.seeds)} seeds, {study.budget.drawn:,} rows a task and training, {len(design.pairs)} pairs; "
        f"saved in {study.folder}"
    )


def numbers(listed: str | None) -> list[int] | None:
    """Return whole numbers separated by commas; None of None.

    Raises:
        InputError: one is none, or not positive.
    """
    if listed is None:
        return None
    try:
        found = [int(part) for part in listed.split(",") if part.strip()]
    except ValueError:
        found = [0]
    if any(number < 1 for number in found):
        raise InputError(f"--sizes: found {listed!r}, expected whole numbers over 0 like 60,200")
    return found
