"""A Llama-family decoder as a graph of OpenVINO, straight from numpy arrays: a rival, not part of Umbel.

The simplest honest form: keys and values are the graph's own state, in the pattern that OpenVINO fuses with attention;
`rows` names the state's row that each row of a call goes on from, so that one prefix forks into any number of branches.
Knows Llama, SmolLM2 and Qwen2; Gemma's and Qwen3's differences are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino import properties
from openvino.op.util import Variable, VariableInfo
from openvino.properties import hint as hints

from umbel.decoderfile import DecoderWeights
from umbel.shapes import DecoderShape

Floats = NDArray[np.float32]
Arithmetic = Literal["float32", "bfloat16", "int8 weights", "int8"]
GROUP = 32  # numbers of an activation that share a scale, of one token: no other token moves them


class GraphDecoder:
    """Reads tokens behind what its state holds; gives the logits of each row's next token.

    `bfloat16` and `float32` are the arithmetic of 16-bit weights; `int8 weights` keeps one scale for each output and
    computes in bfloat16; `int8` also rounds activations, in groups of GROUP numbers of one token.
    """

    def __init__(self, weights: DecoderWeights, arithmetic: Arithmetic, threads: int) -> None:
        settings: dict[Any, Any] = {
            hints.inference_precision: ov.Type.f32 if arithmetic == "float32" else ov.Type.bf16,
            hints.performance_mode: hints.PerformanceMode.LATENCY,
            hints.enable_cpu_pinning: False,
            hints.dynamic_quantization_group_size: GROUP if arithmetic == "int8" else 0,
            hints.kv_cache_precision: ov.Type.f32 if arithmetic == "float32" else ov.Type.bf16,
            properties.num_streams: 1,
            properties.inference_num_threads: threads,
        }
        graph = _Builder(weights.shape, weights.tensors, "int8" in arithmetic).build()
        self._request = ov.Core().compile_model(graph, "CPU", settings).create_infer_request()
        self._speeds = weights.shape.theta ** -(np.arange(0, weights.shape.head, 2) / weights.shape.head)
        self._length = 0

    def forget(self) -> None:
        """Empty the state."""
        self._request.reset_state()
        self._length = 0

    def read(self, tokens: Sequence[Sequence[int]], rows: Sequence[int] = (0,)) -> Floats:
        """Read `tokens` `[batch, tokens]`, each row behind that row of the state; return their logits."""
        ids = np.asarray(tokens, np.int32)
        places = self._length + np.arange(ids.shape[1])
        sees = np.arange(self._length + ids.shape[1])[None] <= places[:, None]
        logits = self._run(ids, places, sees, [ids.shape[1] - 1], rows)
        self._length += ids.shape[1]
        return logits[:, 0]

    def read_tree(
        self, tokens: Sequence[int], places: NDArray[Any], sees: NDArray[np.bool_], wanted: Sequence[int]
    ) -> Floats:
        """Read a tree of tokens at once, and keep nothing; return the logits after each of the `wanted` ones.

        `places` `[tokens]` are their positions, `sees` `[tokens, tokens]` what each attends to.
        """
        self.forget()
        return self._run(np.asarray([tokens], np.int32), places, sees, wanted, (0,))[0]

    def _run(
        self,
        ids: NDArray[Any],
        places: NDArray[Any],
        sees: NDArray[np.bool_],
        wanted: Sequence[int],
        rows: Sequence[int],
    ) -> Floats:
        bias = np.where(sees, 0, -1e9).astype(np.float32)[None, None]  # [1, 1, tokens, all tokens]
        # Made here: angles of some hundred would be rounded to eight bits in the graph.
        angles = np.tile(places[:, None] * self._speeds, 2).astype(np.float32)[None, None]  # [1, 1, tokens, head]
        whole = [np.asarray(numbers, np.int32) for numbers in (rows, wanted)]
        self._request.infer([ids, np.cos(angles), np.sin(angles), bias, *whole])
        return np.array(self._request.get_output_tensor(0).data)


class _Builder:
    def __init__(self, shape: DecoderShape, tensors: Mapping[str, Floats], rounded: bool) -> None:
        self.shape, self.tensors, self.rounded = shape, tensors, rounded

    def build(self) -> ov.Model:
        """Return the graph, its inputs in the order in which `GraphDecoder` gives them."""
        shape = self.shape
        ids, self.rows, wanted = (ops.parameter(size, np.int32) for size in ([-1, -1], [-1], [-1]))
        self.cosines, self.sines = (ops.parameter([1, 1, -1, shape.head], np.float32) for _ in range(2))
        self.bias = ops.parameter([1, 1, -1, -1], np.float32)
        self.stored: list[Any] = []
        hidden = ops.gather(_wide(self.tensors["model.embed_tokens.weight"]), ids, _numbers(0))
        hidden = ops.reshape(hidden, _numbers(0, 0, shape.hidden), True)
        for layer in range(shape.layers):
            hidden = self._layer(f"model.layers.{layer}", hidden)
        some = ops.gather(self._norm("model.norm", hidden), wanted, _number(1))  # [batch, wanted, hidden]
        logits = self._dense("lm_head" if "lm_head.weight" in self.tensors else "model.embed_tokens", some)
        inputs = [ids, self.cosines, self.sines, self.bias, self.rows, wanted]
        return ov.Model([logits.output(0)], self.stored, inputs, "decoder")

    def _layer(self, name: str, hidden: ov.Node) -> ov.Node:
        mixed = self._attention(f"{name}.self_attn", self._norm(f"{name}.input_layernorm", hidden))
        hidden = ops.add(hidden, mixed)
        inner = self._norm(f"{name}.post_attention_layernorm", hidden)
        gate = ops.swish(self._dense(f"{name}.mlp.gate_proj", inner))
        wide = ops.multiply(gate, self._dense(f"{name}.mlp.up_proj", inner))
        return ops.add(hidden, self._dense(f"{name}.mlp.down_proj", wide))

    def _attention(self, name: str, inner: ov.Node) -> ov.Node:
        shape = self.shape
        query, key, value = (
            ops.transpose(
                ops.reshape(self._dense(f"{name}.{part}_proj", inner), _numbers(0, 0, heads, shape.head), True),
                _numbers(0, 2, 1, 3),
            )
            for part, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads))
        )
        query, key = self._turned(query), self._turned(key)
        keys, values = self._grown(f"{name}.key", key), self._grown(f"{name}.value", value)
        mixed = ops.scaled_dot_product_attention(query, self._shared(keys), self._shared(values), self.bias)
        mixed = ops.reshape(ops.transpose(mixed, _numbers(0, 2, 1, 3)), _numbers(0, 0, shape.heads * shape.head), True)
        return self._dense(f"{name}.o_proj", mixed)

    def _turned(self, states: ov.Node) -> ov.Node:
        first, second = ops.split(states, _number(-1), 2).outputs()
        other = ops.concat([ops.negative(second), first], -1)
        return ops.add(ops.multiply(states, self.cosines), ops.multiply(other, self.sines))

    def _grown(self, name: str, states: ov.Node) -> ov.Node:
        """Append to the state's rows, and keep the result `[batch, kv_heads, all tokens, head]`."""
        info = VariableInfo()
        info.data_shape = ov.PartialShape([-1, self.shape.kv_heads, -1, self.shape.head])
        info.data_type, info.variable_id = ov.Type.f32, name
        variable = Variable(info)
        empty = ops.constant(np.zeros((1, self.shape.kv_heads, 0, self.shape.head), np.float32))
        before = ops.gather(ops.read_value(empty, variable), self.rows, _number(0))
        grown = ops.concat([before, states], 2)
        self.stored.append(ops.assign(grown, variable))
        return grown

    def _shared(self, states: ov.Node) -> ov.Node:
        """Repeat keys or values for the heads that share them."""
        times = self.shape.heads // self.shape.kv_heads
        wide = ops.broadcast(
            ops.unsqueeze(states, _numbers(2)),
            _numbers(1, 1, times, 1, 1),
            broadcast_spec="BIDIRECTIONAL",
        )
        sizes = ops.shape_of(states, "i32")
        batch, length = (ops.gather(sizes, _numbers(axis), _number(0)) for axis in (0, 2))
        whole = ops.concat([batch, _numbers(self.shape.heads), length, _numbers(self.shape.head)], 0)
        return ops.reshape(wide, whole, False)

    def _norm(self, name: str, hidden: ov.Node) -> ov.Node:
        mean = ops.reduce_mean(ops.power(hidden, _float(2)), _numbers(-1), True)
        scaled = ops.multiply(hidden, ops.divide(_float(1), ops.sqrt(ops.add(mean, _float(self.shape.epsilon)))))
        return ops.multiply(scaled, ops.constant(self.tensors[f"{name}.weight"]))

    def _dense(self, name: str, inputs: ov.Node) -> ov.Node:
        weight = self.tensors[f"{name}.weight"]
        product = ops.matmul(inputs, _rounded(weight) if self.rounded else _wide(weight), False, True)
        bias = self.tensors.get(f"{name}.bias")
        return product if bias is None else ops.add(product, ops.constant(bias))


def _wide(values: Floats) -> ov.Node:
    """Return 16-bit weights as the graph computes with them."""
    return ops.convert(ops.constant(values.astype(np.float16)), "f32")


def _rounded(values: Floats) -> ov.Node:
    """Return 8-bit weights with one scale for each output."""
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-8) / 127
    whole = ops.constant(np.round(values / scale).astype(np.int8))
    return ops.multiply(ops.convert(whole, "f32"), ops.constant(scale.astype(np.float32)))


def _number(value: int) -> ov.Node:
    return ops.constant(np.int32(value))


def _numbers(*values: int) -> ov.Node:
    return ops.constant(np.array(values, np.int32))


def _float(value: float) -> ov.Node:
    return ops.constant(np.float32(value))
