"""What does it do to each task to fold a share of some tasks' own parts into the encoder that all share?

    umbel train packs/base/base.yaml --sharing auto --start BASE --out runs/own
    python packs/experiments/folding.py BASE runs/own/pack --data packs/base/base.yaml [--shares 0.5,1] [--rows 400]
        [--keep]

BASE is the pack before, whose scores are the first column. Nothing is trained: the tasks of the part have its heads,
all others those that they had. Scores are of at most `--rows` rows of each dev file, in torch, as the packs are
calibrated. The last line is JSON; `--keep` writes it to folding.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from umbel import adapters
from umbel.cache import atomic_write
from umbel.continuing import folded, trained_anew
from umbel.errors import InputError, UmbelError
from umbel.evaluate import evaluate
from umbel.loading import backbone_of_pack
from umbel.pack import Pack, read_pack
from umbel.packing import write_pack
from umbel.scoring import dev_data, torch_predictor
from umbel.spec import PackSpec, load_spec
from umbel.weights import Backbone

FIGURES = Path(__file__).parent / "folding.json"


def without_parts(pack: Pack, backbone: Backbone, share: float, folder: Path) -> Pack:
    """Write a pack whose tasks all read one encoder, which has that share of what the parts change in it."""
    entries = {name: entry.model_copy(update={"fork": None}) for name, entry in pack.manifest.tasks.items()}
    return write_pack(
        folder,
        pack.manifest.model_copy(update={"tasks": entries, "reading": None}),
        {name: pack.head(name) for name, entry in entries.items() if entry.head},
        adapters.full_difference(backbone.tensors, folded(pack, backbone, share)),
        branches=pack.branches(),
        ngrams=pack.ngrams(),
    )


def scores(pack: Pack, backbone: Backbone, spec: PackSpec, rows: int) -> dict[str, float]:
    """Return the dev score of each task that has one."""
    tasks, dev = dev_data(spec, pack.tasks)
    found = evaluate(torch_predictor(pack, backbone), tasks, dev, limit=rows)
    return {name: round(float(report["score"]), 2) for name, report in found.items()}


def main() -> None:
    """Fold, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the pack without the parts: a name or a folder")
    parser.add_argument("pack", help="with them: a name or a folder")
    parser.add_argument("--data", type=Path, required=True, help="their declaration")
    parser.add_argument("--shares", default="0.5,1", help="of the parts, from 0 to 1, separated by commas")
    parser.add_argument("--rows", type=int, default=400, help="of each dev file, at most")
    parser.add_argument("--keep", action="store_true", help="write folding.json")
    options = parser.parse_args()
    if not all(re.fullmatch(r"0(\.\d+)?|1(\.0+)?", share) for share in options.shares.split(",")):
        raise InputError(f"--shares: found {options.shares!r}", "numbers from 0 to 1, separated by commas")
    before, pack, spec = read_pack(options.before), read_pack(options.pack), load_spec(options.data)
    if not pack.forks.keys() - trained_anew(pack):
        lacking = f"{pack.folder}: no task has a part that can be folded"
        raise InputError(lacking, "name a pack of `umbel train --sharing auto` with adapters")
    backbone = backbone_of_pack(pack)
    columns = {"before": scores(before, backbone, spec, options.rows)}
    with tempfile.TemporaryDirectory() as folder:
        for share in options.shares.split(","):
            mixed = without_parts(pack, backbone, float(share), Path(folder) / share)
            columns[share] = scores(mixed, backbone, spec, options.rows)
    print(f"{'':24}" + "".join(f"{name:>9}" for name in columns))
    for task in columns["before"]:
        mark = " *" if task in pack.forks else ""
        print(f"{task + mark:24}" + "".join(f"{column[task]:9.2f}" for column in columns.values()))
    found = {"rows": options.rows, "part": sorted(pack.forks), "scores": columns}
    print(json.dumps(found))
    if options.keep:
        with atomic_write(FIGURES) as draft:
            draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
