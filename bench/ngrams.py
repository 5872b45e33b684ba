"""What do character n-grams cost beside an encoding?

    python bench/ngrams.py [--pack base] [--threads 2] [--rounds 9] [--quick]

Theory: a text's n-grams are counted once, and looked up for each task that reads them; that is a few dozen calls of
numpy on a few hundred numbers, and next to nothing where all is in cache. But an encoding has just read some 40 MB of
weights, so little of the tables, and of the code, need still be. All are timed after an encoding of the same text,
and once more at once (`again`).

`counting_over_encoding`: counting a message's n-grams over encoding it, 32 tokens.
`task_over_encoding.*`: what a task reads off them over the same, one after the other in the order of the pack.
`all_over_encoding`: counting and all tasks over the same; `all_again_over_encoding` from cache.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from _common import finish, machine, options_of
from _rivals import padded, tokens_of
from _texts import calls_of

import umbel
from umbel.errors import UmbelError
from umbel.ngrams import counted

PASSES = 30  # over both texts, in a round


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__, ("--pack", {"default": "base", "help": "a pack of which tasks read n-grams"}))
    model = umbel.load(options.pack, threads=options.threads)
    readers = model.pack.ngrams()
    if not readers:
        raise UmbelError(f"{options.pack}: no task of it reads n-grams", "give such a pack: --pack FOLDER")
    longest = max(reader.longest for reader in readers.values())
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        done = work()
        seconds[name].append(time.perf_counter() - began)
        return done

    for _ in range(options.rounds if options.quick else options.rounds * PASSES):
        for (text,) in calls_of("tokens32"):
            ids, lengths = padded(tokens_of([text]))
            rows = model.embedding.rows(ids)
            timed("encoding", lambda rows=rows, lengths=lengths: model.engine.encode(rows, lengths))
            for again in ("", " again"):
                found = timed(f"counting{again}", lambda text=text: counted(text, longest))
                for task, reader in readers.items():
                    timed(f"{task}{again}", lambda reader=reader, found=found: reader.logits(*found))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:32}{1e6 * value:10.1f} us", flush=True)
    encoding = medians.pop("encoding")
    over = {name: round(value / encoding, 4) for name, value in medians.items()}
    figures: dict[str, Any] = {"counting_over_encoding": over["counting"]}
    figures |= {f"task_over_encoding.{task}": over[task] for task in readers}
    for again in ("", " again"):
        parts = [over[f"{name}{again}"] for name in ("counting", *readers)]
        figures[f"all{again.replace(' ', '_')}_over_encoding"] = round(sum(parts), 4)
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
