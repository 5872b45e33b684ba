"""Compiles a pack for this machine: merges its adapter into the backbone, builds the graph, checks it, caches it.

Repeatable: the same pack, backbone and engine give the same files. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from umbel.adapters import merge
from umbel.branch_graph import HIDDEN, KEPT, LAYOUT, build_branching_graph, cut_out
from umbel.cache import cache_folder, cache_root, guard
from umbel.engine import ENCODER, NAME, ROUNDED, GraphBuilder, OpenVinoEngine, Precision, build_graph, maps_of
from umbel.errors import CacheError, PackError
from umbel.forks import levels
from umbel.pack import ROUNDINGS, Pack
from umbel.processor import multiplies_bytes
from umbel.quantised import Rounding
from umbel.weights import Backbone

logger = logging.getLogger(__name__)

GRAPH, RECORD = "encoder.xml", "compiled.json"
MIN_COSINE, MIN_ROUNDED = 0.999, 0.98  # of a token's hidden states, compiled against fp32; in 8 bits
PROBES = (
    "这是一个关于AI的多任务处理案例。",
    "I was charged twice for order 1042, please refund one of them today.",
    "房间很干净，但是服务员态度很差 :(",
    "ok",
)


@dataclass(frozen=True)
class CompiledPack:
    """A pack's graph, on disk in the cache or, where the cache cannot be written, in memory; `forks` by task."""

    pack: Pack
    graph: Path | ov.Model
    record: dict[str, object]
    forks: Mapping[str, Path | ov.Model] = field(default_factory=dict)

    @property
    def encoder(self) -> Path | ov.Model:
        """The graph that encodes, without the one that reads branches."""
        return cut_out(self.graph, [HIDDEN, KEPT]) if self.pack.manifest.branches else self.graph


def precision_of(pack: Pack, precision: Precision) -> Precision:
    """Return the precision in which a pack runs here: `int8` for `auto`, where the pack and the processor are made so.

    Raises:
        PackError: it shall be `int8` and the pack has no roundings.
    """
    if precision == "int8" and pack.manifest.roundings is None:
        found = f"{pack.folder}: how its maps are done in 8 bits was not fitted"
        raise PackError(found, "`umbel quantise` does so; or leave the precision to Umbel")
    return "int8" if precision == "auto" and pack.manifest.roundings and multiplies_bytes() else precision


def is_compiled(pack: Pack, precision: Precision = "auto") -> bool:
    """Tell whether the cache holds the pack's graph for this machine's engine."""
    return (cache_root() / "compiled" / _key(pack, precision_of(pack, precision)) / RECORD).is_file()


def compile_pack(pack: Pack, backbone: Backbone, precision: Precision = "auto") -> CompiledPack:
    """Return the pack's graph from the cache, or build it, check it against fp32 and keep it there.

    Raises:
        PackError: the pack was trained on other weights, is damaged, or the graph strays from fp32.
    """
    if backbone.sha256 != pack.manifest.backbone.sha256:
        raise PackError(
            f"{pack.folder}: trained on {pack.manifest.backbone.name} with SHA-256 {pack.manifest.backbone.sha256}, "
            f"found {backbone.name} with {backbone.sha256}",
            "load the backbone named by the pack, or train the pack again on this one",
        )
    for name, fork in pack.forks.items():
        if not 0 <= fork.layer < backbone.shape.layers:
            found = f"{name} forks at layer {fork.layer} of {backbone.shape.layers}"
            raise PackError(f"{pack.folder}: {found}", "the pack is damaged: detach the task again")
    precision = precision_of(pack, precision)
    compiled = cached_graph(pack, precision) or _compiled(pack, backbone, precision)
    names = {fork.sha256: name for name, fork in pack.forks.items()}  # tasks may have one together
    own = {sha256: _fork(pack, name, backbone, precision) for sha256, name in names.items()}
    return replace(compiled, forks={name: own[fork.sha256] for name, fork in pack.forks.items()})


def _compiled(pack: Pack, backbone: Backbone, precision: Precision) -> CompiledPack:
    """Build the graph that all tasks share, check it, and keep it."""
    build = build_branching_graph if pack.manifest.branches else build_graph
    lower = levels([fork.layer for fork in pack.forks.values()])
    tensors = merge(backbone.tensors, pack.adapter())
    roundings = _roundings(pack, backbone) if precision == "int8" else {}
    compiled = CompiledPack(pack, build(backbone.shape, tensors, lower, roundings), {})
    exact = build_graph(backbone.shape, tensors) if roundings else compiled.encoder
    record = {"pack": pack.manifest.name, "engine": NAME, **_parity(compiled.encoder, exact, backbone, precision)}
    if float(str(record["min-cosine"])) < (MIN_ROUNDED if roundings else MIN_COSINE):
        hint = "try precision bfloat16, or quantise it on more texts" if roundings else "try precision float32"
        raise PackError(f"{pack.folder}: the compiled graph strays from fp32: {record}", hint)
    try:
        return CompiledPack(pack, _store(compiled.graph, record, _key(pack, precision)), record)
    except CacheError as error:
        logger.warning("%s; the compiled pack stays in memory", error.message)
        return CompiledPack(pack, compiled.graph, record)


