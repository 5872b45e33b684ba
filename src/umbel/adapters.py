"""The pack's shared adapter: what joint training changed in the backbone, small enough to travel.

Two forms. `lora`: for a matrix `W`, `<name>.a` `[rank, inputs]` and `<name>.b` `[outputs, rank]`, merged as `W + b @ a`
(Hu et al. 2021). `full`: the difference of every trained parameter, matrices as `<name>.q8` int8 with a scale per row
`<name>.scale` `[outputs, 1]`, vectors as `<name>.delta` in fp32. Knows nothing of tasks; only `attach` needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Tensors = dict[str, NDArray[np.generic]]
Floats = NDArray[np.float32]

LORA_A, LORA_B = ".a", ".b"
DELTA, DELTA_Q8, DELTA_SCALE = ".delta", ".q8", ".scale"


def merge(tensors: Mapping[str, Floats], adapter: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    """Return the backbone's tensors with the adapter added; the given ones are left as they are."""
    merged = dict(tensors)
    for key in adapter:
        name, _, part = key.rpartition(".")
        if f".{part}" == LORA_A:
            change = adapter[name + LORA_B].astype(np.float32) @ adapter[key].astype(np.float32)
        elif f".{part}" == DELTA_Q8:
            change = adapter[key].astype(np.float32) * adapter[name + DELTA_SCALE].astype(np.float32)
        elif f".{part}" == DELTA:
            change = adapter[key].astype(np.float32)
        else:
            continue
        merged[name] = tensors[name] + change
    return merged


def full_difference(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> Tensors:
    """Return the `full` adapter that leads from `before` to `after`: rounding is at most 1/254 of a row's largest."""
    adapter: Tensors = {}
    for name, value in after.items():
        change = value - before[name]
        if change.ndim < 2:
            adapter[name + DELTA] = change.astype(np.float32)
            continue
        scale = np.maximum(np.abs(change).max(axis=1, keepdims=True), 1e-12) / 127
        adapter[name + DELTA_Q8] = np.rint(change / scale).astype(np.int8)
        adapter[name + DELTA_SCALE] = scale.astype(np.float32)
    return adapter


def attach(encoder: nn.Module, rank: int) -> None:
    """Freeze the encoder and add a trainable low-rank change to each of its linear layers, in place.

    The change starts at zero. Its parameters are called `<layer>.parametrizations.weight.0.a` and `.b`.
    """
    from torch import nn
    from torch.nn.utils import parametrize

    from umbel.lora import LowRank

    encoder.requires_grad_(False)
    for module in list(encoder.modules()):
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", LowRank(module, rank))


def low_rank(encoder: nn.Module) -> Tensors:
    """Return the `lora` adapter of an encoder that `attach` has changed."""
    return {name: value.detach().numpy().astype(np.float16) for name, value in _factors(encoder).items()}


def load_low_rank(encoder: nn.Module, adapter: Mapping[str, NDArray[np.generic]]) -> None:
    """Give an encoder that `attach` has changed the factors of an adapter of the same rank, in place."""
    import torch

    with torch.no_grad():
        for name, parameter in _factors(encoder).items():
            parameter.copy_(torch.from_numpy(adapter[name].astype(np.float32)))


def _factors(encoder: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that `attach` has added, by their names in the adapter."""
    parts = {name.partition(".parametrizations.weight.0."): value for name, value in encoder.named_parameters()}
    return {f"{layer}.weight.{part}": value for (layer, mark, part), value in parts.items() if mark}
