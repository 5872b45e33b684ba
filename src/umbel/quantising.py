"""Runs `umbel quantise`: fits how a pack's encoder is run in 8 bits, and scores all tasks without and with it.

Knows nothing of how a map's numbers are rounded. Needs no torch.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from umbel import load as load_model
from umbel.adapters import merge
from umbel.card import card_of
from umbel.data import load
from umbel.declaration import VERSION
from umbel.engine import GraphBuilder, OpenVinoEngine, Precision, uses_bfloat16
from umbel.errors import InputError
from umbel.loading import backbone_of_pack
from umbel.pack import read_pack, shipped
from umbel.packing import write_roundings
from umbel.quantised import Places, Rounding, fitted
from umbel.records import Window
from umbel.scoring import runtime_predictor, score, with_scores
from umbel.spec import load_spec
from umbel.tables import rounded_table
from umbel.terminal import output, row_bar, spinner
from umbel.windows import batches_of, embedded_in

if TYPE_CHECKING:
    from umbel.pack import Pack
    from umbel.runtime import Model
    from umbel.spec import PackSpec
    from umbel.weights import Backbone

Floats = NDArray[np.float32]

TEXTS = 1200  # that ranges are taken from, as many of each train file as of another
ENOUGH = 1000  # of fewer, texts that are made up are read as well, up to so many
LEAST = 50
ROWS = 3000  # of what a map reads, to compare ways of rounding on
OF_WINDOW = 2  # of these, at most
WORDS = (4, 17)  # of what is marked by a role, with the first special token: from, below
MADE_UP = (3, 61)  # tokens of a text that is made up: from, below
STRETCHES = 64  # more than the inputs of a map that ends a layer; its outliers are cut into so many
COMPARED = 300  # texts whose hidden states are compared
MOST_LOST = 1.0  # of a task's dev score, in points,
FEW_LOST = 2  # or what so many rows are worth, where that is more


@dataclass(frozen=True)
class Read:
    """What a linear map reads of texts: some rows `[rows, width]`, and each channel's least and most over all."""

    rows: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Quantised:
    """What running in 8 bits gave: each task's dev score without and with it, rows a second, cosines of hidden states.

    `lost` are the tasks that lose more than they may; then `pack` is None, for nothing was written.
    """

    pack: Pack | None
    scores: Mapping[str, tuple[float, float]]
    lost: list[str]
    speeds: tuple[float, float]
    cosines: tuple[float, float]


