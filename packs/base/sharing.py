"""Compares ways to share one backbone: full tuning, low-rank adapters of several ranks, and heads alone.

    python packs/base/sharing.py [--out packs/base/runs/sharing] [--only full,rank-16] [--rows 36000] [--threads 2]

Each way trains the same tasks of base.yaml jointly (TASKS) on the same rows in the same order, 36,000 of them by
default, with the settings of base.yaml but for teachers and questions. Low-rank factors take larger steps than full
tuning: RATES says which are tried. What is compared is the mean dev score over tasks, against the bytes that a pack
needs for what training changed in the backbone. The difference of full tuning is also stored in 4 bits instead of 8.

Finished ways stand in sharing.json beside this file and are not trained again; a broken-off one goes on where it was.
On two cores with nothing beside a way takes about 8 minutes, heads alone 4; all of them an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from umbel.catalogue import load_backbone
from umbel.console import PlainReporter
from umbel.data import Data, load
from umbel.errors import InputError, UmbelError, suggest
from umbel.pack import ADAPTER, Pack
from umbel.publish import publish
from umbel.spec import PackSpec, load_spec
from umbel.train import FROZEN, Trainer

HERE = Path(__file__).parent
FIGURES = HERE / "sharing.json"

TASKS = (
    "news-topic",
    "offensive",
    "assistant-intent",
    "command-intent",
    "command-slots",
    "request-slots",
    "service-intent",
    "entities-social-zh",
)
ROWS = 36_000
RANKS = (4, 16, 64)
RATES = (1e-3, 2e-3, 4e-3)  # of low-rank factors: all of them for one rank, to choose
RATE = 2e-3  # for the others
BLOCK = 32  # numbers of a 4-bit block share a scale of 16 bits
FOUR_BITS = "4 bits"

Floats = NDArray[np.float32]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """A setting of `sharing`, its rank, and the backbone's learning rate where it is not base.yaml's."""

    sharing: str
    rank: int = 0
    rate: float = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """The training's settings that make the way."""
        changed = {"rank": self.rank, "learning_rate": self.rate}
        return {"sharing": self.sharing} | {name: value for name, value in changed.items() if value}


WAYS = {
    "full": Way("full"),
    "heads": Way("heads"),
    **{f"rank-{rank}": Way("adapter", rank, RATE) for rank in RANKS},
    **{f"rank-{RANKS[1]}-at-{rate:g}": Way("adapter", RANKS[1], rate) for rate in RATES if rate != RATE},
}


def declared(spec: PackSpec, way: Way) -> PackSpec:
    """Return the declaration of the tasks that are compared, trained in one way."""
    tasks = tuple(task for task in spec.tasks if task.name in TASKS)
    settings = {"teachers": "", "questions": "", "keep_vectors": 0.0, **way.settings}
    return spec.model_copy(update={"tasks": tasks, "train": spec.train.model_copy(update=settings)})


def budgeted(spec: PackSpec, data: Data, rows: int) -> PackSpec:
    """Return the declaration with so many rows to train on, scored at the end alone."""
    share = rows / sum(map(len, data.train.values()))
    settings = spec.train.model_copy(update={"epochs": share, "evaluate_every": share})
    return spec.model_copy(update={"train": settings})


def measure(way: Way, spec: PackSpec, rows: int, folder: Path, console: Console) -> dict[str, Figures]:
    """Train one way, or go on where it stopped; return its figures, and for full tuning those in 4 bits."""
    spec = declared(spec, way)
    data = load(spec)
    spec = budgeted(spec, data, rows)
    trainer = Trainer(spec, data, load_backbone(spec.backbone), folder, PlainReporter(console))
    trainer.run()
    tuned = weights_of(trainer) if way.sharing == "full" else {}
    pack = publish(trainer, folder / "pack")  # from here on the encoder holds what 8 bits keep
    found = {"": figures(trainer, pack, adapter_bytes(pack))}
    if tuned:
        stored = store_in_four_bits(trainer, tuned)
        found[FOUR_BITS] = figures(trainer, publish(trainer, folder / "pack-4-bits"), stored)
    return found


