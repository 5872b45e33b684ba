"""Measures decoders on sets that no pack trains on, beside a pack's branches: accuracy, milliseconds a question.

    python packs/experiments/decoders.py --sets DATA --rows 100 [--only sst2] [--engines smollm2-135m-instruct]

Questions are those of `unseen.py`, choices and predicates by their names alone, about evenly spread dev rows. A decoder
weighs options as `zeroshot.Readout` says; `--readouts` compares all of its ways. Every question is asked of a text that
was not read before, so a question's milliseconds are those of reading the text, too; `+ms` are those of one more
question on a text that was read. The first row of each ask is not timed: it pays for the question's calibration. The
table goes to the terminal, the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from unseen import HERE, Asked, dev_rows, figures, make, names_only, read_asks, spread

import umbel
from umbel.decide import Answer
from umbel.decoding.load import load_decoder
from umbel.decoding.zeroshot import Asker, Readout
from umbel.errors import UmbelError
from umbel.questions import Choice, Predicate, Question

Asks = Callable[[str, Sequence[Question]], list[Answer]]


def measure(ask: Asks, asked: Sequence[Asked]) -> dict[str, float]:
    """Return the figures of one ask, and the medians of milliseconds for a text's first and second question."""
    answers, first, second = [], [], []
    for each in asked:
        began = time.perf_counter()
        answers += ask(each.text, [each.question])
        read = time.perf_counter()
        ask(each.text, [each.question])
        first.append(1000 * (read - began))
        second.append(1000 * (time.perf_counter() - read))
    times = {"ms": float(np.median(first[1:])), "+ms": float(np.median(second[1:]))}
    return figures(asked, answers) | {name: round(value, 1) for name, value in times.items()}


def questions_of(folder: Path, names: Sequence[str], rows: int) -> dict[str, list[Asked]]:
    """Return the choices and predicates of each ask, their options by name alone."""
    found = {}
    asks = read_asks(HERE / "unseen.yaml")
    for name in names or asks:
        for key, ask in asks[name].items():
            chosen = [row for row in spread(dev_rows(folder, name), rows) if ask.column in row]
            asked = [names_only(make(ask, row)) for row in chosen]
            if asked and isinstance(asked[0].question, Choice | Predicate):
                found[f"{name}.{key}"] = asked
    return found


def engines_of(name: str, every_readout: bool, threads: int) -> Mapping[str, Asks]:
    """Return what a name of `--engines` asks: a pack, or a decoder with one or all readouts."""
    if name == "pack":
        return {"base": umbel.load("base", threads=threads).ask}
    decoder = load_decoder(name, threads)
    both: tuple[Literal["sum", "mean"], ...] = ("sum", "mean")
    ways = [Readout(by, calibrated, listed) for by, calibrated, listed in product(both, (True, False), (True, False))]
    return {
        name if not every_readout else f"{name} {astuple(way)}": Asker(decoder, way).ask
        for way in (ways if every_readout else [Readout()])
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every engine on every ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--rows", type=int, default=100, help="of a set, at most")
    parser.add_argument("--only", default="", help="names of sets, separated by commas; all by default")
    parser.add_argument("--engines", default="pack,smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct,gemma-3-270m")
    parser.add_argument("--readouts", action="store_true", help="compare all ways to weigh options")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    questions = questions_of(options.sets, options.only.split(",") if options.only else [], options.rows)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in options.engines.split(","):
        for engine, ask in engines_of(name, options.readouts, options.threads).items():
            for key, asked in questions.items():
                found.setdefault(engine, {})[key] = measure(ask, asked)
                told = "".join(f"  {word} {value:g}" for word, value in found[engine][key].items())
                print(f"{engine:<48} {key:<32}{told}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
