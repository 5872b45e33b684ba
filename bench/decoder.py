"""What do branches of a decoder cost, and how fast does it write, against llama.cpp's own server and OpenVINO GenAI?

    python bench/decoder.py [--backbone smollm2-135m-instruct] [--threads 2] [--rounds 5] [--quick] [--rivals] [--cpu]

Theory: eight branches of 8 tokens on a prefix of 512 read 512 + 64 tokens; eight prompts 8 x 520. The quotient, 7.2,
is what sharing can give; a pass of few tokens is slower a token than one of many, which takes some of it. Writing reads
all weights once a token, so that no loop around the same kernels can be faster than llama.cpp's own.

All sides run the same weights with the same threads, in turn within each round; figures are medians of the rounds'
ratios. With `--cpu` the clock is that of the processor, which other programs change little: for one thread on a busy
machine. Of one thread a second of both clocks is the same.

`k8_speedup`: eight prompts of 512 + 8 tokens over a prefix and eight branches, in the same engine.
`generation_over_llamacpp`: Umbel's tokens a second over those of llama.cpp's server, one text of `tokens`, neither of
them keeping another; `generation_beside_kept_over_llamacpp`: the same while Umbel keeps a prefix of 512 tokens besides.
`second_adapter_over_first`: a branch under a second adapter over the first one's with its prefix.
`max_logit_difference`: of any branch's next-token logits, beside seven others and alone.
`first_token_analysed_over_fresh`: time to a reply's first token for a message that was asked about, over a new one.
`turn_50_over_turn_5`: seconds of a turn around the 50th of a conversation, over one around the 5th; `grown_mb`: memory
from a fifth of the turns on. The context is made small, so that old turns have to be left out: `left_out_turns` by the
last turn, and `longest_turn_over_median` is what the turn costs that reads anew what is left.
With `--rivals` OpenVINO GenAI, where it can read the file, reads and writes the same: `genai_generation_over_umbel`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _common import machine

from umbel.catalogue import CATALOGUE, pull
from umbel.decoding.base import Limits, Message
from umbel.decoding.engine import LlamaCpp
from umbel.decoding.load import load_decoder
from umbel.decoding.model import DecoderModel
from umbel.decoding.prompts import prompt
from umbel.questions import Choice, Option

PREFIX, BRANCH, BRANCHES = 512, 8, 8
WORDS = "The customer says that the parcel for order 732201 did not come, and asks when it will be there. "
STORY = "Tell a long story about a lighthouse keeper."
SERVER = """
import sys, time, xllamacpp
path, threads, clock, story = sys.argv[1:]
clock = time.process_time if clock == "cpu" else time.perf_counter
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.verbosity = path, 2048, -1
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = int(threads)
server = xllamacpp.Server(settings)
body = {"messages": [{"role": "user", "content": story}], "temperature": 0, "ignore_eos": True}

def write(count):
    began = clock()
    found = server.handle_chat_completions(body | {"max_tokens": count})
    return found["usage"]["completion_tokens"], clock() - began

for line in sys.stdin:
    (_, first), (tokens, whole) = write(1), write(int(line))
    print((tokens - 1) / (whole - first), flush=True)
"""


Clock = Callable[[], float]


class Stopwatch:
    """Times what is run, by a clock; `result` is what the last one gave."""

    result: Any = None

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __call__(self, run: Callable[[], Any]) -> float:
        """Return the seconds that a function takes."""
        began = self.clock()
        self.result = run()
        return self.clock() - began


class LlamaServer:
    """llama.cpp's own server, in its own process: OpenMP slows all threads where there are more than processors."""

    def __init__(self, path: Path, threads: int, cpu: bool) -> None:
        command = [sys.executable, "-c", SERVER, str(path), str(threads), "cpu" if cpu else "wall", STORY]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def speed(self, tokens: int) -> float:
        """Return tokens a second of a text without its first token's."""
        assert self._process.stdin
        assert self._process.stdout
        print(tokens, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp's server ended with {self._process.wait()}")
        return float(line)

    def __enter__(self) -> LlamaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def in_turn(rounds: int, *runs: Callable[[], float]) -> list[list[float]]:
    """Return the figures of each function, all run in turn in every round."""
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for place, run in enumerate(runs):
            found[place].append(run())
    return found


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(over, under, strict=True))


