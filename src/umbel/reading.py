"""The reading head: where in a text the answer to a question stands, read from both encodings; in numpy.

A pointer from a question's last state to the text's tokens cannot say much of a text that has never seen the question
(docs/log.md). So each token of the text is compared with each token of the question, as in attention-flow readers (Seo
et al. 2017; the layers follow QANet, Yu et al. 2018), in `width` numbers instead of the encoder's many: the encoding
stays as it is, and a question costs about as much as reading a passage. `reading_model` is the same in torch, to train.

`features` are a token's hidden state beside its values in a few layers of the encoder, `[tokens, features]`, the same
for text and question; `states` are the question's as a branch, which has seen the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from umbel.calibrate import sigmoid, softmax

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]

HEADS = 4
REACH = 2  # tokens to either side that a convolution sees
EPSILON = 1e-5
VALUE_LAYERS = (3, 6, 9)  # of the twelve of the default backbone: words early, meaning late


def value_layers(layers: int) -> tuple[int, ...]:
    """Return the layers whose values are features, of an encoder with so many."""
    return tuple(sorted({place * layers // 12 for place in VALUE_LAYERS}))


def shapes_of(hidden: int, features: int, width: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight."""
    shapes: dict[str, tuple[int, ...]] = {"shared_word": (width,)}
    linear = {
        "text": features, "question": features, "branch": hidden, "root": hidden,
        "seek": width, "sought": width, "fuse": 5 * width,
    }  # fmt: skip
    norms = ["text_norm", "question_norm", "norm"]
    outputs = {name: width for name in linear}
    for place in range(blocks):
        block = f"blocks.{place}."
        norms += [f"{block}{name}" for name in ("conv_norm", "attention_norm", "feed_norm")]
        linear |= {f"{block}{name}": width for name in ("conv_out", "qkv", "attention_out", "feed_in")}
        linear[f"{block}feed_out"] = 2 * width
        outputs |= {f"{block}{name}": width for name in ("conv_out", "attention_out", "feed_out")}
        outputs |= {f"{block}qkv": 3 * width, f"{block}feed_in": 2 * width}
        shapes |= {f"{block}conv.weight": (width, 1, 2 * REACH + 1), f"{block}conv.bias": (width,)}
    linear["ends"], outputs["ends"] = width, 2
    shapes |= {f"{name}.weight": (outputs[name], inputs) for name, inputs in linear.items()}
    shapes |= {f"{name}.bias": (outputs[name],) for name in linear}
    shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    return shapes


def joined(*heads: Weights) -> dict[str, Floats]:
    """Return the weights of several heads as those of one, which `ReadingHeads` takes apart."""
    return {f"{place}/{name}": value for place, head in enumerate(heads) for name, value in head.items()}


def apart(weights: Weights) -> list[Weights]:
    """Return the weights of each head in what a pack keeps: those of one, or of several, as they were `joined`."""
    heads: dict[str, dict[str, Floats]] = {}
    for name, value in weights.items():
        place, _, own = name.rpartition("/")
        heads.setdefault(place, {})[own] = value
    return [heads[place] for place in sorted(heads)]


def is_head(weights: Weights) -> bool:
    """Tell whether these are all the weights of a head, or of each of several, every one in its shape."""
    return bool(weights) and all(_is_one(head) for head in apart(weights))


def _is_one(weights: Weights) -> bool:
    if not {"text.weight", "branch.weight"} <= weights.keys():
        return False
    blocks = sum(name.endswith(".qkv.bias") for name in weights)
    (width, features), (_, hidden) = weights["text.weight"].shape, weights["branch.weight"].shape
    return {name: value.shape for name, value in weights.items()} == shapes_of(hidden, features, width, blocks)


class ReadingHeads:
    """One head, or several whose logits are averaged: they were trained apart, and err apart."""

    def __init__(self, weights: Weights) -> None:
        self.heads = [ReadingHead(head) for head in apart(weights)]

    def text(self, features: Floats) -> list[Floats]:
        """Return what each head needs of a text `[tokens, width]`, whatever the question (`ReadingHead.text`)."""
        return [head.text(features) for head in self.heads]

    def logits(
        self, texts: Sequence[Floats], shared: Floats, question: Floats, states: Floats
    ) -> tuple[Floats, Floats]:
        """Return the mean logits of beginning and end at each token `[tokens]` (`ReadingHead.logits`)."""
        each = [head.logits(text, shared, question, states) for head, text in zip(self.heads, texts, strict=True)]
        start, end = np.mean(each, axis=0)
        return start, end


