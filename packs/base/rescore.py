"""Scores tasks of a pack again through the runtime, and writes the dev scores into its manifest and card.

    python packs/base/rescore.py src/umbel/packs/base [--tasks entities,aspect-terms]

For a pack whose answers a newer version of the library gives otherwise, without another training. No weights change,
nor do the scores alone and the calibration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import umbel
from umbel.cache import atomic_write
from umbel.card import card_of
from umbel.errors import InputError, UmbelError, suggest
from umbel.manifest import Manifest
from umbel.pack import CARD, MANIFEST, read_pack
from umbel.scoring import runtime_predictor, score, with_scores
from umbel.spec import load_spec

HERE = Path(__file__).parent


def write(folder: Path, manifest: Manifest) -> None:
    """Put a manifest and its card in the place of a pack's."""
    for file, text in ((MANIFEST, manifest.model_dump_json(indent=1) + "\n"), (CARD, card_of(manifest))):
        with atomic_write(folder / file) as draft:
            draft.write_text(text, encoding="utf-8")


def main() -> None:
    """Score, print what changed, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="folder")
    parser.add_argument("--tasks", default="", help="names, separated by commas; all trained ones by default")
    options = parser.parse_args()
    pack = read_pack(options.pack)
    trained = [name for name, entry in pack.manifest.tasks.items() if entry.scores.get("score") is not None]
    wanted = options.tasks.split(",") if options.tasks else trained
    for name in wanted:
        if name not in trained:
            raise InputError(f"--tasks: {name!r} has no score{suggest(name, trained)}", ", ".join(trained))
    model = umbel.load(options.pack)
    tasks = {name: model.tasks[name] for name in wanted}
    found = score(runtime_predictor(model), tasks, load_spec(HERE / "base.yaml"))
    for name, figures in found.items():
        print(f"{name:<24}{pack.manifest.tasks[name].scores['score']:>8.2f}{figures['score']:>8.2f}")
    write(options.pack, with_scores(pack.manifest, found))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
