"""The reading heads as the runtime runs them: a graph for a text's part, and one for each question's.

`reading` says what they compute, and `reading_model` is the same in torch. Texts and questions are padded to a multiple
of STEP, and what is padded is masked; each question is run by itself, so what else is asked changes no bit of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from umbel.engine import GraphParts, OpenVinoEngine, number, numbers, parameter
from umbel.reading import EPSILON, HEADS, REACH, Floats, Weights, apart

STEP = 16  # tokens: each pair of lengths that the graphs meet costs memory, a third of a megabyte
MASKED = -1e9


class ReadingHeads:
    """One head, or several whose logits are averaged: they were trained apart, and err apart.

    `run_by` gives an engine for a graph. Both graphs are compiled when the first text comes.
    """

    def __init__(self, weights: Weights, run_by: Callable[[ov.Model], OpenVinoEngine]) -> None:
        self._weights, self._run_by, self._lock = weights, run_by, threading.Lock()
        self._compiled: tuple[OpenVinoEngine, OpenVinoEngine] | None = None

    def _engines(self) -> tuple[OpenVinoEngine, OpenVinoEngine]:
        with self._lock:
            if not self._compiled:
                heads = [_HeadBuilder(head) for head in apart(self._weights)]
                self._compiled = self._run_by(_text_graph(heads)), self._run_by(_question_graph(heads))
            return self._compiled

    def text(self, features: Floats) -> Floats:
        """Return what any question needs of a text, from its features `[tokens, features]`, padded."""
        return np.array(self._engines()[0].run([_padded(features)], results=1)[0])

    def logits(self, text: Floats, shared: Floats, question: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Return the logits of the answer's beginning and its end at each token `[tokens]`.

        `text` is from `text`; `shared` `[tokens]` is 1 where the text's token stands in the question, too; `question`
        `[question tokens, features]` are its own features and `states` `[question tokens, hidden]` those of its branch.
        """
        tokens, length = len(shared), len(states)
        inputs = [text, _padded(shared[:, None]), _mask(tokens), _padded(question), _padded(states), _mask(length)]
        inputs.append(np.array([length - 1], np.int32))
        start, end = np.array(self._engines()[1].run(inputs, results=1)[0][:tokens].T)
        return start, end


class _Given(NamedTuple):
    """A question's inputs (`ReadingHeads.logits`); `seen` and `asked` `[tokens, 1]` are 0 in the padding."""

    shared: ov.Node
    seen: ov.Node
    question: ov.Node
    states: ov.Node
    asked: ov.Node
    last: ov.Node  # the question's last token


def _padded(values: Floats) -> Floats:
    """Return values `[tokens, numbers]` with as many rows of zeros as make their number a multiple of STEP."""
    more = -len(values) % STEP
    return np.concatenate([values, np.zeros((more, values.shape[1]), np.float32)])


def _mask(tokens: int) -> Floats:
    """Return 1 for each token and 0 for its padding `[padded tokens, 1]`."""
    return _padded(np.ones((tokens, 1), np.float32))


def _text_graph(heads: Sequence[_HeadBuilder]) -> ov.Model:
    """Build what texts go through: features `[tokens, features]` in, each head's `[tokens, width]` side by side out."""
    features = parameter([-1, heads[0].features], np.float32, "features")
    return ov.Model([ops.concat([head.text(features) for head in heads], 1)], [features], "text")


def _question_graph(heads: Sequence[_HeadBuilder]) -> ov.Model:
    """Build what a question goes through (`ReadingHeads.logits`): mean logits `[tokens, 2]` out."""
    text = parameter([-1, sum(head.width for head in heads)], np.float32, "text")
    given = _Given(
        shared=parameter([-1, 1], np.float32, "shared"),
        seen=parameter([-1, 1], np.float32, "seen"),
        question=parameter([-1, heads[0].features], np.float32, "question"),
        states=parameter([-1, heads[0].hidden], np.float32, "states"),
        asked=parameter([-1, 1], np.float32, "asked"),
        last=parameter([1], np.int32, "last"),
    )
    texts = ops.variadic_split(text, number(1), numbers(*(head.width for head in heads))).outputs()
    logits = [head.logits(own, given) for head, own in zip(heads, texts, strict=True)]
    mean = logits[0]
    for other in logits[1:]:
        mean = ops.add(mean, other)
    mean = ops.multiply(mean, ops.constant(np.float32(1 / len(heads))))
    return ov.Model([mean], [text, *given], "reading")