def read_branches(decoder: LlamaCpp, prefix: list[int], rows: list[list[int]]) -> np.ndarray:
    branches = decoder.grow(decoder.keep(prefix), rows)
    logits = branches.logits.copy()
    branches.close()
    return logits


def sharing(decoder: LlamaCpp, timed: Stopwatch, rounds: int, length: int) -> dict[str, float]:
    """Time eight branches and eight prompts, and compare their logits with each branch alone."""
    prefix = decoder.tokens(WORDS * 40)[:length]
    rows = [decoder.tokens(f" {number}? " + WORDS)[:BRANCH] for number in range(BRANCHES)]

    def together() -> float:
        decoder.forget()
        return timed(lambda: read_branches(decoder, prefix, rows))

    def apart() -> float:
        total = 0.0
        for row in rows:
            decoder.forget()
            total += timed(lambda row=row: decoder.keep([*prefix, *row]))
        return total

    together()  # warms up
    shared, naive = in_turn(rounds, together, apart)
    beside = read_branches(decoder, prefix, rows)
    difference = max(
        float(np.abs(read_branches(decoder, prefix, [row])[0] - beside[at]).max()) for at, row in enumerate(rows)
    )
    seconds = statistics.median(shared)
    return {"k8_speedup": ratio(naive, shared), "max_logit_difference": difference, "seconds_shared": seconds}


def speeds(
    model: DecoderModel, path: Path, timed: Stopwatch, threads: int, rounds: int, tokens: int
) -> dict[str, float]:
    """Return tokens a second of Umbel and of llama.cpp's server, in turn: those of a text without its first token's."""

    def ours(kept: list[int]) -> float:
        model.engine.forget()
        if kept:
            model.engine.keep(kept)
        write(1)  # finds the question read, as the server does
        first = timed(lambda: write(1))
        whole = timed(lambda: write(tokens))
        return float(timed.result - 1) / (whole - first)

    def write(count: int) -> int:
        return model.write(STORY, Limits(max_tokens=count, seconds=600)).tokens

    other = model.engine.tokens(WORDS * 40)[:PREFIX]
    with LlamaServer(path, threads, timed.clock is time.process_time) as server:
        ours([])
        server.speed(tokens)
        umbel, llamacpp, beside = in_turn(rounds, lambda: ours([]), lambda: server.speed(tokens), lambda: ours(other))
    return {
        "umbel_tokens_per_second": statistics.median(umbel),
        "llamacpp_tokens_per_second": statistics.median(llamacpp),
        "generation_over_llamacpp": ratio(umbel, llamacpp),
        "generation_beside_kept_over_llamacpp": ratio(beside, llamacpp),
    }


def adapters(decoder: LlamaCpp, path: Path, timed: Stopwatch, rounds: int, length: int) -> float:
    """Return the time of a branch under a second adapter over that of the first with its prefix."""
    import torch

    from umbel.decoderfile import read_decoder
    from umbel.tuning import GGUF, TARGETS, Tuning, write_adapter

    weights = read_decoder(path)
    shape = weights.shape
    wide = {"q_proj": shape.heads * shape.head, "v_proj": shape.kv_heads * shape.head}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            torch.manual_seed(number)
            pairs = {
                f"model.layers.{layer}.{target}": (
                    0.02 * torch.randn(8, shape.hidden),
                    0.02 * torch.randn(wide[target.rpartition(".")[2]], 8),
                )
                for layer in range(shape.layers)
                for target in TARGETS
            }
            out = Path(folder) / str(number)
            write_adapter(out, weights, pairs, Tuning(), decoder.name, [1])
            decoder.add_adapter(str(number), out / GGUF)
    prefix, row = decoder.tokens(WORDS * 40)[:length], decoder.tokens(" So the answer is")

    def branch(adapter: str) -> float:
        return timed(lambda: decoder.grow(decoder.keep(prefix), [row], adapter).close())

    ratios = []
    for _ in range(rounds):
        decoder.forget()
        first, read = branch("0"), decoder.counters.prefix_tokens
        ratios.append(branch("1") / first)
        if decoder.counters.prefix_tokens != read:
            raise RuntimeError("the second adapter read the prefix again")
    return statistics.median(ratios)


