"""The runtime's engine: hidden states from embedded tokens, behind one small protocol; OpenVINO builds and runs it.

The graph is built straight from numpy arrays, without torch or onnx. Weights are stored in 16 bits, the arithmetic is
bfloat16 where the processor has it: on such a processor that is faster than int8 weights, and nearer to fp32 than int8
activations (docs/log.md). For one padded length a row's result is bit-identical whatever the batch; between
padded lengths it is not, so callers batch rows of one padded length only. Knows nothing of tasks, text and packs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino import properties
from openvino.properties import hint as hints

from umbel.quantised import HIGH, LOW, Places, Rounding
from umbel.shapes import EncoderShape
from umbel.windows import BATCH_TOKENS

Floats = NDArray[np.float32]
Precision = Literal["auto", "float32", "bfloat16", "int8"]

NAME = f"openvino-{ov.__version__.split('-')[0]}"
# With AMX, a product of at most 16 rows and so few columns, in and out, has other instructions than one of more rows,
# and rounds otherwise: narrow ones are given columns of zeros (docs/log.md, "Narrow products").
NARROW = 32
MAPPED = "mapped"  # names the weights of queries, keys and values in one
UNIT = 2.0**-6  # what one step of inputs rounded to 8 bits stands for: scales of weights then fit into 16 bits
NO_ROUNDINGS: Mapping[str, Rounding] = MappingProxyType({})
ROUNDED = "int8 1"  # names how its maps are done in 8 bits
ENCODER = "encoder 3"  # names how its graph is built; another way gives other bits and makes cached graphs unfit


class Engine(Protocol):
    """Runs the encoder."""

    def encode(self, embedded: Floats, lengths: NDArray[np.int32]) -> Floats:
        """Return hidden states `[batch, tokens, hidden]` of word embeddings of the same shape.

        `lengths` `[batch]` are the tokens of each row; what lies beyond is padding. Safe to call from several threads.
        """

    def encode_lower(self, embedded: Floats, lengths: NDArray[np.int32]) -> tuple[Floats, list[Floats]]:
        """Return what `encode` gives, and what enters each layer that detached tasks fork at."""


class OpenVinoEngine:
    """Runs a graph made by `build_graph`, one infer request for each calling thread.

    `precision` is that of the arithmetic: `auto` takes bfloat16 where the processor has it, and so does `int8`, which
    names a graph built with roundings, for what is not rounded. `callers` may come at once:
    from two on, those who do get threads of their own, as threads that share a product wait for the slowest of them at
    its end; one alone still has them all. Both ways give the same bits; the weights lie in memory twice.
    """

    def __init__(
        self,
        model: ov.Model | Path,
        precision: Precision = "auto",
        threads: int = 0,
        cache: Path | None = None,
        callers: int = 1,
    ) -> None:
        inner = "bfloat16" if uses_bfloat16(precision) else "float32"
        self.precision = "int8" if precision == "int8" else inner
        threads = threads or len(os.sched_getaffinity(0))
        settings: dict[Any, Any] = {
            hints.inference_precision: ov.Type.bf16 if inner == "bfloat16" else ov.Type.f32,
            hints.performance_mode: hints.PerformanceMode.LATENCY,
            hints.enable_hyper_threading: True,
            hints.enable_cpu_pinning: False,  # on a shared machine a pinned thread waits for whoever has its core
            properties.num_streams: 1,
            properties.inference_num_threads: threads,
        }
        if cache:
            settings[properties.cache_dir] = str(cache)
        self._compiled = self._shared_out = core().compile_model(model, "CPU", settings)
        if (streams := min(callers, threads)) > 1:
            self._shared_out = core().compile_model(model, "CPU", settings | {properties.num_streams: streams})
        self._local = threading.local()
        self._lock = threading.Lock()
        self._running = 0

    def encode(self, embedded: Floats, lengths: NDArray[np.int32]) -> Floats:
        """Return hidden states `[batch, tokens, hidden]`; the array is the caller's."""
        return np.array(self.run([embedded, lengths], results=1)[0])

    def encode_lower(self, embedded: Floats, lengths: NDArray[np.int32]) -> tuple[Floats, list[Floats]]:
        """Return what `encode` gives, and what enters each layer that the graph was built to give."""
        hidden, *lower = map(np.array, self.run([embedded, lengths], results=len(self._compiled.outputs)))
        return hidden, lower

    def run(self, inputs: Sequence[NDArray[Any]], results: int) -> list[Floats]:
        """Return the graph's first results; the arrays are the engine's own and last until the thread's next call."""
        with self._lock:
            self._running += 1
            compiled = self._compiled if self._running == 1 else self._shared_out
        try:
            request = self._request(compiled)
            # By the places of the graph's inputs: of a list the library looks at all of them first, for 0.1 ms. Without
            # sharing, the results would be copied twice.
            request.infer(dict(enumerate(inputs)), share_inputs=True, share_outputs=True)
        finally:
            with self._lock:
                self._running -= 1
        return [request.get_output_tensor(place).data for place in range(results)]

    def _request(self, compiled: ov.CompiledModel) -> ov.InferRequest:
        """Return the calling thread's request, made when it first comes; both ways write to the same memory."""
        mine = self._local.__dict__
        requests, results = mine.setdefault("requests", {}), mine.setdefault("results", {})
        if compiled not in requests:
            results.update(results or _room(compiled))
            request = requests[compiled] = compiled.create_infer_request()
            for place, tensor in results.items():
                request.set_output_tensor(place, tensor)
        return requests[compiled]


