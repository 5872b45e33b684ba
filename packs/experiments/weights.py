"""Compares weights of the tasks' losses where all layers train, from the untouched backbone: dev scores by seed.

    python packs/experiments/weights.py PACK.yaml [--tasks a,b] [--rows 24000] [--seeds 3] [--ways sum,scaled]

`sum` and `scaled` are settings of `combining`; `fixed` and `root` are `sum` with each task's weight one over its loss
at the end of the training with `sum`, or over the root of that. Finished trainings stand in `--out` and are not made
again. The last line is JSON: each way's mean over tasks by seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umbel.cache import atomic_write
from umbel.data import Data, load
from umbel.errors import InputError, UmbelError
from umbel.interference import Quiet
from umbel.loading import backbone_of, ready_backbone
from umbel.publish import calibrated_scores
from umbel.spec import PackSpec, load_spec
from umbel.train import Trainer

POWERS = {"fixed": 1.0, "root": 0.5}
WAYS = ("sum", "scaled", *POWERS)
BATCH_ROWS, RATE = 32, 1e-4
LEAST_LOSS = 1e-3


def declared(spec: PackSpec, tasks: Sequence[str]) -> PackSpec:
    """Return the declaration of some tasks, all layers trained, without what is no task's."""
    settings = {"sharing": "full", "teachers": "", "questions": "", "keep_vectors": 0.0, "patience": 0}
    settings |= {"batch_rows": BATCH_ROWS, "learning_rate": RATE}
    kept = tuple(task for task in spec.tasks if task.name in tasks)
    return spec.model_copy(update={"tasks": kept, "train": spec.train.model_copy(update=settings)})


def weighed(spec: PackSpec, losses: Mapping[str, float], power: float) -> PackSpec:
    """Return the declaration with weights of mean 1, one over a power of each task's loss."""
    weights = {task: max(loss, LEAST_LOSS) ** -power for task, loss in losses.items()}
    mean = sum(weights.values()) / len(weights)
    tasks = tuple(task.model_copy(update={"weight": weights[task.name] / mean}) for task in spec.tasks)
    return spec.model_copy(update={"tasks": tasks})


def trained(spec: PackSpec, data: Data, rows: int, way: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one way on so many rows; return the tasks' dev scores and their losses at the end."""
    share = rows / sum(map(len, data.train.values()))
    combining = "sum" if way in POWERS else way
    settings = {"epochs": share, "evaluate_every": share, "seed": seed, "combining": combining}
    spec = spec.model_copy(update={"train": spec.train.model_copy(update=settings)})
    trainer = Trainer(spec, data, ready_backbone(backbone_of(spec)), folder, Quiet())
    trainer.run()
    found = {"scores": calibrated_scores(trainer), "losses": dict(trainer.progress.losses)}
    shutil.rmtree(folder, ignore_errors=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("declaration")
    parser.add_argument("--tasks", default="", help="names, separated by commas; all by default")
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--out", type=Path, default=Path("runs/weights"))
    options = parser.parse_args(arguments)
    ways = options.ways.split(",")
    if ways[0] != "sum" or not set(ways) <= set(WAYS):
        raise InputError(f"--ways: found {options.ways}, expected some of {', '.join(WAYS)}", "name `sum` first")
    spec = load_spec(options.declaration)
    spec = declared(spec, options.tasks.split(",") if options.tasks else [task.name for task in spec.tasks])
    data = load(spec)
    options.out.mkdir(parents=True, exist_ok=True)
    means: dict[str, list[float]] = {way: [] for way in ways}
    for seed in range(1, options.seeds + 1):
        losses: Mapping[str, float] = {}
        for way in ways:
            path = options.out / f"{way}-{seed}.json"
            if not path.exists():
                changed = weighed(spec, losses, POWERS[way]) if way in POWERS else spec
                found = trained(changed, data, options.rows, way, seed, options.out / f"{way}-{seed}")
                with atomic_write(path) as draft:
                    draft.write_text(json.dumps(found), encoding="utf-8")
            found = json.loads(path.read_text(encoding="utf-8"))
            losses = found["losses"] if way == "sum" else losses
            means[way].append(sum(found["scores"].values()) / len(found["scores"]))
            print(f"{way} {seed}: {means[way][-1]:.2f}", {task: round(s, 1) for task, s in found["scores"].items()})
    print(json.dumps({way: [round(mean, 2) for mean in some] for way, some in means.items()}))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
