"""Fits how sure a pack's choices and levels are again, through the runtime, and writes it into its manifest and card.

    python packs/base/recalibrate.py src/umbel/packs/base [--blank 0.4] [--rows 250]

`--blank` is the share that is taken off an option's logit of what it is on a text that says nothing
(`umbel.decide.Calibration`). Asks the choices and levels of base.yaml on dev rows, as training does when it publishes a
pack; their temperatures and dev scores change, and the version, if `--version` names one. The vectors of the names that
options had in training are made anew, by which choices doubt others (`umbel.novelty`). No other weights change.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import umbel
from umbel import answered
from umbel.answered import Answered
from umbel.asking import Asker
from umbel.card import card_of
from umbel.data import Data, load
from umbel.decide import BLANK_SHARE, UNCALIBRATED
from umbel.errors import InputError, UmbelError
from umbel.evaluate import spread
from umbel.manifest import BranchesFile
from umbel.pack import read_pack
from umbel.packing import write_branches
from umbel.publish import DEV_ASKED
from umbel.questions import Choice, Score
from umbel.reader import Reader
from umbel.readouts import KNOWN
from umbel.runtime import Model
from umbel.spec import load_spec
from umbel.training import asker_of

HERE = Path(__file__).parent
SEED = 1


def asked(model: Model, reader: Reader, asker: Asker, data: Data, most: int) -> Iterator[Answered]:
    """Ask the choices and levels of dev rows, each text as its first window."""
    rows = [row for file in data.dev.values() for row in spread(file, most)]
    for place, row in enumerate(rows):
        drawn = asker.ask(row, np.random.default_rng([SEED, place]), 1)
        wanted = [(question, gold) for question, gold in drawn if isinstance(question, Choice | Score)]
        if wanted:
            encoding = model.keep(row.text)
            logits = reader.logits(encoding, [question for question, _ in wanted], exact=True)
            for (question, gold), found in zip(wanted, logits, strict=True):
                yield Answered(question, gold, row.text, [(encoding.windows[0].offsets, found[0])])


def recalibrated(branches: BranchesFile, found: list[Answered], blank: float) -> dict[str, Any]:
    """Return what is known of a pack's branches with the calibration and dev scores of what was asked."""
    fitted = answered.fit(found)
    before, after = (answered.scores(found, each) for each in (UNCALIBRATED, fitted))
    scores = {kind: each | {"ece-before": before[kind]["ece"]} for kind, each in after.items()}
    for kind, each in scores.items():
        print(f"{kind}: {each}, temperature {fitted.temperatures[kind]:.4f}")
    update = {
        "temperatures": {**branches.temperatures, **fitted.temperatures},
        "blank": blank,
        "scores": branches.scores | scores,
    }
    return branches.model_dump(exclude={"file", "sha256"}) | update


def main() -> None:
    """Ask, fit, print what changed, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="folder")
    parser.add_argument("--blank", type=float, default=BLANK_SHARE)
    parser.add_argument("--rows", type=int, default=DEV_ASKED, help="of each dev file, at most")
    parser.add_argument("--version", help="the pack's new one; as it was by default")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    if not 0 <= options.blank <= 1:
        raise InputError(f"--blank: found {options.blank}", "from 0 to 1")
    pack = read_pack(options.pack)
    branches = pack.manifest.branches
    if branches is None:
        raise InputError(f"{options.pack}: the pack has no branches", "train it with questions")
    model = umbel.load(options.pack)
    spec = load_spec(HERE / "base.yaml")
    data = load(spec)
    asker = asker_of(spec, data)
    assert asker
    reader = copy(model.reader)
    names = asker.option_names(row for rows in data.train.values() for row in rows)
    known = reader.vectors(names).astype(np.float16)
    reader.weights = {**reader.weights, KNOWN: known.astype(np.float32)}
    reader.calibration = replace(reader.calibration, blank=options.blank)
    found = list(asked(model, reader, asker, data, options.rows))
    fields = recalibrated(branches, found, options.blank) | {"known": len(known)}
    if not options.dry:
        version = options.version or pack.manifest.version
        write_branches(pack, options.pack, {**pack.branches(), KNOWN: known}, fields, version, card_of)


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