def _fork(pack: Pack, task: str, backbone: Backbone, precision: Precision) -> Path | ov.Model:
    """Return the graph of a detached task's own layers from the cache, or build it, check it and keep it there."""
    entry = pack.forks[task]
    parts = [NAME, ENCODER, "fork", pack.manifest.backbone.sha256, _adapter(pack), entry.sha256, str(entry.layer)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    path = cache_root() / "compiled" / key / GRAPH
    if (path.parent / RECORD).is_file():
        return path
    shared = merge(backbone.tensors, pack.adapter())
    graph = GraphBuilder(backbone.shape, merge(shared, pack.fork(task))).build_upper(entry.layer)
    below = GraphBuilder(backbone.shape, shared).build_lower(entry.layer)
    parity = _parity(graph, graph, backbone, precision, below)
    record = {"pack": pack.manifest.name, "fork": task, "engine": NAME, **parity}
    if float(str(record["min-cosine"])) < MIN_COSINE:
        raise PackError(f"{pack.folder}: the fork of {task} strays from fp32: {record}", "try precision float32")
    try:
        return _store(graph, record, key)
    except CacheError as error:
        logger.warning("%s; the compiled fork stays in memory", error.message)
        return graph


def _adapter(pack: Pack) -> str:
    return pack.manifest.adapter.sha256 if pack.manifest.adapter else ""


def cached_graph(pack: Pack, precision: Precision = "auto") -> CompiledPack | None:
    """Return the pack's graph from the cache, or None."""
    if not is_compiled(pack, precision):
        return None
    folder = cache_root() / "compiled" / _key(pack, precision_of(pack, precision))
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return CompiledPack(pack, folder / GRAPH, record)


def _key(pack: Pack, precision: Precision) -> str:
    """Name everything the graph depends on; of precisions only that in 8 bits has one of its own."""
    manifest = pack.manifest
    parts = [NAME, ENCODER, manifest.backbone.sha256, _adapter(pack)]
    if precision == "int8" and manifest.roundings:
        parts.append(f"{ROUNDED} {manifest.roundings.sha256}")
    if manifest.branches:
        parts.append(LAYOUT)
    if pack.forks:
        parts.append(f"lower {levels([fork.layer for fork in pack.forks.values()])}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _store(graph: Path | ov.Model, record: dict[str, object], key: str) -> Path:
    """Write the graph in 16 bits; the folder takes its name when it is whole."""
    folder = cache_folder("compiled") / key
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with guard(folder):
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            ov.save_model(graph, draft / GRAPH, compress_to_fp16=True)
            (draft / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
            if not folder.exists():
                draft.rename(folder)
        except RuntimeError as error:  # the library's own error, for instance on a full disk
            raise OSError(str(error).splitlines()[0]) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder / GRAPH


def _roundings(pack: Pack, backbone: Backbone) -> dict[str, Rounding]:
    """Return how the pack's maps are done in 8 bits.

    Raises:
        PackError: they are not those of its backbone.
    """
    roundings, shape = pack.roundings(), backbone.shape
    sizes = {name: (rounding.channels.max(initial=0) + 1, len(rounding.bias)) for name, rounding in roundings.items()}
    if sizes != maps_of(shape):
        raise PackError(f"{pack.folder / ROUNDINGS}: of other maps than {backbone.name} has", "quantise the pack again")
    return roundings


def _parity(
    graph: Path | ov.Model,
    exact_graph: Path | ov.Model,
    backbone: Backbone,
    precision: Precision,
    below: ov.Model | None = None,
) -> dict[str, object]:
    """Compare the engine at its own precision with fp32 on a few sentences, over all their tokens.

    A graph of upper layers is given what those `below` it give in fp32.
    """
    lower = OpenVinoEngine(below, "float32") if below else None
    fast, exact = OpenVinoEngine(graph, precision), OpenVinoEngine(exact_graph, "float32")
    cosines, differences = [], []
    for (window,) in backbone.tokenizer.windows_many(PROBES):
        embedded = backbone.embedding.rows(window.ids[None])
        lengths = np.array([len(window.ids)], np.int32)
        embedded = lower.encode(embedded, lengths) if lower else embedded
        first, second = fast.encode(embedded, lengths)[0], exact.encode(embedded, lengths)[0]
        cosines.append(_cosines(first, second).min())
        differences.append(np.abs(first - second).max())
    return {"min-cosine": round(float(min(cosines)), 6), "max-difference": round(float(max(differences)), 6)}


def _cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    cosines: NDArray[np.float32] = (first * second).sum(axis=-1) / norms
    return cosines