class _HeadBuilder(GraphParts):
    """Builds one head's part of both graphs."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, EPSILON)
        self.width, self.features = weights["text.weight"].shape
        self.hidden = weights["branch.weight"].shape[1]
        self.blocks = sum(name.endswith(".qkv.bias") for name in weights)

    def text(self, features: ov.Node) -> ov.Node:
        """Return what any question needs of a text `[tokens, width]`."""
        return self.norm("text_norm", self.dense("text", self._by_part(features)))

    def logits(self, text: ov.Node, given: _Given) -> ov.Node:
        """Return the logits `[tokens, 2]`."""
        states = self._by_part(given.states)
        mixed = ops.add(self.dense("question", self._by_part(given.question)), self.dense("branch", states))
        sought = self.norm("question_norm", mixed)  # [question tokens, width]
        found = self._attend(self.dense("seek", text), self.dense("sought", sought), sought, _bias(given.asked))
        root = self.dense("root", ops.gather(states, given.last, number(0)))  # [1, width]
        words = ops.multiply(given.shared, self._constant("shared_word"))
        joined = ops.concat([text, found, ops.multiply(text, found), ops.multiply(root, text), words], 1)
        mixed, bias = self.dense("fuse", joined), _bias(given.seen)
        for place in range(self.blocks):
            mixed = self._block(f"blocks.{place}.", mixed, given.seen, bias)
        return self.dense("ends", self.norm("norm", mixed))

    def _block(self, name: str, mixed: ov.Node, seen: ov.Node, bias: ov.Node) -> ov.Node:
        """Look at the neighbours, then at all tokens, then at each alone."""
        near = ops.swish(self._convolve(f"{name}conv", ops.multiply(self.norm(f"{name}conv_norm", mixed), seen)))
        mixed = ops.add(mixed, self.dense(f"{name}conv_out", near))
        mapped = self.dense(f"{name}qkv", self.norm(f"{name}attention_norm", mixed))
        query, key, value = ops.split(mapped, number(1), 3).outputs()
        mixed = ops.add(mixed, self.dense(f"{name}attention_out", self._attend(query, key, value, bias)))
        inner = ops.swish(self.dense(f"{name}feed_in", self.norm(f"{name}feed_norm", mixed)))
        return ops.add(mixed, self.dense(f"{name}feed_out", inner))

    def _convolve(self, name: str, inputs: ov.Node) -> ov.Node:
        """Weigh each token's neighbours, each number by itself; there is nothing beyond the ends."""
        line = ops.unsqueeze(ops.transpose(inputs, numbers(1, 0)), numbers(0))  # [1, width, tokens]
        kernel = ops.constant(np.ascontiguousarray(self.tensors[f"{name}.weight"][:, None]))  # one group a number
        found = ops.squeeze(ops.group_convolution(line, kernel, [1], [REACH], [REACH], [1]), numbers(0))
        return ops.add(ops.transpose(found, numbers(1, 0)), self._constant(f"{name}.bias"))

    def _attend(self, query: ov.Node, key: ov.Node, value: ov.Node, bias: ov.Node) -> ov.Node:
        """Return values mixed by attention in HEADS parts `[queries, width]`."""
        query, key, value = (self._in_heads(each) for each in (query, key, value))
        scale = ops.constant(np.float32((self.width // HEADS) ** -0.5))
        mixed = ops.scaled_dot_product_attention(query, key, value, bias, scale)
        return ops.reshape(ops.transpose(mixed, numbers(0, 2, 1, 3)), numbers(-1, self.width), False)

    def _in_heads(self, states: ov.Node) -> ov.Node:
        """Return states `[tokens, width]` as `[1, HEADS, tokens, width/HEADS]`."""
        split = ops.reshape(states, numbers(1, -1, HEADS, self.width // HEADS), False)
        return ops.transpose(split, numbers(0, 2, 1, 3))

    def _by_part(self, features: ov.Node) -> ov.Node:
        """Bring each part of the features, as wide as a hidden state, to mean 0 and variance 1."""
        numbers_each = features.get_output_partial_shape(0)[1].get_length()
        parts = ops.reshape(features, numbers(-1, numbers_each // self.hidden, self.hidden), False)
        return ops.reshape(self.normed(parts), numbers(-1, numbers_each), False)


def _bias(mask: ov.Node) -> ov.Node:
    """Return what is added to attention's scores `[1, 1, 1, keys]`: nothing, or next to minus infinity."""
    line = ops.reshape(mask, numbers(1, 1, 1, -1), False)
    return ops.multiply(ops.subtract(line, ops.constant(np.float32(1))), ops.constant(np.float32(-MASKED)))