def _room(compiled: ov.CompiledModel) -> dict[int, ov.Tensor]:
    """Return memory for a graph's results, as much as they ever need: only what they fill of it is resident.

    Otherwise each longer text takes a larger piece, and leaves a hole where the smaller one was.
    """
    found = {}
    for place, output in enumerate(compiled.outputs):
        sizes = [size.get_length() if size.is_static else 0 for size in output.partial_shape]
        if sizes.count(0) == 2:  # batch and tokens
            most = [size or (BATCH_TOKENS if axis else 1) for axis, size in enumerate(sizes)]
            found[place] = ov.Tensor(output.element_type, ov.Shape(most))
    return found


@cache
def core() -> ov.Core:
    """Return the library's core, one for the process, which lasts as long as it does.

    On processors with wide registers a core gives the thread that makes it another stack for signals, and puts the one
    before back when it goes. Two cores that go in the order they came leave the first one's stack, which is gone: the
    next signal, a Ctrl-C for instance, would end the process (tests/unit/test_engine.py).
    """
    return ov.Core()


def uses_bfloat16(precision: Precision) -> bool:
    """Tell whether the arithmetic, or what of it is not in 8 bits, will be bfloat16 on this processor."""
    if precision in ("float32", "bfloat16"):
        return precision == "bfloat16"
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def build_graph(
    shape: EncoderShape,
    tensors: Mapping[str, Floats],
    lower: Sequence[int] = (),
    roundings: Mapping[str, Rounding] = NO_ROUNDINGS,
) -> ov.Model:
    """Build a BERT-family encoder from tensors under the hub's names; maps that have `roundings` are done in 8 bits.

    Inputs, in this order: `embedded` `[batch, tokens, hidden]` fp32 and `lengths` `[batch]` int32; the output is
    `[batch, tokens, hidden]` fp32, then of the same shape what enters each of the layers in `lower`.
    """
    return GraphBuilder(shape, tensors, lower, roundings).build()


