"""Trains each task of the pack alone, on as many of its rows as the joint training drew, and notes the dev scores.

    python packs/base/alone.py [--out packs/base/runs/alone] [--tasks intent,topic] [--threads 2]
    python packs/base/alone.py --tasks entities-social-zh --passes 12
    python packs/base/alone.py --tasks entities-social-zh --seeds 3
    python packs/base/alone.py --joint runs/base/pack --write

Everything but the other tasks is as in base.yaml: backbone, settings, seed, rows drawn; only batches and rates are
smaller where else a task would take few steps (`umbel.detaching.settings_alone`). Each finished task adds its score to
alone.json beside this file, and with `--write` the pack's manifest and card show it beside the joint score. What it
says of its train rows goes to `teachers` in the folder of `--out`, for the joint training's `teachers:`. A broken-off
run goes on where it was.

`--passes` trains a task as long as one would who had no other task; its score stands in alone.json under `longer`.
`--seeds` repeats it under so many seeds, from 1 on: then the score is their mean, and `seeds` holds each one's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from rescore import write
from rich.console import Console

from umbel.balance import shares_of
from umbel.catalogue import load_backbone
from umbel.console import PlainReporter
from umbel.data import Data, load
from umbel.detaching import settings_alone
from umbel.errors import UmbelError
from umbel.pack import read_pack
from umbel.publish import publish
from umbel.records import Example
from umbel.spec import PackSpec, load_spec
from umbel.train import Trainer

HERE = Path(__file__).parent
SCORES = HERE / "alone.json"
LONGER = "longer"


def rows_drawn(spec: PackSpec, data: Data) -> dict[str, float]:
    """Return how many rows of each file the joint training draws."""
    sizes = {source: len(rows) for source, rows in data.train.items()}
    mixing = spec.train.mixing
    shares = shares_of(sizes, mixing.by, mixing.temperature, data.shares)
    return {source: share * spec.train.epochs * sum(sizes.values()) for source, share in shares.items()}


def only(spec: PackSpec, data: Data, task: str, times: float = 0) -> tuple[PackSpec, Data]:
    """Return the declaration and the data of one task: its rows, with its answer alone.

    They are drawn `times` times, or as often as jointly.
    """
    train, dev = _rows_of(task, data.train), _rows_of(task, data.dev)
    drawn = rows_drawn(spec, data)
    passes = {source: times or drawn[source] / len(data.train[source]) for source in train}
    total = sum(passes[source] * len(rows) for source, rows in train.items())
    settings = settings_alone(spec.train, total).model_copy(
        update={
            "epochs": total / sum(map(len, train.values())),
            "mixing": spec.train.mixing.model_copy(update={"by": "size"}),  # times the passes of each file
            "teachers": "",
            "questions": "",
            "keep_vectors": 0.0,
        }
    )
    kept = tuple(found for found in spec.tasks if found.name == task)
    alone = Data({task: data.tasks[task]}, train, dev, passes)
    return spec.model_copy(update={"tasks": kept, "train": settings}), alone


def _rows_of(task: str, files: Mapping[str, list[Example]]) -> dict[str, list[Example]]:
    rows = {
        source: [replace(row, golds={task: row.golds[task]}) for row in examples if task in row.golds]
        for source, examples in files.items()
    }
    return {source: examples for source, examples in rows.items() if examples}


def train_alone(
    spec: PackSpec, data: Data, task: str, folder: Path, console: Console, times: float = 0
) -> dict[str, Any]:
    """Train one task and return its dev score and the rows it was trained on."""
    alone, rows = only(spec, data, task, times)
    backbone = load_backbone(spec.backbone)
    trainer = Trainer(alone, rows, backbone, folder / task, PlainReporter(console))
    trainer.run()
    trainer.teach(folder / "teachers")
    scores = publish(trainer, folder / task / "pack").manifest.tasks[task].scores  # calibrated, as the joint ones are
    progress = trainer.progress
    return {
        "score": round(scores["score"], 2),
        "rows": progress.rows,
        "batch_rows": alone.train.batch_rows,
        "seconds": round(progress.seconds),
    }


def write_scores(pack: Path, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the scores into the pack's manifest and card, and take out what they do not hold; no weights change."""
    found = read_pack(pack)
    tasks = {}
    for name, entry in found.manifest.tasks.items():
        others = {key: value for key, value in entry.scores.items() if key != "alone"}
        alone = {"alone": scores[name]["score"]} if name in scores else {}
        tasks[name] = entry.model_copy(update={"scores": others | alone})
    write(pack, found.manifest.model_copy(update={"tasks": tasks}))


def _scores() -> dict[str, dict[str, Any]]:
    return dict(json.loads(SCORES.read_text())) if SCORES.exists() else {}


def _noted(task: str, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Add to what is known of a task, and return all; another process may have added its own."""
    scores = _scores()
    scores[task] = scores.get(task, {}) | dict(found)
    SCORES.write_text(json.dumps(scores, indent=1) + "\n")
    return scores


def main(arguments: list[str] | None = None) -> None:
    """Train what is not in alone.json yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joint", type=Path, help="the joint pack, for --write")
    parser.add_argument("--out", type=Path, default=HERE / "runs/alone", help="where checkpoints are kept")
    parser.add_argument("--tasks", default="", help="names, separated by commas; all by default")
    parser.add_argument("--passes", type=float, default=0, help="over the rows of each task, not as many as jointly")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to train it under")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help="put the scores into the joint pack, and train nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    scores = _scores()
    if options.write:
        write_scores(options.joint, scores)
        return
    spec = load_spec(HERE / "base.yaml")
    data = load(spec)
    names = (
        options.tasks.split(",")
        if options.tasks
        else [task.name for task in spec.tasks if task.data and task.kind != "asked"]
    )
    for name in names:
        longer = bool(options.passes)
        if not (LONGER in scores.get(name, {}) if longer else name in scores):
            folder = options.out / LONGER if longer else options.out
            found = train_alone(spec, data, name, folder, Console(), options.passes)
            scores = _noted(name, {LONGER: found} if longer else found)
        for seed in range(2, (1 if longer else options.seeds) + 1):
            known = scores[name].get("seeds", [scores[name]["score"]])
            if len(known) < seed:
                other = spec.model_copy(update={"train": spec.train.model_copy(update={"seed": seed})})
                found = train_alone(other, data, name, options.out / f"seed-{seed}", Console())
                seeds = [*known, found["score"]]
                scores = _noted(name, {"score": round(mean(seeds), 2), "seeds": seeds})


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
