"""Trains what a declaration's writing tasks learn, each a low-rank adapter of its decoder, and puts it into the pack.

The encoder, the other tasks and their files are not touched: an adapter acts on what its task writes alone. An adapter
that was finished is kept beside the training and taken again, as long as nothing it depends on has changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from umbel.cache import atomic_write
from umbel.catalogue import CATALOGUE, entry_of
from umbel.download import sha256_of
from umbel.kinds.generate import TextGeneration
from umbel.manifest import Manifest
from umbel.pack import Pack
from umbel.packing import changed
from umbel.spec import PackSpec
from umbel.tuning import GGUF, Progress, tune
from umbel.writings import Writing

FOLDER = "writers"  # below the training's folder, and in the pack
MADE_OF = "made-of.json"


def writers_of(spec: PackSpec) -> dict[str, Writing]:
    """Return the tasks that write, by name."""
    return {task.name: task.writing or Writing() for task in spec.tasks if task.kind == TextGeneration.name}


def untaught(spec: PackSpec) -> Iterator[str]:
    """Yield a sentence about each writing task that this training does not change."""
    for name, writing in writers_of(spec).items():
        if not writing.examples:
            yield (
                f"tasks.{name}: {writing.decoder} writes it and is not trained here; `writing.examples` names rows of "
                "`text` and `answer` to learn from, or train an adapter with `umbel tune`"
            )


def train_writers(
    spec: PackSpec, folder: Path, restart: bool, begins: Callable[[str, Writing], Progress]
) -> dict[str, Path]:
    """Train the adapters that a declaration asks for; return their folders by task. `begins` is told each new one.

    Raises:
        MissingExtraError: the extra `write` is not installed.
        DataError, BackboneError, DownloadError, CacheError: rows or the decoder cannot be had, or the folder written.
    """
    found = {}
    for name, writing in writers_of(spec).items():
        if not writing.examples:
            continue
        out, rows = folder / FOLDER / name, spec.folder / writing.examples
        made_of = _made_of(writing, rows)
        if restart or not (out / GGUF).is_file() or _read(out / MADE_OF) != made_of:
            tune(writing.decoder, rows, out, writing.task, progress=begins(name, writing), writing=writing)
            with atomic_write(out / MADE_OF) as temporary:
                temporary.write_text(made_of, encoding="utf-8")
        found[name] = out
    return found


def _made_of(writing: Writing, rows: Path) -> str:
    """Return what an adapter depends on."""
    path = Path(writing.decoder)
    decoder = writing.decoder  # of one that is nowhere `tune` tells
    if writing.decoder in CATALOGUE or path.is_file():
        decoder = entry_of(writing.decoder).sha256 if writing.decoder in CATALOGUE else sha256_of(path)
    asked = json.dumps([writing.task, writing.instruction], sort_keys=True, ensure_ascii=False)
    return json.dumps(
        {"rows": sha256_of(rows), "decoder": decoder, "asked": hashlib.sha256(asked.encode()).hexdigest()}
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def put_in(pack: Pack, adapters: dict[str, Path]) -> Pack:
    """Write the adapters into a pack, all at once; no other file's bytes change but the manifest's.

    Raises:
        CacheError: the folder cannot be written.
    """
    if not adapters:
        return pack

    def change(draft: Path) -> Manifest:
        tasks = dict(pack.manifest.tasks)
        for name, folder in adapters.items():
            inside = Path(FOLDER) / name
            shutil.copytree(folder, draft / inside, ignore=shutil.ignore_patterns(MADE_OF))
            writing = tasks[name].writing or Writing()
            told = {"adapter": (inside / GGUF).as_posix(), "adapter_sha256": sha256_of(draft / inside / GGUF)}
            tasks[name] = tasks[name].model_copy(update={"writing": writing.model_copy(update=told)})
        return pack.manifest.model_copy(update={"tasks": tasks})

    return changed(pack, pack.folder, change)