class GraphParts:
    """Builds what graphs are made of from tensors under their names."""

    def __init__(
        self, tensors: Mapping[str, Floats], epsilon: float, roundings: Mapping[str, Rounding] = NO_ROUNDINGS
    ) -> None:
        self.tensors, self.epsilon, self.roundings = tensors, epsilon, roundings
        self._constants: dict[str, ov.Node] = {}
        self._normed: dict[str, tuple[ov.Node, str]] = {}  # norms by their results: before scale and bias, and whose

    def tensor(self, name: str) -> Floats:
        """Return a tensor by its name."""
        return self.tensors[name]

    def dense(self, name: str, inputs: ov.Node, chosen: Places | None = None) -> ov.Node:
        """Apply a linear map, in 8 bits where it has a rounding; that gives the outputs that are `chosen`, else all."""
        if name in self.roundings:
            return self._rounded(name, inputs, chosen)
        weight, bias = self._constant(f"{name}.weight"), self._constant(f"{name}.bias")
        outputs, width = weight.shape
        if max(outputs, width) > NARROW:
            return ops.add(ops.matmul(inputs, weight, False, True), bias)
        more = NARROW + 1 - outputs
        weight = ops.concat([weight, ops.constant(np.zeros((more, width), np.float32))], 0)
        bias = ops.concat([bias, ops.constant(np.zeros(more, np.float32))], 0)
        product = ops.add(ops.matmul(inputs, weight, False, True), bias)
        return ops.slice(product, numbers(0), numbers(outputs), numbers(1), numbers(-1))

    def _rounded(self, name: str, inputs: ov.Node, chosen: Places | None) -> ov.Node:
        """Apply a linear map in 8 bits; its sums are exact, so it needs no columns of zeros (`NARROW`).

        Scale and shift of a norm's results are made one with its own: one operation less.
        """
        rounding = self.roundings[name]
        scale, shift = rounding.scale.astype(np.float32), rounding.shift.astype(np.float32)
        if (key := inputs.get_friendly_name()) in self._normed:
            inputs, norm = self._normed[key]
            scale, shift = scale * self.tensor(f"{norm}.weight"), shift - scale * self.tensor(f"{norm}.bias")
        if (key := f"{name}.rounded") not in self._constants:
            whole, steps = rounding.weights(self.tensor(f"{name}.weight"))
            bias = self.tensor(f"{name}.bias") + rounding.bias
            if chosen is not None:
                whole, steps, bias = whole[chosen], steps[chosen], bias[chosen]
            weight = ops.multiply(ops.convert(ops.constant(whole), np.float32), ops.constant(steps / np.float32(UNIT)))
            self._constants |= {key: weight, f"{key}.bias": ops.constant(bias)}
        scaled = ops.subtract(ops.multiply(inputs, ops.constant(scale)), ops.constant(shift))
        ends = [_float(float(end)) for end in (LOW, HIGH, LOW * UNIT, HIGH * UNIT)]
        rounded = ops.fake_quantize(scaled, *ends, HIGH - LOW + 1)
        return ops.add(ops.matmul(rounded, self._constants[key], False, True), self._constants[f"{key}.bias"])

    def norm(self, name: str, inputs: ov.Node) -> ov.Node:
        """Apply a layer normalisation."""
        bare = self.normed(inputs)
        scaled = ops.multiply(bare, self._constant(f"{name}.weight"))
        found = ops.add(scaled, self._constant(f"{name}.bias"))
        self._normed[found.get_friendly_name()] = bare, name
        return found

    def normed(self, inputs: ov.Node) -> ov.Node:
        """Bring the last axis to mean 0 and variance 1."""
        return ops.mvn(inputs, numbers(-1), True, self.epsilon, "INSIDE_SQRT")

    def _constant(self, name: str) -> ov.Node:
        """Return a tensor's node; readers of the same weights share it."""
        if name not in self._constants:
            self._constants[name] = ops.constant(self.tensor(name))
        return self._constants[name]


