"""Copies of packs of which only the manifest says something else; no file of weights changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from umbel.manifest import Manifest
from umbel.pack import CARD, Pack, changed


def write_training(source: Pack, folder: Path, training: Mapping[str, Any], card: Callable[[Manifest], str]) -> Pack:
    """Write a copy of a pack that says something else of its training, and a card of its own; no other file changes."""

    def change(draft: Path) -> Manifest:
        manifest = source.manifest.model_copy(update={"training": dict(training)})
        (draft / CARD).write_text(card(manifest), encoding="utf-8")
        return manifest

    return changed(source, folder, change)


def write_flow(source: Pack, folder: Path, name: str, flow: Mapping[str, Any]) -> Pack:
    """Write a copy of a pack under another name with a flow, as a manifest has it; no other file's bytes change.

    Raises:
        CacheError: the folder cannot be written.
    """
    return changed(source, folder, lambda _: source.manifest.model_copy(update={"name": name, "flow": dict(flow)}))