def weights_of(trainer: Trainer) -> dict[str, Floats]:
    """Return a copy of the encoder's trained weights."""
    parameters = trainer.model.encoder.named_parameters()
    return {name: value.detach().numpy().copy() for name, value in parameters if name != FROZEN}


def figures(trainer: Trainer, pack: Pack, stored: int) -> Figures:
    """Return a pack's scores and its mean over tasks, with the bytes of what was changed in the backbone."""
    scores = {name: round(task.scores["score"], 2) for name, task in pack.manifest.tasks.items()}
    return {
        "mean": round(float(np.mean(list(scores.values()))), 2),
        "bytes": stored,
        "rows": trainer.progress.rows,
        "minutes": round(trainer.progress.seconds / 60, 1),
        "scores": scores,
    }


def adapter_bytes(pack: Pack) -> int:
    """Return the size of a pack's adapter file, 0 without one."""
    path = pack.folder / ADAPTER
    return path.stat().st_size if path.exists() else 0


@torch.no_grad()
def store_in_four_bits(trainer: Trainer, tuned: Mapping[str, Floats]) -> int:
    """Give the encoder its tuned weights as 4 bits would keep them, and return the bytes that they take.

    Publishing rounds the difference to 8 bits a row besides.
    """
    stored = 0
    before = trainer.backbone.tensors
    for name, weights in tuned.items():
        change = weights - before[name]
        if change.ndim > 1:
            change, size = in_four_bits(change)
            stored += size
        else:
            stored += change.nbytes
        trainer.model.encoder.get_parameter(name).copy_(torch.from_numpy(before[name] + change))
    return stored


def in_four_bits(change: Floats) -> tuple[Floats, int]:
    """Return a matrix rounded to fifteen steps in blocks of its rows, each with its own scale, and its bytes."""
    blocks = change.reshape(-1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=1, keepdims=True) / 7, np.float32(1e-7)).astype(np.float16)
    steps = np.clip(np.rint(blocks / scales.astype(np.float32)), -7, 7)
    rounded: Floats = (steps * scales.astype(np.float32)).reshape(change.shape)
    return rounded, blocks.size // 2 + scales.nbytes


def table(found: Mapping[str, Figures]) -> str:
    """Return a line for each way: mean dev score, bytes, minutes, and each task's score."""
    names = list(next(iter(found.values()))["scores"]) if found else []
    lines = [f"{'way':<20}{'mean':>7}{'MB':>8}{'minutes':>9}  {'  '.join(names)}"]
    for way, each in sorted(found.items(), key=lambda item: item[1]["bytes"]):
        scores = "  ".join(f"{each['scores'][name]:>{len(name)}.2f}" for name in names)
        lines.append(f"{way:<20}{each['mean']:>7.2f}{each['bytes'] / 1e6:>8.2f}{each['minutes']:>9.1f}  {scores}")
    return "\n".join(lines)


def kept_figures() -> dict[str, Figures]:
    """Return the figures of the ways that are finished."""
    return dict(json.loads(FIGURES.read_text())) if FIGURES.exists() else {}


def chosen(only: str) -> list[str]:
    """Return the names of ways asked for, all by default.

    Raises:
        InputError: one is no way.
    """
    names = only.split(",") if only else list(WAYS)
    for name in names:
        if name not in WAYS:
            raise InputError(f"--only: {name!r} is not a way{suggest(name, list(WAYS))}", ", ".join(WAYS))
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the ways that are not in sharing.json yet, and print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "runs/sharing", help="where checkpoints and packs are kept")
    parser.add_argument("--only", default="", help="names of ways, separated by commas; all by default")
    parser.add_argument("--rows", type=int, default=ROWS, help="to train on; of another number no figures are kept")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    whole = options.rows == ROWS
    found = kept_figures() if whole else {}
    for name in chosen(options.only):
        if name in found:
            continue
        measured = measure(WAYS[name], load_spec(HERE / "base.yaml"), options.rows, options.out / name, Console())
        found |= {f"{name}, {storage}" if storage else name: each for storage, each in measured.items()}
        if whole:
            FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