class ReadingHead:
    """Reads answers off encodings; one question's answer does not depend on any other's."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.blocks = sum(name.endswith(".qkv.bias") for name in weights)

    def text(self, features: Floats) -> Floats:
        """Return what any question needs of a text `[tokens, width]`, from its features `[tokens, features]`."""
        hidden = len(self.weights["branch.weight"][0])
        return self._norm("text_norm", self._linear("text", _by_part(features, hidden)))

    def logits(self, text: Floats, shared: Floats, question: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Return the logits of the answer's beginning and its end at each token `[tokens]`.

        `text` is from `text`; `shared` `[tokens]` is 1 where the text's token stands in the question, too; `question`
        `[question tokens, features]` are its own features and `states` `[question tokens, hidden]` those of its branch.
        """
        hidden = states.shape[1]
        states = _by_part(states, hidden)
        asked = self._linear("question", _by_part(question, hidden)) + self._linear("branch", states)
        asked = self._norm("question_norm", asked)  # [question tokens, width]
        found = _attend(self._linear("seek", text), self._linear("sought", asked), asked)  # [tokens, width]
        root = self._linear("root", states[-1:])  # [1, width]
        words = shared[:, None] * self.weights["shared_word"]
        mixed = self._linear("fuse", np.concatenate([text, found, text * found, root * text, words], axis=1))
        for place in range(self.blocks):
            mixed = self._block(f"blocks.{place}.", mixed)
        start, end = self._linear("ends", self._norm("norm", mixed)).T
        return start, end

    def _block(self, name: str, mixed: Floats) -> Floats:
        """Look at the neighbours, then at all tokens, then at each alone."""
        near = _silu(self._convolve(f"{name}conv", self._norm(f"{name}conv_norm", mixed)))
        mixed = mixed + self._linear(f"{name}conv_out", near)
        query, key, value = np.split(self._linear(f"{name}qkv", self._norm(f"{name}attention_norm", mixed)), 3, axis=1)
        mixed = mixed + self._linear(f"{name}attention_out", _attend(query, key, value))
        inner = _silu(self._linear(f"{name}feed_in", self._norm(f"{name}feed_norm", mixed)))
        return mixed + self._linear(f"{name}feed_out", inner)

    def _linear(self, name: str, inputs: Floats) -> Floats:
        result: Floats = inputs @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return result

    def _norm(self, name: str, inputs: Floats) -> Floats:
        return _normed(inputs) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def _convolve(self, name: str, inputs: Floats) -> Floats:
        """Weigh each token's neighbours, each number by itself; there is nothing beyond the ends."""
        padded = np.pad(inputs, ((REACH, REACH), (0, 0)))
        kernel = self.weights[f"{name}.weight"][:, 0]  # [width, 2 * REACH + 1]
        total = np.zeros_like(inputs)
        for place in range(kernel.shape[1]):
            total += padded[place : place + len(inputs)] * kernel[:, place]
        return total + self.weights[f"{name}.bias"]


def _normed(inputs: Floats) -> Floats:
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    result: Floats = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
    return result


def _by_part(features: Floats, hidden: int) -> Floats:
    """Bring each part of the features, as wide as a hidden state, to mean 0 and variance 1."""
    parts = features.reshape(len(features), -1, hidden)
    return _normed(parts).reshape(features.shape)


def _attend(query: Floats, key: Floats, value: Floats) -> Floats:
    """Return values mixed by attention in HEADS parts `[queries, width]`."""
    query, key, value = (each.reshape(len(each), HEADS, -1).transpose(1, 0, 2) for each in (query, key, value))
    scores = query @ key.transpose(0, 2, 1) * np.float32(query.shape[-1] ** -0.5)
    mixed = softmax(scores).astype(np.float32) @ value  # [heads, queries, width/heads]
    return mixed.transpose(1, 0, 2).reshape(query.shape[1], -1)


def _silu(inputs: Floats) -> Floats:
    result: Floats = (inputs * sigmoid(inputs)).astype(np.float32)
    return result
