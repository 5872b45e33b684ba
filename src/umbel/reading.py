"""The reading head: where in a text the answer to a question stands, read from both encodings; its weights.

A pointer from a question's last state to the text's tokens cannot say much of a text that has never seen the question
(docs/log.md). So each token of the text is compared with each token of the question, as in attention-flow readers (Seo
et al. 2017; the layers follow QANet, Yu et al. 2018), in `width` numbers instead of the encoder's many: the encoding
stays as it is. `reading_graph` runs it; `reading_model` is the same in torch, to train.

`features` are a token's hidden state beside its values in a few layers of the encoder, `[tokens, features]`, the same
for text and question; `states` are the question's as a branch, which has seen the text.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

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
    """Return the weights of several heads as those of one, which `apart` takes apart again."""
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