def first_tokens(model: DecoderModel, timed: Stopwatch, rounds: int) -> float:
    """Return the time to the first token for a message that was asked about, over that for a new one."""
    question = Choice("Which team?", (Option("billing"), Option("shipping")))
    limits = Limits(max_tokens=1, seconds=600)

    def first(number: int, analysed: bool) -> float:
        text = f"Case {number}. {WORDS * 8}".strip()
        model.engine.forget()
        if analysed:
            model.ask(text, [question])
        messages = [Message("system", prompt("ask-system", "en")), Message("user", text, prompt("reply", "en"))]
        return timed(lambda: model.write(messages, limits))

    return ratio(*in_turn(rounds, lambda: first(1, True), lambda: first(2, False)))


def conversation(backbone: str, timed: Stopwatch, threads: int, turns: int, context: int) -> dict[str, float]:
    """Hold a conversation that outgrows its context, and return how its cost and the memory it takes grow."""
    model = DecoderModel(load_decoder(backbone, threads, context))
    messages: list[Message] = []
    seconds, process, before = [], psutil.Process(), 0
    for turn in range(turns):
        messages.append(Message("user", f"Question {turn}: and what then? {WORDS}"))
        seconds.append(timed(lambda: model.write(messages, Limits(max_tokens=12, seconds=600))))
        messages.append(Message("assistant", timed.result.text))
        if turn == turns // 5:
            before = process.memory_full_info().uss
    early, late = statistics.median(seconds[2:8]), statistics.median(seconds[-6:])
    model.close()
    return {
        "turn_50_over_turn_5": late / early,
        "longest_turn_over_median": max(seconds) / statistics.median(seconds),
        "left_out_turns": timed.result.dropped_turns,
        "grown_mb": (process.memory_full_info().uss - before) / 2**20,
    }


def genai(path: Path, threads: int, rounds: int, tokens: int) -> float:
    """Return tokens a second of OpenVINO GenAI, or 0 where it cannot read the file."""
    import openvino_genai

    try:
        pipeline = openvino_genai.LLMPipeline(str(path), "CPU", INFERENCE_NUM_THREADS=threads)
    except RuntimeError as error:
        print(f"OpenVINO GenAI cannot read {path.name}: {str(error).strip().splitlines()[-1]}")
        return 0.0
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
    runs = (pipeline.generate([STORY], config).perf_metrics.get_tpot().mean for _ in range(rounds))
    return 1000 / statistics.median(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="smollm2-135m-instruct")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, short: to see that it runs")
    parser.add_argument("--rivals", action="store_true", help="OpenVINO GenAI, too")
    parser.add_argument("--cpu", action="store_true", help="seconds of the processor: for one thread, busy machines")
    options = parser.parse_args()
    if options.cpu and options.threads != 1:
        parser.error("--cpu adds up the seconds of all threads; give it --threads 1")
    rounds, tokens, length, turns, context = (
        (1, 8, 96, 10, 256) if options.quick else (options.rounds, 128, PREFIX, 50, 1024)
    )
    path = pull(options.backbone) if options.backbone in CATALOGUE else Path(options.backbone)
    timed = Stopwatch(time.process_time if options.cpu else time.perf_counter)
    decoder = load_decoder(options.backbone, options.threads)
    model = DecoderModel(decoder)
    found: dict[str, Any] = sharing(decoder, timed, rounds, length)
    print(found, flush=True)
    found |= speeds(model, path, timed, options.threads, rounds, tokens)
    print(found, flush=True)
    found["second_adapter_over_first"] = adapters(decoder, path, timed, rounds, length)
    found["first_token_analysed_over_fresh"] = first_tokens(model, timed, rounds)
    print(found, flush=True)
    model.close()
    found |= conversation(options.backbone, timed, options.threads, turns, context)
    if options.rivals:
        found["genai_generation_over_umbel"] = (
            genai(path, options.threads, rounds, tokens) / found["umbel_tokens_per_second"]
        )
    rounded = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(rounded | {"backbone": options.backbone, "machine": machine()}))


if __name__ == "__main__":
    main()