def quantise(name: str, declaration: Path, out: Path | None, version: str, limit: int, anyway: bool) -> Quantised:
    """Fit how the pack called `name` is run in 8 bits; write it to `out`, or in place.

    Tasks are scored on at most `limit` rows of each dev file; 0: on all, and the pack takes these scores for its own.

    Raises:
        InputError: there are too few texts, the version is none, or a shipped pack would be changed.
        PackError: hidden states would be too far from those in fp32.
    """
    if version and not VERSION.fullmatch(version):
        raise InputError(f"--version: found {version!r}", "give three numbers like 1.0.0")
    if out is None and name in shipped():
        raise InputError(f"{name} comes with Umbel and stays as it is", "name a folder for the new pack with --out")
    pack, spec = read_pack(name), load_spec(declaration)
    backbone = backbone_of_pack(pack)
    windows = [found[0] for found in backbone.tokenizer.windows_many(_texts(spec))]
    tensors, roles = merge(backbone.tensors, pack.adapter()), pack.branches().get("roles")
    roundings = fit(backbone, tensors, windows, roles, spec.train.seed)
    target, version = out or pack.folder, version or pack.manifest.version
    draft = target.with_name(f".{target.name}.{os.getpid()}.quantised")
    try:
        with spinner("compiling the pack, without and with"):
            made = write_roundings(pack, draft, roundings, {}, version, card_of)
            plain: Precision = "bfloat16" if uses_bfloat16("auto") else "float32"
            models = load_model(pack.folder, precision=plain), load_model(made.folder, precision="int8")
        cosines = _cosines(models, windows[:: max(len(windows) // COMPARED, 1)])
        (before, slow), (after, fast) = (_scored(model, spec, limit) for model in models)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    scores = {task: (round(before[task]["score"], 2), round(after[task]["score"], 2)) for task in before}
    lost = [task for task, (one, other) in scores.items() if one - other > _most_lost(after[task]["rows"])]
    found = Quantised(None, scores, lost, (slow, fast), cosines)
    if lost and not anyway:
        return found
    scored = pack if limit else replace(pack, manifest=with_scores(pack.manifest, after))
    known = {"scores": scores, "cosines": cosines}
    return replace(found, pack=write_roundings(scored, target, roundings, known, version, card_of))


def _most_lost(rows: int) -> float:
    """Return how many points a task may lose that was scored on so many rows: of few, one weighs much."""
    return max(MOST_LOST, 100 * FEW_LOST / rows)


def made_up(windows: Sequence[Window], count: int, vocabulary: int, seed: int = 1) -> list[Window]:
    """Return windows that no text has: every third of the texts' own tokens, the others of any.

    Of few texts the encoder shows little of how far its channels reach, and what lies beyond is cut off (docs/log.md).
    """
    rng = np.random.default_rng(seed)
    own = np.concatenate([window.ids[1:-1] for window in windows])
    first, last = windows[0].ids[0], windows[0].ids[-1]
    found = []
    for number in range(count):
        size = rng.integers(*MADE_UP)
        drawn = rng.integers(vocabulary, size=size) if number % 3 else rng.choice(own, size)
        ids = np.concatenate([[first], drawn, [last]]).astype(np.int32)
        found.append(Window(ids, windows[0].offsets[:0]))
    return found


def fit(
    backbone: Backbone,
    tensors: Mapping[str, Floats],
    windows: Sequence[Window],
    roles: Floats | None = None,
    seed: int = 1,
) -> dict[str, Rounding]:
    """Return how each of the encoder's maps is best done in 8 bits, by what it reads of these windows in fp32.

    With `roles`, vectors that tokens of questions have added `[roles, hidden]`, it reads a few words of each as well
    that are marked so: branches go through the same maps and reach further (docs/log.md).
    """
    builder, rng = _Watched(backbone.shape, tensors), np.random.default_rng(seed)
    windows = [*windows, *made_up(windows, ENOUGH - len(windows), backbone.shape.vocabulary, seed)]
    with row_bar("reading texts") as told:
        found = _read(builder, _batches(backbone, windows, roles, rng), rng, told)
    roundings = {}
    with row_bar("fitting the maps of the encoder") as told:
        for name, read in found.items():
            stretches = STRETCHES if builder.ends(name) else 0
            roundings[name], _ = fitted(read.rows, read.low, read.high, builder.tensor(f"{name}.weight"), stretches)
            told(1)
    return roundings


class _Watched(GraphBuilder):
    """Builds an encoder that gives what each of its linear maps reads, in the order of `names`."""

    def build(self) -> ov.Model:
        self.names: list[str] = []
        self._inputs: list[ov.Node] = []
        model = super().build()
        return ov.Model(self._inputs, model.get_parameters(), "watched")

    def dense(self, name: str, inputs: ov.Node, chosen: Places | None = None) -> ov.Node:
        self.names.append(name)
        self._inputs.append(inputs)
        return super().dense(name, inputs, chosen)

    @staticmethod
    def ends(name: str) -> bool:
        """Tell whether a map ends its layer: what it reads is another map's, which can give it several times."""
        return name.endswith("output.dense") and "attention" not in name


def _batches(
    backbone: Backbone, windows: Sequence[Window], roles: Floats | None, rng: np.random.Generator
) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
    """Yield windows, then their first words marked by roles, as the encoder takes them, batch by batch."""
    pad = backbone.tokenizer.pad
    for length, places in batches_of(windows):
        yield embedded_in(backbone.embedding, [windows[place] for place in places], length, pad)
    if roles is None:
        return
    cuts = zip(windows, rng.integers(*WORDS, len(windows)), strict=True)
    short = [Window(np.append(each.ids[:-1][:cut], each.ids[-1]), each.offsets[:0]) for each, cut in cuts]
    for length, places in batches_of(short):
        embedded, lengths = embedded_in(backbone.embedding, [short[place] for place in places], length, pad)
        yield embedded + rng.choice(roles, len(places))[:, None], lengths


def _read(
    builder: _Watched,
    batches: Iterable[tuple[Floats, NDArray[np.int32]]],
    rng: np.random.Generator,
    told: Callable[[int], None],
) -> dict[str, Read]:
    """Return what each linear map reads of batches of windows."""
    engine = OpenVinoEngine(builder.build(), "float32")
    kept: list[list[Floats]] = [[] for _ in builder.names]
    ends: list[tuple[Floats, Floats]] = []
    for embedded, lengths in batches:
        real = np.flatnonzero((np.arange(embedded.shape[1]) < lengths[:, None]).ravel())
        drawn = rng.choice(real, min(len(real), OF_WINDOW * len(lengths)), replace=False)
        now = []
        for place, each in enumerate(engine.run([embedded, lengths], results=len(builder.names))):
            rows = each.reshape(-1, each.shape[-1])
            kept[place].append(rows[drawn])
            now.append((rows[real].min(axis=0), rows[real].max(axis=0)))
        ends = [(np.minimum(a, c), np.maximum(b, d)) for (a, b), (c, d) in zip(ends or now, now, strict=True)]
        told(len(lengths))
    order = rng.permutation(sum(map(len, kept[0])))[:ROWS]
    return {
        name: Read(np.concatenate(rows)[order], low, high)
        for name, rows, (low, high) in zip(builder.names, kept, ends, strict=True)
    }


def _texts(spec: PackSpec) -> list[str]:
    """Return some of a declaration's train texts, as many of each file as of another where it has them.

    Raises:
        InputError: there are too few.
    """
    with spinner("reading the data"):
        files = [sorted({row.text for row in rows}) for rows in load(spec).train.values()]
    rng = np.random.default_rng(spec.train.seed)
    found = [text for texts in files for text in _drawn(texts, max(TEXTS // max(len(files), 1), 1), rng)]
    if len(found) < LEAST:
        raise InputError(f"{spec.name}: found {len(found)} train texts, expected {LEAST} or more", "name more data")
    return found


def _drawn(texts: Sequence[str], most: int, rng: np.random.Generator) -> Iterator[str]:
    return (texts[place] for place in sorted(rng.permutation(len(texts))[:most].tolist()))


def _cosines(models: tuple[Model, Model], windows: Sequence[Window]) -> tuple[float, float]:
    """Return the least and the mean cosine of two models' hidden states of the same tokens."""
    found = []
    tokenizer = models[0].tokenizer
    for length, places in batches_of(windows):
        some = [windows[place] for place in places]
        batch = embedded_in(models[0].embedding, some, length, tokenizer.pad)
        states = [model.engine.encode(*batch) for model in models]
        one, other = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in states)
        found.append((one * other).sum(axis=-1)[np.arange(length) < batch[1][:, None]])
    cosines = np.concatenate(found)
    return round(float(cosines.min()), 4), round(float(cosines.mean()), 5)


def _scored(model: Model, spec: PackSpec, limit: int) -> tuple[dict[str, dict[str, Any]], float]:
    """Return each task's report, and how many rows were read a second."""
    done, began = 0, time.perf_counter()

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        told(rows)

    with row_bar("scoring the dev rows") as told:
        report = score(runtime_predictor(model), model.tasks, spec, limit, count)
    return report, done / (time.perf_counter() - began)


def tell(found: Quantised) -> None:
    """Say what running in 8 bits gives."""
    console = output()
    console.print(rounded_table(found.scores))
    changes = [after - before for before, after in found.scores.values()]
    mean = sum(changes) / max(len(changes), 1)
    least, usual = found.cosines
    console.print(
        f"in the mean {mean:+.2f} points; cosines of hidden states {usual:.4f}, at least {least:.3f}; "
        f"{found.speeds[1]:,.0f} rows a second, {found.speeds[0]:,.0f} before",
        soft_wrap=True,
    )
    if found.pack:
        console.print(f"the pack is in {found.pack.folder}; its other files are as they were", soft_wrap=True)
    else:
        lost = f"{', '.join(found.lost)} lost too much"
        console.print(f"nothing was written, for {lost}; --anyway writes it all the same", soft_wrap=True)
