"""Linear maps in 8 bits with fixed scales: what their inputs are brought to, and how that is fitted on texts.

Each input channel is scaled and shifted by numbers of its own, and rounded to a whole number from -128 to 127. The
numbers are fitted once and stay, so an answer does not depend on what else is in a batch, as it would if scales came
from the batch. What scaling takes from a channel is given to its column of weights, which lies wide where the other
lies narrow (SmoothQuant: Xiao et al. 2023). A channel that reaches far at a few tokens is cut into stretches that are
rounded apart, so that it costs all other tokens nothing. Knows nothing of graphs and packs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Places = NDArray[np.int32]

LOW, HIGH = -128, 127  # of rounded inputs
STEPS = HIGH - LOW
MOST = 127  # of rounded weights
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of a channel's reach that its weights take over
KEPT = (1.0, 0.85, 0.7, 0.55, 0.4)  # of the furthest reach, where no channel is cut into stretches
ROOM = (1.0, 1.15, 1.3)  # of the least reach that there are stretches for
FURTHEST = 30_000  # that what hardly moves is scaled by or to: it has to fit into 16 bits
LEAST_VARIANCE = 0.05  # of the median row's: rows that hardly vary would count for all others


@dataclass(frozen=True)
class Rounding:
    """How a linear map from `width` inputs is done in 8 bits.

    Inputs are taken at `channels` `[channels]`, where one may come several times, multiplied by `scale` `[channels]`,
    less `shift` `[channels]`, and rounded. `bias` `[outputs]` is added to the map's own.
    """

    channels: Places
    scale: Halves
    shift: Halves
    bias: Floats

    def rounded(self, inputs: Floats) -> Floats:
        """Return the whole numbers `[rows, channels]` that stand for inputs `[rows, width]`."""
        scaled = inputs[:, self.channels] * self.scale.astype(np.float32) - self.shift.astype(np.float32)
        found: Floats = np.clip(np.round(scaled), LOW, HIGH)
        return found

    def weights(self, weight: Floats) -> tuple[NDArray[np.int8], Floats]:
        """Return weights `[outputs, width]` as whole numbers `[outputs, channels]`, and a scale for each output."""
        spread = weight[:, self.channels] / self.scale.astype(np.float32)
        scale = np.maximum(np.abs(spread).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(MOST)
        return np.round(spread / scale).astype(np.int8), scale


def fitted(inputs: Floats, low: Floats, high: Floats, weight: Floats, stretches: int = 0) -> tuple[Rounding, float]:
    """Return the rounding of a map `[outputs, width]` that errs least, and its error over that of answering nothing.

    `inputs` `[rows, width]` are what it reads of texts, `low` and `high` `[width]` the least and most of many more.
    With `stretches`, channels that reach far are cut, into so many more at most. Rows count by how little they vary.
    """
    wanted = inputs @ weight.T
    variance = wanted.var(axis=1, keepdims=True)
    counts = 1 / (variance + LEAST_VARIANCE * np.median(variance) + np.float32(1e-12))
    counts /= counts.sum()
    nothing = float((variance * counts).sum())

    def judged(rounding: Rounding) -> tuple[Rounding, float]:
        whole, scale = rounding.weights(weight)
        off = wanted - rounding.rounded(inputs) @ (whole * scale).T
        bias = (off * counts).sum(axis=0)
        error = float((((off - bias) ** 2).mean(axis=1, keepdims=True) * counts).sum())
        return replace(rounding, bias=bias.astype(np.float32)), error / max(nothing, 1e-12)

    return min(map(judged, _candidates(low, high, weight, stretches)), key=lambda each: each[1])


def _candidates(low: Floats, high: Floats, weight: Floats, stretches: int) -> Iterator[Rounding]:
    """Yield ways of rounding: how much of the reach weights take over, and how much of it one stretch holds."""
    reach = np.maximum(high - low, 1e-6)
    widest = np.abs(weight).max(axis=0) + 1e-9
    for share, part in product(SHARES, ROOM if stretches else KEPT):
        factor = reach**share / widest ** (1 - share)
        each = reach / factor
        most = (_least(each, stretches) if stretches else each.max()) * part
        times = np.ceil(each / most - 1e-6).astype(np.int32) if stretches else np.ones(len(each), np.int32)
        scale = np.minimum(STEPS / most / factor, FURTHEST / np.maximum(np.maximum(high, -low), 1))
        scale = scale.astype(np.float16).astype(np.float32)
        first = np.where(times > 1, low * scale - LOW, (low + high) / 2 * scale)
        channels = np.repeat(np.arange(len(times), dtype=np.int32), times)
        nth = np.concatenate([np.arange(count) for count in times])
        shift = first[channels] + nth * STEPS
        yield Rounding(channels, scale[channels].astype(np.float16), shift.astype(np.float16), np.zeros(0, np.float32))


def _least(reach: Floats, more: int) -> float:
    """Return the least that a stretch has to hold for so many more stretches than channels to be enough."""
    low, high = 0.0, float(reach.max())
    for _ in range(40):
        middle = (low + high) / 2
        enough = np.ceil(reach / middle - 1e-6).sum() - len(reach) <= more
        low, high = (low, middle) if enough else (middle, high)
    return high


def to_tensors(roundings: Mapping[str, Rounding]) -> dict[str, NDArray[np.generic]]:
    """Return roundings as a file has them: `<map>.<field>`."""
    return {
        f"{name}.{field.name}": getattr(rounding, field.name)
        for name, rounding in roundings.items()
        for field in fields(Rounding)
    }


def from_tensors(tensors: Mapping[str, NDArray[np.generic]]) -> dict[str, Rounding]:
    """Return what `to_tensors` made a file's tensors of.

    Raises:
        ValueError: they are none of it.
    """
    names = sorted({name.rpartition(".")[0] for name in tensors})
    wanted = {f"{name}.{field.name}" for name in names for field in fields(Rounding)}
    if set(tensors) != wanted or any(each.ndim != 1 for each in tensors.values()):
        raise ValueError("not the roundings this Umbel knows")
    found = {name: Rounding(*(tensors[f"{name}.{field.name}"] for field in fields(Rounding))) for name in names}  # type: ignore[arg-type]
    if any(len({len(each.channels), len(each.scale), len(each.shift)}) > 1 for each in found.values()):
        raise ValueError("a rounding of different sizes")
    return found
