"""What do branches of a decoder cost, and how fast does it write, against llama.cpp's own server and OpenVINO GenAI?

    python bench/decoder.py [--backbone smollm2-135m-instruct] [--threads 2] [--rounds 5] [--quick] [--rivals]

Theory: eight branches of 8 tokens on a prefix of 512 read 512 + 64 tokens; eight prompts 8 x 520. The quotient, 7.2,
is what sharing can give; a pass of few tokens is slower a token than one of many, which takes some of it. Writing reads
all weights once a token, so that no loop around the same kernels can be faster than llama.cpp's own.

All sides run the same weights with the same threads, in turn; medians of the rounds.

`k8_speedup`: eight prompts of 512 + 8 tokens over a prefix and eight branches, in the same engine.
`generation_over_llamacpp`: Umbel's tokens a second over those of llama.cpp's server, one text of `tokens`.
`second_adapter_over_first`: a branch under a second adapter over the first one's with its prefix.
`max_logit_difference`: of any branch's next-token logits, beside seven others and alone.
`first_token_analysed_over_fresh`: time to a reply's first token for a message that was asked about, over a new one.
`turn_50_over_turn_5`: seconds of a turn around the 50th of a conversation, over one around the 5th; `grown_mb`: memory.
With `--rivals` OpenVINO GenAI, where it can read the file, reads and writes the same: `genai_generation_over_umbel`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
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
from umbel.questions import Choice, Option

PREFIX, BRANCH, BRANCHES = 512, 8, 8
WORDS = "The customer says that the parcel for order 732201 did not come, and asks when it will be there. "


def median(rounds: int, run: Callable[[], float]) -> float:
    return statistics.median(run() for _ in range(rounds))


def timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def read_branches(decoder: LlamaCpp, prefix: list[int], rows: list[list[int]]) -> np.ndarray:
    branches = decoder.grow(decoder.keep(prefix), rows)
    logits = branches.logits.copy()
    branches.close()
    return logits


def sharing(decoder: LlamaCpp, rounds: int, length: int) -> dict[str, float]:
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

    shared, naive = median(rounds, together), median(rounds, apart)
    beside = read_branches(decoder, prefix, rows)
    difference = max(
        float(np.abs(read_branches(decoder, prefix, [row])[0] - beside[at]).max()) for at, row in enumerate(rows)
    )
    return {"k8_speedup": naive / shared, "max_logit_difference": difference, "seconds_shared": shared}


def speeds(model: DecoderModel, path: Path, threads: int, rounds: int, tokens: int) -> dict[str, float]:
    """Return tokens a second of Umbel and of llama.cpp's server, in turn."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx = str(path), 2048
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = -1
    server = xllamacpp.Server(parameters)
    prompt = "Tell a long story about a lighthouse keeper."
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "temperature": 0}
    ours, theirs = [], []
    for _ in range(rounds):
        written = model.write(prompt, Limits(max_tokens=tokens, seconds=600))
        ours.append((written.tokens - 1) / (written.seconds - written.first_seconds))
        theirs.append(server.handle_chat_completions(body)["timings"]["predicted_per_second"])
    return {"umbel": statistics.median(ours), "llamacpp": statistics.median(theirs)}


def adapters(decoder: LlamaCpp, path: Path, rounds: int, length: int) -> float:
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


def first_tokens(model: DecoderModel, rounds: int) -> float:
    """Return the time to the first token for a message that was asked about, over that for a new one."""
    question = Choice("Which team?", (Option("billing"), Option("shipping")))
    limits = Limits(max_tokens=2, seconds=600)

    def first(number: int, analysed: bool) -> float:
        from umbel.decoding.prompts import prompt

        text = f"Case {number}. {WORDS * 8}".strip()
        model.engine.forget()
        if analysed:
            model.ask(text, [question])
        messages = [Message("system", prompt("ask-system", "en")), Message("user", text, prompt("reply", "en"))]
        return model.write(messages, limits).first_seconds

    return median(rounds, lambda: first(1, True)) / median(rounds, lambda: first(2, False))


def conversation(model: DecoderModel, turns: int) -> dict[str, float]:
    """Hold a conversation and return how its cost and the memory it takes grow."""
    messages: list[Message] = []
    seconds, process = [], psutil.Process()
    model.engine.forget()
    for turn in range(turns):
        messages.append(Message("user", f"Question {turn}: and what then? {WORDS}"))
        began = time.perf_counter()
        written = model.write(messages, Limits(max_tokens=12, seconds=600))
        seconds.append(time.perf_counter() - began)
        messages.append(Message("assistant", written.text))
        if turn == turns // 5:
            before = process.memory_info().rss
    early, late = statistics.median(seconds[2:8]), statistics.median(seconds[-6:])
    return {"turn_50_over_turn_5": late / early, "grown_mb": (process.memory_info().rss - before) / 2**20}


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
    prompt = "Tell a long story about a lighthouse keeper."
    runs = (pipeline.generate([prompt], config).perf_metrics.get_tpot().mean for _ in range(rounds))
    return 1000 / statistics.median(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="smollm2-135m-instruct")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, short: to see that it runs")
    parser.add_argument("--rivals", action="store_true", help="OpenVINO GenAI, too")
    options = parser.parse_args()
    rounds, tokens, length, turns = (1, 8, 96, 10) if options.quick else (options.rounds, 128, PREFIX, 50)
    path = pull(options.backbone) if options.backbone in CATALOGUE else Path(options.backbone)
    decoder = load_decoder(options.backbone, options.threads)
    model = DecoderModel(decoder)
    found: dict[str, Any] = sharing(decoder, rounds, length)
    print(found, flush=True)
    speed = speeds(model, path, options.threads, rounds, tokens)
    found["generation_over_llamacpp"] = speed["umbel"] / speed["llamacpp"]
    found["umbel_tokens_per_second"] = speed["umbel"]
    print(speed, flush=True)
    found["second_adapter_over_first"] = adapters(decoder, path, rounds, length)
    found["first_token_analysed_over_fresh"] = first_tokens(model, rounds)
    print(found, flush=True)
    found |= conversation(model, turns)
    if options.rivals:
        found["genai_generation_over_umbel"] = genai(path, options.threads, rounds, tokens) / speed["umbel"]
    rounded = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(rounded | {"backbone": options.backbone, "machine": machine()}))


if __name__ == "__main__":
    main()
