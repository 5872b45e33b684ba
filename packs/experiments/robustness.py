"""What does one task's bad data do to the others, trained jointly, and added to a sealed pack?

    python packs/experiments/robustness.py PACK.yaml [--full] [--out FOLDER] [--seeds 3] [--tasks A,B] [--spoilt A]
        [--keep]

One task at a time is spoilt: 10 % or 30 % of its train labels are another row's (of spans: other labels), or only 50 of
its rows are left. `joint`: all tasks train together; the change of the other tasks against the same training with sound
data, and of the spoilt one. `sealed`: the others are trained first, then the spoilt task learns a head on what they
left; the largest difference of any logit of the others before and after, which must be 0.

Cheap by default, as `umbel interference --cheap`; `--full` tunes the backbone. Finished trainings are kept in `--out`.
The last line is JSON; `--keep` writes it to robustness.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umbel.cache import atomic_write
from umbel.data import load
from umbel.errors import UmbelError
from umbel.frozen import HiddenStates
from umbel.interference import CHEAP_RATES, Quiet, Study
from umbel.intervals import over_seeds, rounded
from umbel.loading import backbone_of, ready_backbone
from umbel.model import MultiTaskModel, window_logits
from umbel.publish import calibrated_scores
from umbel.records import Example, Task
from umbel.spec import load_spec
from umbel.subsets import Budget, Rows, rows_of
from umbel.train import Trainer

FIGURES = Path(__file__).parent / "robustness.json"
TASKS = (
    "news-topic", "offensive", "assistant-intent", "command-intent", "command-slots", "request-slots", "service-intent",
    "entities-social-zh",
)  # fmt: skip
SPOILT = ("offensive", "assistant-intent", "command-slots")
SOUND, TINY = "sound", "50 rows"
FAULTS = {"10 % wrong": 0.1, "30 % wrong": 0.3, TINY: 0.0}
FEW = 50


def spoil(rows: Rows, task: str, fault: str, seed: int) -> Rows:
    """Return the rows with those of one task spoilt."""
    if fault == SOUND:
        return rows
    train = list(rows.train[task])
    spoilt = train[:FEW] if fault == TINY else mislabelled(rows.tasks[task], train, FAULTS[fault], seed)
    return replace(rows, train={**rows.train, task: spoilt})


def mislabelled(task: Task, examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Return the rows with a share of their answers wrong: another row's that differs, or spans of other labels."""
    rng = np.random.default_rng(seed)
    found = list(examples)
    for place in np.flatnonzero(rng.random(len(found)) < share).tolist():
        gold = found[place].golds[task.name]
        if isinstance(gold, tuple):
            wrong: Any = tuple((start, end, _other(task.labels, label, rng)) for start, end, label in gold)
        else:
            others = [each.golds[task.name] for each in examples if each.golds[task.name] != gold]
            wrong = others[rng.integers(len(others))] if others else gold
        found[place] = replace(found[place], golds={task.name: wrong})
    return found


def _other(labels: Sequence[str], label: str, rng: np.random.Generator) -> str:
    others = [each for each in labels if each != label]
    return others[rng.integers(len(others))] if others else label


def trained(study: Study, rows: Rows, tasks: Sequence[str], seed: int, **settings: Any) -> Trainer:
    """Train tasks jointly on some rows."""
    spec, data = rows.of(tasks, study.budget, seed, **(CHEAP_RATES if study.mode == "cheap" else {}) | settings)
    folder = study.folder / "now-robustness"
    shutil.rmtree(folder, ignore_errors=True)
    trainer = Trainer(spec, data, study.backbone, folder, Quiet(), encoder=study.encoder(seed))
    trainer.run()
    shutil.rmtree(folder, ignore_errors=True)
    return trainer


