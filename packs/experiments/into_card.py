"""Puts the figures of unseen.json and answering.json into a pack's manifest and card; no weights change.

python packs/experiments/into_card.py runs/base/pack
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umbel.card import card_of
from umbel.errors import InputError, UmbelError
from umbel.pack import CARD, MANIFEST, read_pack

HERE = Path(__file__).parent
TRAINED_ON = ("cmrc2018", "drcd")  # of the sets with passages

Figures = Mapping[str, Mapping[str, Any]]


def unseen(figures: Figures, passages: Figures) -> dict[str, dict[str, Any]]:
    """Return the figures of each set, with the cosine's accuracy beside the pack's.

    Raises:
        InputError: the pack was not measured.
    """
    if "pack" not in figures:
        raise InputError("unseen.json holds no figures of a pack", "run unseen.py --engine pack")
    cosine = figures.get("cosine", {})
    found = {}
    for name, each in figures["pack"].items():
        beside = cosine.get(name, {})
        found[name] = {**each, **({"cosine": beside["accuracy"]} if "accuracy" in beside else {})}
    for name, each in passages.items():
        if not name.startswith(TRAINED_ON):
            found[name] = {"rows": each["questions"], "accuracy": each["exact"], "f1": each["f1"], "ece": each["ece"]}
    return found


def read_sets(passages: Figures) -> dict[str, Mapping[str, Any]]:
    """Return the figures of the sets of passages that training has seen."""
    return {name: each for name, each in passages.items() if name.startswith(TRAINED_ON)}


def write(folder: Path, found: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Write the figures of unseen sets, and of passages where the pack has a reading head, into manifest and card.

    Raises:
        InputError: the pack has no branches.
    """
    manifest = read_pack(folder).manifest
    if manifest.branches is None:
        raise InputError(f"{folder}: the pack has no branches", "train it with questions")
    branches = manifest.branches.model_copy(update={"unseen": found})
    reading = manifest.reading
    if reading:
        reading = reading.model_copy(update={"scores": {**reading.scores, "sets": dict(read)}})
    manifest = manifest.model_copy(update={"branches": branches, "reading": reading})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card_of(manifest), encoding="utf-8")


def main() -> None:
    """Write the figures into a pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="folder")
    options = parser.parse_args()
    asked, read = (json.loads((HERE / f"{name}.json").read_text()) for name in ("unseen", "answering"))
    write(options.pack, unseen(asked, read), read_sets(read))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
