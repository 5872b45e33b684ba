"""Trains small packs on sets with published figures, which the shipped pack leaves out, and scores them on dev.

    python packs/experiments/trials.py --sets DATA [--only cluener,sst2] [--out packs/experiments/runs/trials]

The declarations stand in `trials` beside this file. DATA holds a folder for each set, with `train.jsonl.gz` and
`dev.jsonl.gz`; `UMBEL_DATA` names it, too. A set that is not there is skipped. Its rows are written to `trials/data`,
where `umbel train` finds them as well; of two spans that overlap (cluener2020 has one such pair) the longer is kept.

Each pack is trained by the product's trainer and scored through the runtime on all dev rows. Finished trials stand in
trials.json beside this file and are not trained again; a broken-off one goes on where it was. TRIALS says how many
minutes each may take on two cores with nothing beside, two hours in all. `--rows` tries the script on a few rows and
keeps no figures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import umbel
from umbel.cache import atomic_write
from umbel.catalogue import load_backbone
from umbel.console import PlainReporter
from umbel.data import load
from umbel.errors import InputError, UmbelError, suggest
from umbel.publish import publish
from umbel.rows import read_rows
from umbel.scoring import runtime_predictor, score
from umbel.spec import PackSpec, load_spec
from umbel.train import Trainer

HERE = Path(__file__).parent
SPECS = HERE / "trials"
FIGURES = HERE / "trials.json"
SPLITS = ("train", "dev")
DIGITS = 2

Figures = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One set, the minutes that its training takes, and what others reached on it, by task."""

    set: str
    minutes: int
    published: Mapping[str, str]


TRIALS = {
    "cluener": Trial("cluener2020", 28, {"entities": "BiLSTM-CRF 70.0, BERT-base 78.8 (test)"}),
    "conll2003": Trial("conll2003", 32, {"entities": "BERT-base 92 (test)"}),
    "sst2": Trial("sst2", 20, {"sentiment": "CNN 87.0, BERT-base 93 (test)"}),
    "trec": Trial("trec_questions", 20, {"type": "CNN 92.8, BERT 97 (test)"}),
    "shopping": Trial("online_shopping_10_cats", 25, {}),
}


def missing(sets: Path, trial: Trial) -> str:
    """Return why a trial cannot be made, if so."""
    absent = [str(path) for split in SPLITS if not (path := sets / trial.set / f"{split}.jsonl.gz").is_file()]
    return f"{', '.join(absent)} not found" if absent else ""


def prepare(sets: Path, trial: Trial, folder: Path) -> None:
    """Write a set's files to where its declaration names them, without spans that overlap longer ones.

    Raises:
        DataError: a file is damaged.
        CacheError: they cannot be written.
    """
    for split in SPLITS:
        rows = [flat(row) for _, row in read_rows(sets / trial.set / f"{split}.jsonl.gz")]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with atomic_write(folder / f"{trial.set}.{split}.jsonl.gz") as path:
            path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose spans do not overlap, the longer ones kept: tags mark a token once."""
    return {column: _flat(value) if isinstance(value, list) else value for column, value in row.items()}


def _flat(spans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    kept: list[Mapping[str, Any]] = []
    for span in sorted(spans, key=lambda span: span["start"] - span["end"]):
        if all(span["end"] <= other["start"] or other["end"] <= span["start"] for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span["start"])


def shortened(spec: PackSpec, rows: int, total: int) -> PackSpec:
    """Return the declaration with so many rows to train on."""
    share = rows / total
    settings = spec.train.model_copy(update={"epochs": share, "evaluate_every": share})
    return spec.model_copy(update={"train": settings})


def run(spec: PackSpec, folder: Path, rows: int, console: Console) -> Figures:
    """Train a declaration, or go on where that stopped, and return the dev scores of its pack in the runtime."""
    data = load(spec)
    if rows:
        spec = shortened(spec, rows, sum(map(len, data.train.values())))
    trainer = Trainer(spec, data, load_backbone(spec.backbone), folder, PlainReporter(console))
    trainer.run()
    model = umbel.load(publish(trainer, folder / "pack").folder)
    reports = score(runtime_predictor(model), model.tasks, spec)
    return {
        "rows": trainer.progress.rows,
        "epochs": round(spec.train.epochs, 4),
        "minutes": round(trainer.progress.seconds / 60, 1),
        "tasks": {name: _kept(report) for name, report in reports.items()},
    }


def _kept(report: Mapping[str, Any]) -> Figures:
    scores = {name: round(value, DIGITS) for name, value in report["scores"].items()}
    return {"dev rows": report["rows"], "metric": report["metric"], "score": round(report["score"], DIGITS)} | scores


def table(found: Mapping[str, Figures]) -> str:
    """Return a line for each task of each trial: its dev score, and what others reached."""
    lines = [f"{'trial':<12}{'task':<12}{'metric':<10}{'dev':>7}{'minutes':>9}  published"]
    for name, figures in found.items():
        for task, each in figures["tasks"].items():
            published = TRIALS[name].published.get(task, "")
            row = (
                f"{name:<12}{task:<12}{each['metric']:<10}{each['score']:>7.2f}{figures['minutes']:>9.1f}  {published}"
            )
            lines.append(row.rstrip())
    return "\n".join(lines)


def kept_figures() -> dict[str, Figures]:
    """Return the figures of the trials that are finished."""
    return dict(json.loads(FIGURES.read_text())) if FIGURES.exists() else {}


def chosen(only: str) -> list[str]:
    """Return the names of trials asked for, all by default.

    Raises:
        InputError: one is no trial.
    """
    names = only.split(",") if only else list(TRIALS)
    for name in names:
        if name not in TRIALS:
            raise InputError(f"--only: {name!r} is not a trial{suggest(name, list(TRIALS))}", ", ".join(TRIALS))
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the trials that are not in trials.json yet, and print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, default=os.environ.get("UMBEL_DATA"), help="folder of sets; UMBEL_DATA")
    parser.add_argument("--only", default="", help="names of trials, separated by commas; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "runs/trials", help="where checkpoints and packs are kept")
    parser.add_argument("--rows", type=int, default=0, help="train on so many rows, to try the script")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = {} if options.rows else kept_figures()
    for name in chosen(options.only):
        if name in found:
            continue
        trial = TRIALS[name]
        if reason := missing(options.sets, trial) if options.sets else "no folder of sets: give --sets":
            print(f"{name}: skipped: {reason}")
            continue
        prepare(options.sets, trial, SPECS / "data")
        print(f"{name}: about {trial.minutes} minutes on two cores", flush=True)
        found[name] = run(load_spec(SPECS / f"{name}.yaml"), options.out / name, options.rows, Console())
        if not options.rows:
            FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
