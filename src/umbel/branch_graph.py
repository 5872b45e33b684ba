"""The runtime's engine for branches: keeps a text's keys and values, and reads branch tokens that attend to them.

One graph file holds the encoder and the branch reader over the same weights; each is cut out of it when it is needed.
Layers run over the tokens of all rows without padding, a token's result being the same among any number of others; only
attention inside a row is padded. So a row has the same bits whatever rows are beside it, as long as all have one padded
length. Knows nothing of tasks, text and packs.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from umbel.engine import (
    NO_ROUNDINGS,
    Floats,
    GraphBuilder,
    OpenVinoEngine,
    Precision,
    core,
    number,
    numbers,
    parameter,
    uses_bfloat16,
)
from umbel.quantised import Rounding
from umbel.shapes import EncoderShape
from umbel.tree import Rows

LAYOUT = "branches 8"  # names the graph's inputs and results; another one makes cached graphs unfit
HIDDEN, KEPT, LOWER, BRANCH = "hidden", "kept.", "lower.", "branch"  # names of results, or how they begin
GIVEN = "given."  # how the names of inputs begin that take what was kept
MASKED = -1e9
LEAST = 32  # tokens of a text: shorter products are made in another way for one branch than for many, with other bits
MOST = 70.0  # of a score over that of the text's first token: so many exponentials can be added up in 32 and 16 bits


@dataclass(frozen=True)
class Kept:
    """What is kept of one window of a text: `hidden` `[tokens, hidden]`, and each layer's keys and values.

    `layers` are keys and values by head, `[2 * heads, padded tokens, hidden/heads]`; where the engine computes in
    bfloat16 they are its bits, as uint16, which loses nothing and needs no conversion. Padding stays, with nothing in
    it, up to `LEAST` tokens: each length of text that the reader of branches meets costs it memory (docs/log.md).
    """

    hidden: Floats
    layers: tuple[Floats | NDArray[np.uint16], ...]

    @property
    def nbytes(self) -> int:
        """The bytes it takes."""
        return self.hidden.nbytes + sum(each.nbytes for each in self.layers)

    def values(self, layer: int) -> Floats:
        """Return one layer's values `[tokens, hidden]`."""
        tokens, width = self.hidden.shape
        _, values = np.split(self.layers[layer][:, :tokens], 2)
        kept = values.transpose(1, 0, 2).reshape(tokens, width)
        if kept.dtype == np.uint16:
            return (kept.astype(np.uint32) << 16).view(np.float32)
        return kept.astype(np.float32)


def build_branching_graph(
    shape: EncoderShape,
    tensors: Mapping[str, Floats],
    lower: Sequence[int] = (),
    roundings: Mapping[str, Rounding] = NO_ROUNDINGS,
) -> ov.Model:
    """Build the encoder, with every layer's keys and values as further results, and the reader of branches.

    Maps that have `roundings` are done in 8 bits, by both.

    Inputs beside the encoder's (`engine.build_graph`): `branch_embedded` `[tokens, hidden]` and `branch_positions`
    `[tokens]` int32 of all rows' tokens, `branch_bias` `[rows, length, length]`, `branch_spread` `[rows, length]` and
    `branch_place` `[tokens]` int32 (`tree.Rows`), `branch_read` `[read]` int32, the tokens whose states are given,
    `branch_seen` `[text]`, 1 for the text's tokens and 0 for its padding, and each layer's keys and values `given.N`
    `[2 * heads, text, hidden/heads]`.
    """
    return _BranchBuilder(shape, tensors, lower, roundings).build()


