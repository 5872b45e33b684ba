"""Compares the ways of combining tasks at equal compute: change against alone, time and memory a step, by seed.

    python packs/experiments/combining.py PACK.yaml [--full] [--out FOLDER] [--seeds 3] [--ways sum,upgrad] [--rows 600]

Every way trains the same tasks jointly on the same rows in the same steps; the tasks alone are trained once. Cheap by
default: hidden states of the frozen backbone, a small shared adapter. With `--full` the backbone itself is tuned.
`sum` with its equal weights is the baseline to beat (Kurin et al. 2022, Xin et al. 2022); `fixed` is `sum` with each
task's weight one over its mean loss at the end of a training with `sum`, as the cheapest tuning there is.

Finished trainings stand in `--out` and are not made again. The last line is JSON; the figures go to combining.json
beside this file with `--keep`.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umbel.cache import atomic_write
from umbel.data import load
from umbel.errors import InputError, UmbelError, suggest
from umbel.frozen import HiddenStates
from umbel.interference import CHEAP_RATES, Quiet, Run, Study
from umbel.intervals import over_seeds, rounded
from umbel.loading import backbone_of, ready_backbone
from umbel.metrics import LOWER_IS_BETTER
from umbel.publish import calibrated_scores
from umbel.spec import load_spec
from umbel.subsets import Budget, rows_of
from umbel.train import Trainer

FIGURES = Path(__file__).parent / "combining.json"
WAYS = (
    "sum", "fixed", "scaled", "uncertainty", "dwa", "famo",
    "gradnorm", "pcgrad", "cagrad", "nash-mtl", "aligned-mtl", "upgrad",
)  # fmt: skip


def train_joint(study: Study, way: str, tasks: Sequence[str], seed: int, scales: Mapping[str, float]) -> dict[str, Any]:
    """Train all tasks jointly in one way; return the scores, the milliseconds a step and the peak memory."""
    settings = {"combining": "sum" if way == "fixed" else way} | (CHEAP_RATES if study.states is not None else {})
    spec, data = study.rows.of(tasks, study.budget, seed, **settings)
    if way == "fixed":
        weighed = tuple(task.model_copy(update={"weight": scales[task.name]}) for task in spec.tasks)
        spec = spec.model_copy(update={"tasks": weighed})
    folder = study.folder / "now-combining"
    shutil.rmtree(folder, ignore_errors=True)
    trainer = Trainer(spec, data, study.backbone, folder, Quiet(), encoder=study.encoder(seed))
    trainer.run()
    found = {
        "scores": calibrated_scores(trainer),
        "ms_a_step": 1000 * trainer.progress.seconds / trainer.progress.step,
        "steps": trainer.progress.step,
        "losses": dict(trainer.progress.losses),
    }
    shutil.rmtree(folder, ignore_errors=True)
    return found


def changes_of(study: Study, scores: Mapping[str, float], seed: int) -> dict[str, float]:
    """Return each task's change against alone under the same seed."""
    found = {}
    for task, score in scores.items():
        sign = -1 if study.rows.tasks[task].metric in LOWER_IS_BETTER else 1
        found[task] = sign * (score - study.finished[Run((task,), seed).key].scores[task])
    return found


