"""What do questions asked on the spot cost, as branches of one encoding, against a sequence for each of them?

    python bench/branches.py [--pack FOLDER] [--threads 2] [--rounds 9] [--quick] [--write docs/bench/branches.json]

Theory: a branch token goes through the layers that a text's token goes through, and costs as much. So ten questions of
five options, some 260 tokens, on a text of 128 cost (128 + 260) / 128 = 3 encodings. Joint sequences of a question, its
options and the text cost 10 x (128 + 26) / 128 = 12; the longer the text, the nearer the quotient comes to ten.

Both sides run one encoder's weights in bfloat16 where there is that, in processes of their own, in turn; for
`in_8_bits` both run them in 8 bits. Umbel's side is a whole call, with questions that were asked before (`unseen` in
the table: they were not, and are read under a text that says nothing, too). The joint side is given token ids, and not
charged for reading its answers out. Without a pack the readouts are random, which costs the same.

`ten_questions_over_token_ideal`: ten questions of a kept text over (their tokens / 128) encodings of it.
`speedup_over_joint_*`: ten joint sequences over encoding and ten questions; on 512 tokens each is cut to 512.
`options255_fast_over_encoding`: a choice of 255 options on a kept text over encoding it.
`options255_fresh_over_encoding`: the same with the encoding.
`options255_unseen_over_encoding`: the first time that these options are asked.
`unseen_questions_over_asked_before`: ten questions the first time they are asked over any later time.
`kept_encoding_over_fresh`: ten questions of a kept text over the same with its encoding.
`one_of_40_over_one_of_10`: the cost of one question among forty over that of one among ten: 1 where it stays flat.
`max_permutation_difference`: of probabilities, in 1,000 random cases of other orders and questions added.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _asking import ten, tokens_asked
from _common import Seconds, Worker, finish, interleaved, machine, milliseconds, options_of, ratio, start

from umbel.engine import uses_bfloat16

STEPS = (1, 2, 5, 10, 20, 40)
UMBEL = (
    *("encode 128", "encode 512", "fresh 128 10", "fresh 512 10", "kept 512 10", "unseen 128 10"),
    *("options 128 255", "fresh_options 128 255", "unseen_options 128 255", *(f"kept 128 {count}" for count in STEPS)),
)
EIGHT = " int8"  # ends the names of those that run in 8 bits
JOINT = ("joint 128 10", "joint 512 10")


def difference(worker: Worker, cases: int) -> float:
    """Return how far an answer moves at most in so many random cases."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "difference.npz"
        worker.save(f"permuted {cases}", path)
        with np.load(path) as found:
            return float(found["difference"])


def ratios(seconds: Seconds) -> dict[str, Any]:
    """Return the figures that compare."""

    def over(first: str, second: str) -> float:
        return ratio(seconds, ("umbel", first), ("umbel", second)) or 0.0

    def faster(tokens: int, end: str = "") -> float | None:
        return ratio(seconds, (f"joint{end}", f"joint {tokens} 10"), (f"umbel{end}", f"fresh {tokens} 10"))

    ideal = tokens_asked(ten()) / 128
    return {
        "ten_questions_over_token_ideal": round(over("kept 128 10", "encode 128") / ideal, 3),
        "speedup_over_joint_128": faster(128),
        "speedup_over_joint_512": faster(512),
        "options255_fast_over_encoding": over("options 128 255", "encode 128"),
        "options255_fresh_over_encoding": over("fresh_options 128 255", "encode 128"),
        "options255_unseen_over_encoding": over("unseen_options 128 255", "encode 128"),
        "unseen_questions_over_asked_before": over("unseen 128 10", "kept 128 10"),
        "kept_encoding_over_fresh": over("kept 128 10", "fresh 128 10"),
        "in_8_bits": {f"speedup_over_joint_{tokens}": faster(tokens, EIGHT) for tokens in (128, 512)},
        "one_of_40_over_one_of_10": round(over("kept 128 40", "kept 128 10") / 4, 3),
    }


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__, ("--pack", {"default": "", "help": "a pack that was trained for questions"}))
    plain = "bfloat16" if uses_bfloat16("auto") else "float32"
    sides = {"umbel": ("asking", options.pack, plain), "joint": ("joint", plain)}
    sides |= {f"umbel{EIGHT}": ("asking", options.pack, "int8"), f"joint{EIGHT}": ("joint", "int8")}
    workers = start(sides, options.threads)
    asked = [(worker, JOINT if name.startswith("joint") else UMBEL) for name, worker in workers.items()]
    seconds = interleaved(asked, options.rounds, options.quick)
    for (name, operation), values in seconds.items():
        print(f"{name:10}{operation:24}{milliseconds(values):10.2f} ms a call", flush=True)
    figures = ratios(seconds) | {
        "max_permutation_difference": difference(workers["umbel"], 10 if options.quick else 1000),
        "machine": machine(),
    }
    for worker in workers.values():
        worker.close()
    for key, value in figures.items():
        print(f"{key:32}{value}")
    finish(figures, options.write)


if __name__ == "__main__":
    main()
