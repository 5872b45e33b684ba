"""Gets a backbone or a model ready, and shows on standard error what takes long: a fetch, a first compilation."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.catalogue import CATALOGUE, installed, load_backbone, locate, pull
from umbel.terminal import byte_bar, spinner

if TYPE_CHECKING:
    from umbel.pack import Pack
    from umbel.runtime import Model
    from umbel.spec import PackSpec
    from umbel.tokenize import Tokenizer
    from umbel.weights import Backbone


def ready_model(name: str | Path, threads: int = 0) -> Model:
    """Load a pack as `umbel.load` does; `threads` is 0 for all processors.

    Raises:
        UmbelError: as `umbel.load` raises them.
    """
    from umbel import load
    from umbel.compile import is_compiled
    from umbel.pack import read_pack

    pack = read_pack(name)
    fetched(_named_by(pack))
    title = f"compiling {pack.manifest.name} for this machine, once"
    with nullcontext() if is_compiled(pack) else spinner(title):
        return load(pack.folder, threads=threads)


def prepare(name: str | Path) -> None:
    """Fetch and compile what a pack needs, so that other processes find it in the cache.

    Raises:
        UmbelError: as `umbel.load` raises them.
    """
    from umbel.compile import is_compiled
    from umbel.pack import read_pack

    pack = read_pack(name)
    if is_compiled(pack):
        fetched(_named_by(pack))
    else:
        ready_model(name)


def ready_backbone(name: str | Path) -> Backbone:
    """Load a backbone as `catalogue.load_backbone` does.

    Raises:
        UmbelError: as `load_backbone` raises them.
    """
    fetched(name)
    return load_backbone(name)


def backbone_of_pack(pack: Pack) -> Backbone:
    """Load the backbone that a pack was trained on.

    Raises:
        UmbelError: as `locate` and `load_backbone` raise them.
    """
    return ready_backbone(_named_by(pack))


def _named_by(pack: Pack) -> str:
    return locate(pack.manifest.backbone.name, pack.manifest.backbone.sha256)


def backbone_of(spec: PackSpec) -> str | Path:
    """Return the backbone that a declaration names, as a folder where there is one beside the declaration."""
    beside = spec.folder / spec.backbone
    return beside.resolve() if beside.is_dir() else spec.backbone


def tokenizer_at_hand(spec: PackSpec) -> Tokenizer | None:
    """Return the tokenizer of a declaration's backbone, or None where it would have to be fetched first."""
    if spec.backbone in CATALOGUE and spec.backbone not in installed():
        return None
    return load_backbone(backbone_of(spec)).tokenizer


def fetched(name: str | Path) -> None:
    """Fetch a backbone of the catalogue, if need be, with progress."""
    if name in CATALOGUE:
        with byte_bar(f"fetching {name}") as advance:
            pull(str(name), progress=advance)