def logits_of(model: MultiTaskModel, trainer: Trainer, tasks: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """Return the tasks' logits on the first dev rows of each."""
    texts = [example.text for task in tasks for example in trainer.data.dev[task][:20]]
    windows = [cut[0] for cut in trainer.backbone.tokenizer.windows_many(texts)]
    return [logits for found in window_logits(model, windows, tasks) for logits in found.values()]


def sealed(study: Study, rows: Rows, tasks: Sequence[str], spoilt: str, seed: int) -> float:
    """Return the largest difference of the others' logits, before and after a head is learnt on spoilt rows."""
    others = [task for task in tasks if task != spoilt]
    joint = trained(study, study.rows, others, seed)
    before = logits_of(joint.model, joint, others)
    joint.model.encoder.requires_grad_(False)  # sealed: a task added later trains its own head alone
    settings = CHEAP_RATES if study.mode == "cheap" else {}
    spec, data = rows.of([spoilt], study.budget, seed, **settings)
    folder = study.folder / "now-robustness"
    Trainer(spec, data, study.backbone, folder, Quiet(), encoder=joint.model.encoder).run()
    shutil.rmtree(folder, ignore_errors=True)
    after = logits_of(joint.model, joint, others)
    return max(float(np.abs(one - other).max()) for one, other in zip(before, after, strict=True))


def measure(study: Study, tasks: Sequence[str], spoilt: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Train what is not trained yet; return what each fault does to the others and to the spoilt task."""
    path = study.folder / "robustness-runs.json"
    runs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    study.prepare(tasks)

    def kept(key: str, value: Any) -> None:
        runs[key] = value
        with atomic_write(path) as draft:
            draft.write_text(json.dumps(runs), encoding="utf-8")
        print(key, file=sys.stderr)

    for seed in seeds:
        for task in [SOUND, *spoilt]:
            for fault in [SOUND] if task == SOUND else FAULTS:
                if (key := f"{task} {fault} {seed}") not in runs:
                    rows = spoil(study.rows, task, fault, seed)
                    kept(key, calibrated_scores(trained(study, rows, tasks, seed)))
    for task in spoilt:
        if (key := f"{task} sealed") not in runs:
            kept(key, sealed(study, spoil(study.rows, task, "30 % wrong", 1), tasks, task, seeds[0]))
    return summary(runs, tasks, spoilt, seeds)


def summary(runs: dict[str, Any], tasks: Sequence[str], spoilt: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Return by spoilt task and fault the mean and worst change of the others, the spoilt one's, and the sealed one."""
    found: dict[str, Any] = {}
    for task in spoilt:
        others = [each for each in tasks if each != task]
        for fault in FAULTS:
            changes = {
                each: [runs[f"{task} {fault} {s}"][each] - runs[f"{SOUND} {SOUND} {s}"][each] for s in seeds]
                for each in tasks
            }
            means = {each: float(np.mean(changes[each])) for each in others}
            worst = min(means, key=means.__getitem__)
            found[f"{task}, {fault}"] = {
                "others": over_seeds([float(np.mean([changes[e][n] for e in others])) for n in range(len(seeds))]),
                "worst": {"task": worst, "change": means[worst]},
                "itself": over_seeds(changes[task]),
                "sealed_difference": runs[f"{task} sealed"],
            }
    return rounded(found, 3)  # type: ignore[no-any-return]


def table(found: dict[str, Any]) -> str:
    """Return a line for each spoilt task and fault."""
    lines = [f"{'spoilt':<32}{'others':>8}{'95 %':>18}{'worst':>8}  {'task':<20}{'itself':>8}{'sealed':>8}"]
    for name, each in found.items():
        mean, low, high = each["others"]
        interval = f"{low:+.2f} to {high:+.2f}"
        lines.append(
            f"{name:<32}{mean:>+8.2f}{interval:>18}{each['worst']['change']:>+8.2f}  {each['worst']['task']:<20}"
            f"{each['itself'][0]:>+8.2f}{each['sealed_difference']:>8g}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("declaration", type=Path)
    parser.add_argument("--full", action="store_true", help="tune the backbone itself")
    parser.add_argument("--out", type=Path, help="where trainings are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=Budget().rows)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--spoilt", default=",".join(SPOILT))
    parser.add_argument("--keep", action="store_true", help="write the figures to robustness.json beside this script")
    options = parser.parse_args(arguments)
    spec = load_spec(options.declaration)
    tasks, spoilt = options.tasks.split(","), options.spoilt.split(",")
    rows = rows_of(spec, load(spec), tasks)
    backbone = ready_backbone(backbone_of(spec))
    budget = Budget(rows=options.rows, drawn=2 * options.rows)
    folder = options.out or Path("runs") / f"{spec.name}-robustness"
    study = Study(rows, backbone, folder, budget, None if options.full else HiddenStates(backbone))
    found = measure(study, tasks, spoilt, range(1, options.seeds + 1))
    print(table(found))
    kept = {
        "pack": spec.name,
        "mode": study.mode,
        "rows": budget.rows,
        "threads": torch.get_num_threads(),
        "found": found,
    }
    if options.keep:
        FIGURES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(kept))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
