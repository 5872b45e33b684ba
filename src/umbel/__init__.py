"""Umbel: many language tasks over one shared Transformer, reading each input once."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.engine import Precision
    from umbel.flow import Flow
    from umbel.flow_memory import Conversation
    from umbel.retrieval import Document, Index
    from umbel.runtime import Model

__version__ = version("umbel")
__all__ = ["Conversation", "Document", "Flow", "Index", "__version__", "load"]


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


def load(pack: str | Path = "base", *, precision: Precision = "auto", threads: int = 0) -> Model:
    """Load a pack ready to answer: a shipped one by name, or a folder; the first time it is compiled for this machine.

    `precision` is that of the arithmetic (`auto`, `float32`, `bfloat16`); `threads` is 0 for all processors.

    Raises:
        PackError: the pack is missing, damaged, or of other weights.
        BackboneError: its backbone is unknown, damaged, or a folder that is not found.
        DownloadError: its backbone is not there and cannot be fetched.

    >>> model = load("base")
    >>> model("这家店的服务太好了")["sentiment"].label
    'positive'
    """
    from umbel.branch_graph import BranchEngine
    from umbel.catalogue import load_backbone, locate
    from umbel.compile import compile_pack
    from umbel.engine import OpenVinoEngine
    from umbel.pack import read_pack
    from umbel.runtime import Model

    found = read_pack(pack)
    named = found.manifest.backbone
    backbone = load_backbone(locate(named.name, named.sha256))
    compiled = compile_pack(found, backbone, precision)
    if found.manifest.branches:
        branches = BranchEngine(compiled.graph, backbone.shape, precision, threads)
        branches.prepare()
        return Model(found, branches, backbone.embedding, backbone.tokenizer, branches)
    engine = OpenVinoEngine(compiled.graph, precision, threads)
    return Model(found, engine, backbone.embedding, backbone.tokenizer)
