"""Which engine should run a decoder: llama.cpp, OpenVINO GenAI, or a graph of our own in OpenVINO?

    python bench/decoder_engines.py [--backbone smollm2-135m-instruct] [--threads 2] [--rounds 3] [--quick] [--cpu]

Theory: reading is arithmetic, of which bfloat16 does four times as much a second as fp32 and 8 bits up to four times as
much again; writing reads all weights once a token, so that their bytes decide. All engines take the same file's weights
and the same tokens, in turn within each round; the graph dequantises them, to 16 bits or again to 8.

For each engine: tokens a second read, of a prefix; `ms_written`, milliseconds a token behind it; `branches_ms`, eight
branches of 8 tokens on it; `k8_speedup`, eight prompts over prefix and branches; `alone`, the largest difference of a
branch's logits beside seven others and alone; `to_fp32`, of the logits behind the prefix to those of the fp32 graph.
OpenVINO GenAI gives no logits and no branches. With `--cpu` the clock is that of the processor, for one thread on a
busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from _common import machine
from _decoder_graph import Arithmetic, GraphDecoder
from decoder import BRANCH, BRANCHES, PREFIX, WORDS, Stopwatch

from umbel.catalogue import CATALOGUE, pull
from umbel.decoderfile import read_decoder
from umbel.decoding.base import Floats
from umbel.decoding.engine import LlamaCpp
from umbel.decoding.load import load_decoder

ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "bfloat16", "int8 weights", "int8")


class Rival(Protocol):
    """An engine that is compared."""

    def read(self, prefix: Sequence[int]) -> Floats:
        """Read a prefix from nothing; return the next token's logits `[vocabulary]`."""

    def branch(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Read branches of the prefix that was read, and forget them; return their logits `[branches, vocabulary]`."""

    def write(self, count: int) -> None:
        """Write tokens behind the prefix that was read, the likeliest ones."""


class LlamaRival:
    """Umbel's engine, llama.cpp."""

    def __init__(self, decoder: LlamaCpp) -> None:
        self._decoder = decoder

    def read(self, prefix: Sequence[int]) -> Floats:
        """Read a prefix from nothing."""
        self._decoder.forget()
        self._prefix = self._decoder.keep(prefix)
        return self._prefix.logits

    def branch(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Read branches."""
        branches = self._decoder.grow(self._prefix, rows)
        logits = branches.logits.copy()
        branches.close()
        return logits

    def write(self, count: int) -> None:
        """Write tokens."""
        branches = self._decoder.grow(self._prefix, [[]])
        for _ in range(count):
            branches.grow([int(branches.logits[0].argmax())])
        branches.close()


class GraphRival:
    """Our own graph; after branches or writing the prefix has to be read again."""

    def __init__(self, graph: GraphDecoder) -> None:
        self._graph = graph

    def read(self, prefix: Sequence[int]) -> Floats:
        """Read a prefix from nothing."""
        self._graph.forget()
        self._last = self._graph.read([prefix])[0]
        return self._last

    def branch(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Read branches."""
        return self._graph.read(rows, [0] * len(rows))

    def write(self, count: int) -> None:
        """Write tokens."""
        logits = self._last
        for _ in range(count):
            logits = self._graph.read([[int(logits.argmax())]])[0]


def once(rival: Rival, timed: Stopwatch, prefix: Sequence[int], rows: Sequence[Sequence[int]], tokens: int) -> Any:
    """Return one round's seconds of an engine."""
    reading = timed(lambda: rival.read(prefix))
    writing = timed(lambda: rival.write(tokens)) / tokens
    rival.read(prefix)
    branching = timed(lambda: rival.branch(rows))
    apart = len(rows) * timed(lambda: rival.read([*prefix, *rows[0]]))  # all are of one length
    return {
        "read_per_second": len(prefix) / reading,
        "ms_written": 1000 * writing,
        "branches_ms": 1000 * branching,
        "k8_speedup": apart / (reading + branching),
    }


def exactness(rival: Rival, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> tuple[float, Floats]:
    """Return how far a branch moves beside others, and the logits behind the prefix."""
    behind = rival.read(prefix).copy()
    beside, moved = rival.branch(rows).copy(), 0.0
    for place in (0, len(rows) - 1):
        rival.read(prefix)
        moved = max(moved, float(np.abs(rival.branch([rows[place]])[0] - beside[place]).max()))
    return moved, behind


def genai(path: Path, timed: Stopwatch, threads: int, prompt: str, tokens: int) -> Mapping[str, float]:
    """Return a round of OpenVINO GenAI, or nothing where it cannot read the file."""
    import openvino_genai

    try:
        pipeline = openvino_genai.LLMPipeline(str(path), "CPU", INFERENCE_NUM_THREADS=threads)
    except RuntimeError as error:
        print(f"OpenVINO GenAI cannot read {path.name}: {str(error).strip().splitlines()[-1]}")
        return {}
    count = pipeline.get_tokenizer().encode(prompt).input_ids.shape[1]

    def write(number: int) -> Callable[[], Any]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample, config.apply_chat_template = (
            number,
            True,
            False,
            False,
        )
        return lambda: pipeline.generate([prompt], config)

    write(1)()
    reading = timed(write(1))
    return {"read_per_second": count / reading, "ms_written": 1000 * (timed(write(tokens)) - reading) / (tokens - 1)}


def main() -> None:
    """Measure every engine in turn, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="smollm2-135m-instruct")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, short: to see that it runs")
    parser.add_argument("--cpu", action="store_true", help="seconds of the processor: for one thread, busy machines")
    options = parser.parse_args()
    if options.cpu and options.threads != 1:
        parser.error("--cpu adds up the seconds of all threads; give it --threads 1")
    rounds, length, tokens = (1, 64, 4) if options.quick else (options.rounds, PREFIX, 32)
    timed = Stopwatch(time.process_time if options.cpu else time.perf_counter)
    path = pull(options.backbone) if options.backbone in CATALOGUE else Path(options.backbone)
    decoder = load_decoder(options.backbone, options.threads)
    prefix = decoder.tokens(WORDS * 40)[:length]
    rows = [decoder.tokens(f" {number}? " + WORDS)[:BRANCH] for number in range(BRANCHES)]
    weights = read_decoder(path)
    rivals: dict[str, Rival] = {"llama.cpp": LlamaRival(decoder)}
    rivals |= {f"graph, {each}": GraphRival(GraphDecoder(weights, each, options.threads)) for each in ARITHMETICS}
    found: dict[str, dict[str, float]] = {name: {} for name in rivals}
    exact = {name: exactness(rival, prefix, rows) for name, rival in rivals.items()}  # warms up, too
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, rival in rivals.items():
            seconds[name].append(once(rival, timed, prefix, rows, tokens))
    for name, measured in seconds.items():
        found[name] = {key: round(statistics.median(each[key] for each in measured), 2) for key in measured[0]}
        moved, behind = exact[name]
        away = float(np.abs(behind - exact["graph, float32"][1]).max())
        found[name] |= {"alone": moved, "to_fp32": round(away, 3)}
        print(name, found[name], flush=True)
    prompt = b"".join(map(decoder.piece, prefix)).decode()
    found["OpenVINO GenAI"] = {k: round(v, 2) for k, v in genai(path, timed, options.threads, prompt, tokens).items()}
    print(json.dumps(found | {"backbone": options.backbone, "machine": machine()}))


if __name__ == "__main__":
    main()
