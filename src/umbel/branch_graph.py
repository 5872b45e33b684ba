"""The runtime's engine for branches: keeps a text's keys and values, and reads branch tokens that attend to them.

One graph file holds the encoder and the branch reader over the same weights; each is cut out of it when it is needed.
A row of branch tokens has the same bits whatever rows are beside it, as long as all have one padded length.
Knows nothing of tasks, text and packs.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from umbel.engine import Floats, GraphBuilder, OpenVinoEngine, Precision, number, numbers, parameter
from umbel.shapes import EncoderShape

HIDDEN, KEPT, BRANCH = "hidden", "kept.", "branch"  # names of results, or how they begin
MASKED = -1e9


@dataclass(frozen=True)
class Kept:
    """What is kept of one window of a text: `hidden` `[tokens, hidden]`, and each layer's keys and values.

    `layers` are keys and values in turn, `[heads, tokens, hidden/heads]`, in 16 bits where the engine computes in 16.
    """

    hidden: Floats
    layers: tuple[NDArray[np.floating], ...]

    @property
    def nbytes(self) -> int:
        """The bytes it takes."""
        return self.hidden.nbytes + sum(each.nbytes for each in self.layers)


def build_branching_graph(shape: EncoderShape, tensors: Mapping[str, Floats]) -> ov.Model:
    """Build the encoder, with every layer's keys and values as further results, and the reader of branches.

    Inputs beside the encoder's (`engine.build_graph`): `branch_embedded` `[rows, length, hidden]`, `branch_positions`
    `[rows, length]` int32, `branch_bias` `[rows, length, length]`, and each layer's `key.N` and `value.N`
    `[heads, tokens, hidden/heads]` of one text.
    """
    return _BranchBuilder(shape, tensors).build()


class _BranchBuilder(GraphBuilder):
    def build(self) -> ov.Model:
        encoder = super().build()
        results = [_result(encoder.outputs[0].node.input_value(0).node, HIDDEN)]
        results += [_result(node, f"{KEPT}{place}") for place, node in enumerate(self.kept)]
        embedded = parameter([-1, -1, self.shape.hidden], np.float32, "branch_embedded")
        positions = parameter([-1, -1], np.int32, "branch_positions")
        bias = parameter([-1, -1, -1], np.float32, "branch_bias")
        hidden = self.embeddings(embedded, positions)
        kept = []
        for layer in range(self.shape.layers):
            part = [self.shape.heads, -1, self.shape.hidden // self.shape.heads]
            key, value = (parameter(part, np.float32, f"{name}.{layer}") for name in ("key", "value"))
            kept += [key, value]
            hidden = self._branch_layer(f"encoder.layer.{layer}", hidden, bias, key, value)
        results.append(_result(hidden, BRANCH))
        return ov.Model(results, [*encoder.get_parameters(), embedded, positions, bias, *kept], "branching")

    def _branch_layer(self, name: str, hidden: ov.Node, bias: ov.Node, key: ov.Node, value: ov.Node) -> ov.Node:
        attended = self._branch_attention(f"{name}.attention.self", hidden, bias, key, value)
        return self.feed_forward(name, hidden, attended)

    def _branch_attention(self, name: str, hidden: ov.Node, bias: ov.Node, key: ov.Node, value: ov.Node) -> ov.Node:
        """Attend to the text and to the row's own tokens under one softmax; the text's keys are read by all rows."""
        heads, width = self.shape.heads, self.shape.hidden
        size = width // heads
        query, own_key, own_value = (  # [heads, rows, length, size]
            ops.transpose(
                ops.reshape(self.dense(f"{name}.{part}", hidden), numbers(0, 0, heads, size), True), numbers(2, 0, 1, 3)
            )
            for part in ("query", "key", "value")
        )
        query = ops.multiply(query, ops.constant(np.float32(size**-0.5)))
        sizes = ops.shape_of(query, "i32")
        rows_and_length = ops.gather(sizes, numbers(1, 2), number(0))
        folded = ops.reshape(query, numbers(heads, -1, size), False)  # [heads, rows * length, size]
        text_scores = ops.reshape(
            ops.matmul(folded, key, False, True), ops.concat([numbers(heads), rows_and_length, numbers(-1)], 0), False
        )
        own_scores = ops.add(ops.matmul(query, own_key, False, True), ops.unsqueeze(bias, numbers(0)))
        weights = ops.softmax(ops.concat([text_scores, own_scores], 3), 3)
        tokens = ops.gather(ops.shape_of(key, "i32"), numbers(1), number(0))
        length = ops.gather(sizes, numbers(2), number(0))
        of_text, of_own = ops.variadic_split(weights, number(3), ops.concat([tokens, length], 0)).outputs()
        mixed = ops.add(
            ops.reshape(
                ops.matmul(
                    ops.reshape(of_text, ops.concat([numbers(heads, -1), tokens], 0), False), value, False, False
                ),
                sizes,
                False,
            ),
            ops.matmul(of_own, own_value, False, False),
        )
        return ops.reshape(ops.transpose(mixed, numbers(1, 2, 0, 3)), numbers(0, 0, width), True)


def _result(node: ov.Node, name: str) -> ov.Node:
    result = ops.result(node)
    result.set_friendly_name(name)
    return result


def cut_out(graph: ov.Model | Path, wanted: Sequence[str]) -> ov.Model:
    """Return the part of a graph that gives the results called `wanted` (`KEPT` stands for all of those)."""
    model = ov.Core().read_model(graph) if isinstance(graph, Path) else graph
    results = [r for r in model.get_results() if any(r.get_friendly_name().startswith(name) for name in wanted)]
    branching = BRANCH in wanted
    inside = ("branch_", "key.", "value.")
    parameters = [p for p in model.get_parameters() if p.get_friendly_name().startswith(inside) == branching]
    return ov.Model(results, parameters, "+".join(wanted))


class BranchEngine:
    """Encodes windows, keeps what questions need of them, and reads branches; each graph is compiled when first used.

    `encode` and `keep` run one graph, so that heads read the same bits whether or not questions are asked. It costs up
    to 8 % more than an encoder without further results (docs/log.md).
    """

    def __init__(self, graph: ov.Model | Path, shape: EncoderShape, precision: Precision = "auto", threads: int = 0):
        self._graph, self._precision, self._threads = graph, precision, threads
        self._kept = 2 * shape.layers
        self._lock = threading.Lock()
        self._engines: dict[str, OpenVinoEngine] = {}

    def _engine(self, name: str, *wanted: str) -> OpenVinoEngine:
        with self._lock:
            if name not in self._engines:
                model = cut_out(self._graph, wanted)
                self._engines[name] = OpenVinoEngine(model, self._precision, self._threads)
            return self._engines[name]

    def encode(self, embedded: Floats, lengths: NDArray[np.int32]) -> Floats:
        """Return hidden states `[batch, tokens, hidden]`, as `engine.Engine` says."""
        return np.array(self._engine("keep", HIDDEN, KEPT).run([embedded, lengths], results=1)[0])

    @property
    def precision(self) -> str:
        """The arithmetic's precision."""
        return self._engine("keep", HIDDEN, KEPT).precision

    def keep(self, embedded: Floats, lengths: NDArray[np.int32]) -> list[Kept]:
        """Encode windows as `Engine.encode` does, and return what is kept of each."""
        engine = self._engine("keep", HIDDEN, KEPT)
        hidden, *layers = engine.run([embedded, lengths], results=1 + self._kept)
        stored = np.float16 if engine.precision == "bfloat16" else np.float32
        return [
            Kept(
                hidden[row, :length].copy(),
                tuple(
                    np.array(each[row, :, :length], stored, order="C") for each in layers
                ),  # the engine's are its own
            )
            for row, length in enumerate(lengths.tolist())
        ]

    def branch(self, embedded: Floats, positions: NDArray[np.int32], attends: NDArray[np.bool_], kept: Kept) -> Floats:
        """Return the hidden states `[rows, length, hidden]` of branch tokens under one window.

        `embedded` are word embeddings with roles added; `attends` `[rows, length, length]` tells which tokens of its
        row a token sees.
        """
        bias = np.where(attends, np.float32(0), np.float32(MASKED))
        layers = [each.astype(np.float32) for each in kept.layers]
        return np.array(self._engine("branch", BRANCH).run([embedded, positions, bias, *layers], results=1)[0])
