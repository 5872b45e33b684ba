"""Which arithmetic for the encoder: how fast, how near to fp32, and does an answer depend on its batch?

    python bench/engine.py [--threads 2] [--rounds 15] [--write FILE]

Theory: a processor with AVX-512 bfloat16 multiplies twice as many numbers an instruction as in fp32; int8 weights halve
the traffic once more, but without int8 activations they are widened again before each product. Every variant runs
the same weights in this process: the graph of `umbel.engine` in fp32 and bfloat16, and with int8 weights (a scale per
row, as convert and multiply) under several sizes of groups for the quantisation of activations (0: none). The
cosine is the smallest over all tokens, to fp32; `same` is the largest difference of a row alone and in a batch of its
padded length, `other` of another padded length.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from _common import finish, machine
from openvino import opset13 as ops
from openvino import properties
from openvino.properties import hint

from umbel.catalogue import load_backbone
from umbel.engine import _Builder

SHAPES = ((1, 27), (8, 27), (1, 128))
LENGTHS = (5, 9, 17, 30, 64, 12, 27, 40)


class _Int8Builder(_Builder):
    """The same graph with int8 weights."""

    def _dense(self, name: str, inputs: Any) -> Any:
        weight = self.tensors[f"{name}.weight"]
        scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-12) / 127
        stored = ops.convert(ops.constant(np.rint(weight / scale).astype(np.int8)), "f32")
        product = ops.matmul(inputs, ops.multiply(stored, ops.constant(scale.astype(np.float32))), False, True)
        return ops.add(product, ops.constant(self.tensors[f"{name}.bias"]))


class _Variant:
    def __init__(self, graph: Any, precision: str, group: int, threads: int) -> None:
        settings = {
            hint.inference_precision: ov.Type.bf16 if precision == "bfloat16" else ov.Type.f32,
            hint.dynamic_quantization_group_size: group,
            properties.num_streams: 1,
            properties.inference_num_threads: threads,
        }
        self.request = ov.Core().compile_model(graph, "CPU", settings).create_infer_request()

    def __call__(self, embedded: Any, lengths: Any) -> Any:
        self.request.infer([embedded, lengths], share_inputs=True)
        return np.array(self.request.get_output_tensor().data)


def milliseconds(variant: _Variant, embedding: Any, rounds: int) -> list[float]:
    """Return the median milliseconds for each shape."""
    found = []
    for batch, tokens in SHAPES:
        ids = np.random.default_rng(0).integers(10, 200_000, (batch, tokens))
        embedded, lengths = embedding.rows(ids), np.full(batch, tokens, np.int32)
        seconds = []
        for _ in range(rounds + 2):
            began = time.perf_counter()
            variant(embedded, lengths)
            seconds.append(time.perf_counter() - began)
        found.append(round(1000 * statistics.median(seconds[2:]), 2))
    return found


def answers(variant: _Variant, embedding: Any) -> tuple[list[Any], float, float]:
    """Return the hidden states of rows of several lengths, and how far they move with their batch."""
    random = np.random.default_rng(1)
    rows = [embedding.rows(random.integers(10, 200_000, length)) for length in LENGTHS]
    padded = np.zeros((len(rows), max(LENGTHS), rows[0].shape[1]), np.float32)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    lengths = np.array(LENGTHS, np.int32)
    together = variant(padded, lengths)
    same = other = 0.0
    for place, row in enumerate(rows):
        kept = together[place, : len(row)]
        alone = variant(padded[place : place + 1], lengths[place : place + 1])[0, : len(row)]
        bare = variant(row[None], lengths[place : place + 1])[0]
        same, other = max(same, float(np.abs(alone - kept).max())), max(other, float(np.abs(bare - kept).max()))
    return [together[place, : len(row)] for place, row in enumerate(rows)], same, other


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    backbone = load_backbone("e5-small")
    tensors = dict(backbone.tensors)
    plain, int8 = _Builder(backbone.shape, tensors).build, _Int8Builder(backbone.shape, tensors).build
    variants = {
        "fp32": (plain, "float32", 0),
        "bfloat16": (plain, "bfloat16", 0),
        "int8-group0": (int8, "bfloat16", 0),
        "int8-group32": (int8, "bfloat16", 32),
        "int8-group128": (int8, "bfloat16", 128),
        "int8-group384": (int8, "bfloat16", 384),
    }
    figures: dict[str, Any] = {}
    exact: list[Any] = []
    for name, (build, precision, group) in variants.items():
        variant = _Variant(build(), precision, group, options.threads)
        hidden, same, other = answers(variant, backbone.embedding)
        exact = exact or hidden
        cosines = [
            (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
            for a, b in zip(exact, hidden, strict=True)
        ]
        figures[name] = {
            "milliseconds": milliseconds(variant, backbone.embedding, options.rounds),
            "cosine": round(float(min(found.min() for found in cosines)), 5),
            "same": round(same, 6),
            "other": round(other, 6),
        }
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