class GraphBuilder(GraphParts):
    """Builds the encoder node by node; `kept` are its layers' keys and values by head, once built."""

    def __init__(
        self,
        shape: EncoderShape,
        tensors: Mapping[str, Floats],
        lower: Sequence[int] = (),
        roundings: Mapping[str, Rounding] = NO_ROUNDINGS,
    ) -> None:
        super().__init__(tensors, shape.epsilon, roundings)
        self.shape, self.lower = shape, lower
        self.kept: list[ov.Output] = []  # [batch, 2 * heads, tokens, hidden/heads]

    def build(self) -> ov.Model:
        """Return the encoder's graph."""
        embedded = parameter([-1, -1, self.shape.hidden], np.float32, "embedded")
        lengths = parameter([-1], np.int32, "lengths")
        places = _places(embedded)
        hidden, bias = self.embeddings(embedded, places), self._bias(places, lengths)
        below = {}
        for layer in range(self.shape.layers):
            below[layer] = hidden
            hidden = self._layer(f"encoder.layer.{layer}", hidden, bias)
        hidden.set_friendly_name("hidden")
        return ov.Model([hidden, *(below[layer] for layer in self.lower)], [embedded, lengths], "encoder")

    def build_upper(self, first: int) -> ov.Model:
        """Return the graph of the layers from `first` on, which takes the hidden states below it for `embedded`."""
        hidden = below = parameter([-1, -1, self.shape.hidden], np.float32, "below")
        lengths = parameter([-1], np.int32, "lengths")
        bias = self._bias(_places(below), lengths)
        for layer in range(first, self.shape.layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, bias)
        return ov.Model([hidden], [below, lengths], "upper")

    def build_lower(self, last: int) -> ov.Model:
        """Return the graph of the layers below `last`: hidden states of the same shape as the input."""
        embedded = parameter([-1, -1, self.shape.hidden], np.float32, "embedded")
        lengths = parameter([-1], np.int32, "lengths")
        places = _places(embedded)
        hidden, bias = self.embeddings(embedded, places), self._bias(places, lengths)
        for layer in range(last):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, bias)
        return ov.Model([hidden], [embedded, lengths], "lower")

    def _bias(self, places: ov.Node, lengths: ov.Node) -> ov.Node:
        """Return what is added to attention's scores `[batch, 1, 1, tokens]`: nothing, or next to minus infinity."""
        mask = ops.less(ops.unsqueeze(places, numbers(0, 1, 2)), ops.unsqueeze(lengths, numbers(1, 2, 3)))
        return ops.select(mask, _float(0.0), _float(-1e9))

    def embeddings(self, embedded: ov.Node, places: ov.Node) -> ov.Node:
        """Add positions, counted from 0, to word embeddings."""
        table = self.tensors["embeddings.position_embeddings.weight"][self.shape.first_position :]
        kind = self.tensors["embeddings.token_type_embeddings.weight"][0]
        positions = ops.gather(ops.constant(np.ascontiguousarray(table + kind)), places, number(0))
        return self.norm("embeddings.LayerNorm", ops.add(embedded, positions))

    def _layer(self, name: str, hidden: ov.Node, bias: ov.Node) -> ov.Node:
        return self.feed_forward(name, hidden, self._attention(f"{name}.attention.self", hidden, bias))

    def feed_forward(self, name: str, hidden: ov.Node, attended: ov.Node) -> ov.Node:
        """Return a layer's output from its input and what its attention mixed."""
        update = self.dense(f"{name}.attention.output.dense", attended)
        hidden = self.norm(f"{name}.attention.output.LayerNorm", ops.add(update, hidden))
        last = f"{name}.output.dense"
        chosen = self.roundings[last].channels if last in self.roundings else None
        wide = ops.gelu(self.dense(f"{name}.intermediate.dense", hidden, chosen), "ERF")
        return self.norm(f"{name}.output.LayerNorm", ops.add(self.dense(last, wide), hidden))

    def _attention(self, name: str, hidden: ov.Node, bias: ov.Node) -> ov.Node:
        heads, width = self.shape.heads, self.shape.hidden
        split = ops.reshape(self.mapped(name, hidden), numbers(0, 0, 3 * heads, width // heads), True)
        by_head = ops.transpose(split, numbers(0, 2, 1, 3))
        query, kept = ops.variadic_split(by_head, number(1), numbers(heads, 2 * heads)).outputs()
        self.kept.append(kept)
        key, value = ops.split(kept, number(1), 2).outputs()
        mixed = ops.scaled_dot_product_attention(query, key, value, bias, _float(1.0))  # `mapped` has scaled queries
        return ops.reshape(ops.transpose(mixed, numbers(0, 2, 1, 3)), numbers(0, 0, width), True)

    def mapped(self, name: str, hidden: ov.Node) -> ov.Node:
        """Return a layer's queries, scaled for attention, keys and values side by side `[..., 3 * hidden]`.

        They are one product, so that its result can be given out as it stands: were keys results by themselves, the
        library would round them once more, and hidden states would depend on whether they are (docs/log.md).
        """
        return self.dense(f"{name}.{MAPPED}", hidden)

    def tensor(self, name: str) -> Floats:
        """Return a tensor by its name; those of `mapped` are put together."""
        owner, what = name.rsplit(".", 1)
        if not owner.endswith(f".{MAPPED}"):
            return self.tensors[name]
        layer = owner.removesuffix(MAPPED)
        query, key, value = (self.tensors[f"{layer}{part}.{what}"] for part in ("query", "key", "value"))
        return np.concatenate([query * np.float32((self.shape.hidden // self.shape.heads) ** -0.5), key, value])


def maps_of(shape: EncoderShape) -> dict[str, tuple[int, int]]:
    """Return how many inputs and outputs each linear map has that can be done in 8 bits, by its name."""
    hidden, wide = shape.hidden, shape.intermediate
    sizes = {
        f"attention.self.{MAPPED}": (hidden, 3 * hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (hidden, wide),
        "output.dense": (wide, hidden),
    }
    return {f"encoder.layer.{layer}.{name}": size for layer in range(shape.layers) for name, size in sizes.items()}


def _places(states: ov.Node) -> ov.Node:
    """Return the tokens' places `[tokens]` of states `[batch, tokens, hidden]`."""
    return ops.range(number(0), ops.gather(ops.shape_of(states, "i32"), number(1), number(0)), number(1), "i32")


def parameter(shape: Sequence[int], dtype: Any, name: str) -> ov.Node:
    """Return an input of a graph."""
    node = ops.parameter(list(shape), dtype)
    node.set_friendly_name(name)
    return node


def number(value: int) -> ov.Node:
    """Return a constant."""
    return ops.constant(np.int32(value))


def numbers(*values: int) -> ov.Node:
    """Return a constant of several values."""
    return ops.constant(np.array(values, np.int32))


def _float(value: float) -> ov.Node:
    return ops.constant(np.float32(value))