class _BranchBuilder(GraphBuilder):
    def build(self) -> ov.Model:
        encoder = super().build()
        results = [_result(encoder.outputs[0].node.input_value(0).node, HIDDEN)]
        results += [_result(node, f"{KEPT}{place}") for place, node in enumerate(self.kept)]
        below = [output.node.input_value(0).node for output in encoder.outputs[1:]]
        results += [_result(node, f"{LOWER}{layer}") for node, layer in zip(below, self.lower, strict=True)]
        embedded = parameter([-1, self.shape.hidden], np.float32, "branch_embedded")
        positions = parameter([-1], np.int32, "branch_positions")
        bias = parameter([-1, -1, -1], np.float32, "branch_bias")
        self.spread = parameter([-1, -1], np.int32, "branch_spread")
        place = parameter([-1], np.int32, "branch_place")
        read = parameter([-1], np.int32, "branch_read")
        seen = parameter([-1], np.float32, "branch_seen")
        inputs = [embedded, positions, bias, self.spread, place, read, seen]
        self.bias, self.seen = ops.unsqueeze(bias, numbers(0)), ops.unsqueeze(seen, numbers(1))  # [text, 1]
        column = ops.concat([_size(self.spread, 1), numbers(1)], 0)
        self.ones = ops.broadcast(ops.constant(np.float32(1)), column)  # [length, 1]
        # Of three axes, for of two the library would make the scales of 8 bits part of a slow operation (docs/log.md).
        hidden, heads = self.embeddings(ops.unsqueeze(embedded, numbers(0)), positions), self.shape.heads
        for layer in range(self.shape.layers):
            given = parameter([2 * heads, -1, self.shape.hidden // heads], np.float32, f"{GIVEN}{layer}")
            inputs.append(given)
            name, below = f"encoder.layer.{layer}", hidden
            if layer == self.shape.layers - 1:  # nothing attends to what comes of it
                hidden, place = ops.gather(hidden, read, number(1)), ops.gather(place, read, number(0))
            attended = self._branch_attention(f"{name}.attention.self", below, given, place)
            hidden = self.feed_forward(name, hidden, attended)
        results.append(_result(ops.squeeze(hidden, numbers(0)), BRANCH))
        return ov.Model(results, [*encoder.get_parameters(), *inputs], "branching")

    def _branch_attention(self, name: str, hidden: ov.Node, given: ov.Node, place: ov.Node) -> ov.Node:
        """Attend from the tokens at `place` to the text and to the row's own tokens, under one softmax.

        Exponentials of both are added up before they are divided by their sum, so scores are neither joined nor split,
        and the text's keys are read by all rows. All scores are over that of the text's first token, which every token
        sees: its exponential is 1, so no sum is 0, and those of the others are bounded. It is taken off the keys, for
        scores are rounded to bfloat16 as they are written, and a smaller one loses less.
        """
        rows = self._in_rows(ops.squeeze(self.mapped(name, hidden), numbers(0)))
        own_query, own_key, own_value = ops.split(rows, number(0), 3).outputs()  # [heads, rows, length, hidden/heads]
        key, value, first = self._of_text(given)
        weights = _exponentials(ops.matmul(self._in_line(own_query, place), key, False, True))  # [heads, tokens, text]
        own_scores = ops.matmul(own_query, ops.subtract(own_key, first), False, True)
        own_weights = _exponentials(ops.add(own_scores, self.bias))  # [heads, rows, length, length]

        def added_up(text: ov.Node, own: ov.Node) -> ov.Node:
            own_part = self._in_line(ops.matmul(own_weights, own, False, False), place)
            return ops.add(ops.matmul(weights, text, False, False), own_part)

        mixed = ops.divide(added_up(value, own_value), added_up(self.seen, self.ones))  # [heads, tokens, hidden/heads]
        return ops.reshape(ops.transpose(mixed, numbers(1, 0, 2)), numbers(1, -1, self.shape.hidden), False)

    def _of_text(self, given: ov.Node) -> tuple[ov.Node, ov.Node, ov.Node]:
        """Return a text's keys, less the first one, its values, both `[heads, text, hidden/heads]`, and that first key.

        Padding has no values, so it adds nothing to what is mixed.
        """
        key, value = ops.split(given, number(0), 2).outputs()
        first = ops.gather(key, numbers(0), number(1))  # [heads, 1, hidden/heads]
        return ops.subtract(key, first), value, ops.unsqueeze(first, numbers(1))

    def _in_rows(self, states: ov.Node) -> ov.Node:
        """Lay out tokens `[tokens, .]` in padded rows `[heads, rows, length, hidden/heads]`, three times the heads."""
        size = self.shape.hidden // self.shape.heads
        split = ops.reshape(ops.gather(states, self.spread, number(0)), numbers(0, 0, -1, size), True)
        return ops.transpose(split, numbers(2, 0, 1, 3))

    def _in_line(self, rows: ov.Node, place: ov.Node) -> ov.Node:
        """Take tokens out of padded rows: `[heads, rows, length, .]` to `[heads, tokens, .]`."""
        joined = ops.reshape(rows, ops.concat([numbers(self.shape.heads, -1), _size(rows, 3)], 0), False)
        return ops.gather(joined, place, number(1))


def _exponentials(scores: ov.Node) -> ov.Node:
    return ops.exp(ops.minimum(scores, ops.constant(np.float32(MOST))))


def _size(node: ov.Node, axis: int) -> ov.Node:
    return ops.gather(ops.shape_of(node, "i32"), numbers(axis), number(0))


def _result(node: ov.Node | ov.Output, name: str) -> ov.Node:
    result = ops.result(node)
    result.set_friendly_name(name)
    return result


def cut_out(graph: ov.Model | Path, wanted: Sequence[str], kept: ov.Type = ov.Type.f32) -> ov.Model:
    """Return the part of a graph that gives the results called `wanted` (`KEPT` stands for all of those).

    `kept` is the type in which keys and values leave and enter it.
    """
    model = core().read_model(graph) if isinstance(graph, Path) else graph
    results = [r for r in model.get_results() if any(r.get_friendly_name().startswith(name) for name in wanted)]
    branching = BRANCH in wanted
    inside = ("branch_", GIVEN)
    parameters = [p for p in model.get_parameters() if p.get_friendly_name().startswith(inside) == branching]
    typed = PrePostProcessor(ov.Model(results, parameters, "+".join(wanted)).clone())  # types change in place
    for place, result in enumerate(results):
        if result.get_friendly_name().startswith(KEPT):
            typed.output(place).tensor().set_element_type(kept)
    for place, given in enumerate(parameters):
        if given.get_friendly_name().startswith(GIVEN):
            typed.input(place).tensor().set_element_type(kept)
    return typed.build()


class BranchEngine:
    """Encodes windows, keeps what questions need of them, and reads branches.

    Each graph is compiled when it is first used, the encoder's also by `prepare`. `encode` and `keep` run one graph, so
    that heads read the same bits whether or not questions are asked.
    """

    def __init__(
        self,
        graph: ov.Model | Path,
        shape: EncoderShape,
        precision: Precision = "auto",
        threads: int = 0,
        lower: int = 0,
        callers: int = 1,
    ) -> None:
        self._lower = lower  # how many of the graph's layers say what enters them
        self._graph, self._precision, self._threads, self._callers = graph, precision, threads, callers
        self.layers = shape.layers
        self._bfloat16 = uses_bfloat16(precision)
        self._lock = threading.Lock()
        self._engines: dict[str, OpenVinoEngine] = {}

    def _engine(self, name: str, *wanted: str) -> OpenVinoEngine:
        with self._lock:
            if name not in self._engines:
                model = cut_out(self._graph, wanted, ov.Type.bf16 if self._bfloat16 else ov.Type.f32)
                callers = (
                    self._callers if name == "keep" else 1
                )  # branches are too few for a second copy of the weights
                self._engines[name] = OpenVinoEngine(model, self._precision, self._threads, callers=callers)
            return self._engines[name]

    def beside(self, model: ov.Model) -> OpenVinoEngine:
        """Return an engine for another graph, of the same precision and threads."""
        return OpenVinoEngine(model, self._precision, self._threads)

    def prepare(self) -> None:
        """Compile the encoder now, so that the time of the first answer does not hold it."""
        _ = self._keeping

    def encode(self, embedded: Floats, lengths: NDArray[np.int32]) -> Floats:
        """Return hidden states `[batch, tokens, hidden]`, as `engine.Engine` says."""
        return np.array(self._keeping.run([embedded, lengths], results=1)[0])

    @property
    def _keeping(self) -> OpenVinoEngine:
        return self._engine("keep", HIDDEN, KEPT, *([LOWER] if self._lower else []))

    def encode_lower(self, embedded: Floats, lengths: NDArray[np.int32]) -> tuple[Floats, list[Floats]]:
        """Return what `encode` gives, and what enters each layer that the graph was built to give."""
        found = self._keeping.run([embedded, lengths], results=1 + self.layers + self._lower)
        return np.array(found[0]), [np.array(each) for each in found[1 + self.layers :]]

    @property
    def precision(self) -> str:
        """The arithmetic's precision."""
        return self._keeping.precision

    def keep(self, embedded: Floats, lengths: NDArray[np.int32]) -> list[Kept]:
        """Encode windows as `Engine.encode` does, and return what is kept of each."""
        return self.keep_lower(embedded, lengths)[0]

    def keep_lower(self, embedded: Floats, lengths: NDArray[np.int32]) -> tuple[list[Kept], list[Floats]]:
        """Return what `keep` gives, and what enters each layer that the graph was built to give."""
        found = self._keeping.run([embedded, lengths], results=1 + self.layers + self._lower)
        hidden, layers, lower = found[0], found[1 : 1 + self.layers], found[1 + self.layers :]
        if self._bfloat16:
            layers = [each.view(np.uint16) for each in layers]  # numpy has no bfloat16
        kept = [  # copies, for the engine's arrays are its own
            Kept(hidden[row, :length].copy(), tuple(_filled_up(each[row], length) for each in layers))
            for row, length in enumerate(lengths.tolist())
        ]
        return kept, [np.array(each) for each in lower]

    def branch(self, embedded: Floats, rows: Rows, kept: Kept) -> Floats:
        """Return the hidden states `[read, hidden]` of the rows' tokens that answers are read from, under one window.

        `embedded` `[tokens, hidden]` are the word embeddings of all their tokens, with roles added.
        """
        bias = np.where(rows.attends, np.float32(0), np.float32(MASKED))
        spread, place = rows.spread
        seen = np.zeros(kept.layers[0].shape[1], np.float32)
        seen[: len(kept.hidden)] = 1
        layers = [ov.Tensor(each, each.shape, ov.Type.bf16) if self._bfloat16 else each for each in kept.layers]
        given = [embedded, rows.positions[rows.used], bias, spread, place, np.concatenate(rows.read), seen, *layers]
        return np.array(self._engine("branch", BRANCH).run(given, results=1)[0])


def _filled_up(kept: NDArray[Any], length: int) -> NDArray[Any]:
    """Copy a row's keys and values `[2 * heads, tokens, hidden/heads]`: nothing beyond its length, `LEAST` tokens."""
    heads, tokens, width = kept.shape
    found = np.empty((heads, max(tokens, LEAST), width), kept.dtype)
    found[:, :length] = kept[:, :length]
    found[:, length:] = 0
    return found
