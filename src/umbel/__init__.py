"""Umbel: many language tasks over one shared Transformer, reading each input once."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.decoding.model import DecoderModel
    from umbel.engine import Precision
    from umbel.flow import Flow
    from umbel.flow_memory import Conversation
    from umbel.retrieval import Document, Index
    from umbel.runtime import Model

__version__ = version("umbel")
__all__ = ["Conversation", "Document", "Flow", "Index", "__version__", "load", "load_decoder"]


_LATER = {
    "Conversation": "umbel.flow_memory",
    "Document": "umbel.retrieval",
    "Flow": "umbel.flow",
    "Index": "umbel.retrieval",
}


def __getattr__(name: str) -> Any:
    """Import these names when they are first used: importing umbel loads no library."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(pack: str | Path = "base", *, precision: Precision = "auto", threads: int = 0, callers: int = 1) -> Model:
    """Load a pack ready to answer: a shipped one by name, or a folder; the first time it is compiled for this machine.

    `precision` is that of the arithmetic (`auto`, `float32`, `bfloat16`, `int8`): `auto` takes the fastest that the
    pack was fitted for and the processor has instructions of. `threads` is 0 for all processors. Where `callers` come
    at once, from threads of theirs, each reads on its share of them, with the same answers: 7 % more texts a second in
    one process on two processors, a sixth more from the server, for some 140 MB more memory.

    Raises:
        PackError: the pack is missing, damaged, of other weights, or not fitted for `int8`.
        BackboneError: its backbone is unknown, damaged, or a folder that is not found.
        DownloadError: its backbone is not there and cannot be fetched.

    >>> model = load("base")
    >>> model("这家店的服务太好了")["sentiment"].label
    'positive'
    """
    from umbel.branch_graph import BranchEngine
    from umbel.catalogue import load_backbone, locate
    from umbel.compile import compile_pack, precision_of
    from umbel.engine import OpenVinoEngine
    from umbel.forks import Forks, levels
    from umbel.pack import read_pack
    from umbel.replies import PackWriter
    from umbel.retrieval import Index
    from umbel.runtime import Model

    found = read_pack(pack)
    named = found.manifest.backbone
    backbone = load_backbone(locate(named.name, named.sha256))
    precision = precision_of(found, precision)
    compiled = compile_pack(found, backbone, precision)
    layers = {name: fork.layer for name, fork in found.forks.items()}
    own = {found.forks[name].sha256: graph for name, graph in compiled.forks.items()}  # tasks may have one together
    engines = {sha256: OpenVinoEngine(graph, precision, threads) for sha256, graph in own.items()}
    forks = Forks(layers, {name: engines[fork.sha256] for name, fork in found.forks.items()}) if own else None
    if found.manifest.branches:
        lower = len(levels(layers.values()))
        branches = BranchEngine(compiled.graph, backbone.shape, precision, threads, lower, callers)
        branches.prepare()
        model = Model(found, branches, backbone.embedding, backbone.tokenizer, branches, forks=forks)
    else:
        engine = OpenVinoEngine(compiled.graph, precision, threads, callers=callers)
        model = Model(found, engine, backbone.embedding, backbone.tokenizer, forks=forks)
    model.opens_writer = lambda model: PackWriter(model, lambda path: Index.open(path), threads)
    return model


def load_decoder(name: str | Path = "smollm2-135m-instruct", *, threads: int = 0) -> DecoderModel:
    """Load a decoder, which answers questions and writes without any training; needs the extra `write`.

    A name that `umbel models` lists, a GGUF file, or a hub id; `threads` is 0 for all processors.

    Raises:
        BackboneError, DownloadError, CacheError: it is unknown, damaged, an encoder, or cannot be fetched.
        MissingExtraError: the extra is not installed.

    >>> decoder = load_decoder()
    >>> print(decoder.write("What is an umbel?").text)
    """
    from umbel.decoding.load import load_decoder as load_engine
    from umbel.decoding.model import DecoderModel

    return DecoderModel(load_engine(name, threads))
