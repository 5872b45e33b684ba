"""How answers are read from branch states: one formula for both engines, on numpy arrays or torch tensors.

`weights` maps names (`shapes_of`) to arrays; `states` `[n, hidden]` are hidden states of branch tokens, one for each
option, level, statement, question or type. Knows nothing of tokens, texts or how an answer is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.questions import Choice, Extract, Mentions, Predicate, Question, Score

ROLES = ("choice", "option", "predicate", "score", "level", "extract", "type")  # of branch nodes, by their index
EXTRACT = ("extract_start", "extract_end")
MENTIONS = ("type_start", "type_end", "type_inside")
KNOWN = "known"  # stands beside the weights of packs that say which options they were trained on
USUAL_COSINE = 0.8  # vectors of the e5 family lie near each other

Array = Any  # numpy array or torch tensor: both have the few operators used here
Weights = Mapping[str, Array]


def shapes_of(hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of the readouts."""
    pointers = {name: (hidden, hidden) for name in (*EXTRACT, *MENTIONS)}
    biases = {f"{name}_bias": (1,) for name in MENTIONS}
    return {
        "roles": (len(ROLES), hidden),
        "choice_weight": (hidden,),
        "choice_cosine": (1,),
        "predicate_weight": (hidden,),
        "predicate_bias": (1,),
        "level_weight": (hidden,),
        **pointers,
        **biases,
    }


def option_logits(weights: Weights, states: Array, cosines: Array) -> Array:
    """Return each option's logit `[n]`; `cosines` `[n]` compare its vector with the text's."""
    return states @ weights["choice_weight"] + weights["choice_cosine"] * (cosines - USUAL_COSINE)


def level_logits(weights: Weights, states: Array) -> Array:
    """Return each level's logit `[n]`."""
    return states @ weights["level_weight"]


def predicate_logits(weights: Weights, states: Array) -> Array:
    """Return the logit of each statement's being true `[n]`."""
    return states @ weights["predicate_weight"] + weights["predicate_bias"]


def pointer_logits(weights: Weights, name: str, states: Array, hidden: Array) -> Array:
    """Return how each state points to each token `[n, tokens]`; `hidden` is the text's `[tokens, hidden]`."""
    logits = (states @ weights[name]) @ hidden.T * hidden.shape[-1] ** -0.5
    return logits + weights[f"{name}_bias"] if f"{name}_bias" in weights else logits


def logits_of(
    weights: Weights, question: Question, roots: Array, leaves: Array, cosines: Array, hidden: Array
) -> tuple[Array, ...]:
    """Return a question's logits on one window, whose hidden states are `[tokens, hidden]`.

    One array of `[options]`, `[levels]` or `[1]`; starts and ends `[tokens]`; or starts, ends and insides
    `[types, tokens]`. `roots` `[branches, hidden]` are the states of its branch, or of each type's; `leaves`
    `[options, hidden]` those of its options.
    """
    match question:
        case Choice():
            return (option_logits(weights, leaves, cosines),)
        case Score():
            return (level_logits(weights, leaves),)
        case Predicate():
            return (predicate_logits(weights, roots),)
        case Extract():
            return tuple(pointer_logits(weights, name, roots, hidden)[0] for name in EXTRACT)
        case Mentions():
            return tuple(pointer_logits(weights, name, roots, hidden) for name in MENTIONS)