def summary(runs: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], study: Study) -> dict[str, Any]:
    """Return for each way the mean and worst change, the mean over that of `sum` seed by seed, and its time."""
    found: dict[str, Any] = {}
    plain: list[float] = []
    for way in WAYS:
        have = [seed for seed in seeds if f"{way} {seed}" in runs]
        if not have:
            continue
        by_seed = [changes_of(study, runs[f"{way} {seed}"]["scores"], seed) for seed in have]
        means = [float(np.mean(list(each.values()))) for each in by_seed]
        plain = means if way == "sum" else plain
        over_sum = [own - other for own, other in zip(means, plain, strict=False)]
        mean = {task: float(np.mean([each[task] for each in by_seed])) for task in by_seed[0]}
        worst = min(mean, key=mean.__getitem__)
        found[way] = {
            "seeds": len(have),
            "mean_change": over_seeds(means),
            "over_sum": over_seeds(over_sum) if over_sum else None,
            "worst_change": {"task": worst, "change": mean[worst]},
            "losing_over_1": sum(change < -1 for change in mean.values()),
            "ms_a_step": float(np.median([runs[f"{way} {seed}"]["ms_a_step"] for seed in have])),
            "changes": mean,
        }
    return rounded(found, 3)  # type: ignore[no-any-return]


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line for each way, the best mean change first."""
    head = f"{'way':<13}{'mean change':>12}{'95 %':>18}{'over sum':>9}{'95 %':>18}{'worst':>9}  {'task':<22}"
    lines = [f"{head}{'lose > 1':>9}{'ms a step':>11}"]
    for way, each in sorted(found.items(), key=lambda item: -item[1]["mean_change"][0]):
        mean, low, high = each["mean_change"]
        over, *ends = each["over_sum"] or [0.0, 0.0, 0.0]
        worst = each["worst_change"]
        lines.append(
            f"{way:<13}{mean:>+12.2f}{f'{low:+.2f} to {high:+.2f}':>18}"
            f"{over:>+9.2f}{f'{ends[0]:+.2f} to {ends[1]:+.2f}':>18}{worst['change']:>+9.2f}  {worst['task']:<22}"
            f"{each['losing_over_1']:>9}{each['ms_a_step']:>11.1f}"
        )
    return "\n".join(lines)


def measure(study: Study, tasks: Sequence[str], ways: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Train what is not trained yet, tasks alone first; return the summary."""
    path = study.folder / "combining-runs.json"
    runs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    study.prepare(tasks)
    for seed in seeds:
        for run in (Run((task,), seed) for task in tasks):
            if run.key not in study.finished:
                study.finished[run.key] = study.train(run, lambda rows: None)
                study.keep()
        for way in ways:
            key = f"{way} {seed}"
            if key in runs:
                continue
            scales = {task: 1 / max(loss, 1e-3) for task, loss in runs.get(f"sum {seed}", {}).get("losses", {}).items()}
            began = time.monotonic()
            runs[key] = train_joint(study, way, tasks, seed, scales)
            print(f"{key}: {time.monotonic() - began:.0f} s", file=sys.stderr)
            with atomic_write(path) as draft:
                draft.write_text(json.dumps(runs), encoding="utf-8")
    return summary(runs, seeds, study)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("declaration", type=Path)
    parser.add_argument("--full", action="store_true", help="tune the backbone itself")
    parser.add_argument("--out", type=Path, help="where trainings are kept, those of `umbel interference` included")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=Budget().rows)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--tasks", default="", help="names, separated by commas; all that train by default")
    parser.add_argument("--keep", action="store_true", help="write the figures to combining.json beside this script")
    options = parser.parse_args(arguments)
    ways = [way for way in options.ways.split(",") if way]
    for way in ways:
        if way not in WAYS:
            raise InputError(f"--ways: {way!r} is not a way{suggest(way, WAYS)}")
    if "fixed" in ways and "sum" not in ways[: ways.index("fixed")]:
        raise InputError("--ways: `fixed` takes its weights from `sum`", "name `sum` before it")
    spec = load_spec(options.declaration)
    rows = rows_of(spec, load(spec), [name for name in options.tasks.split(",") if name])
    backbone = ready_backbone(backbone_of(spec))
    budget = Budget(rows=options.rows, drawn=2 * options.rows)
    folder = options.out or Path("runs") / f"{spec.name}-combining"
    study = Study(rows, backbone, folder, budget, None if options.full else HiddenStates(backbone))
    found = measure(study, list(rows.tasks), ways, range(1, options.seeds + 1))
    print(table(found))
    kept = {
        "pack": spec.name,
        "mode": study.mode,
        "budget": {"rows": budget.rows, "drawn": budget.drawn, "step_rows": budget.step_rows},
        "threads": torch.get_num_threads(),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "ways": found,
    }
    if options.keep:
        FIGURES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(kept))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
