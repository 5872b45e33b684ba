"""Writes packs and copies of them in which something is another: all at once, so that a pack is never half there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from umbel.cache import guard
from umbel.manifest import AdapterFile, BranchesFile, File, Manifest, ReadingFile, RoundingsFile, TaskEntry, format_of
from umbel.ngrams import Ngrams
from umbel.pack import ADAPTER, BRANCHES, CARD, MANIFEST, READING, ROUNDINGS, Pack
from umbel.quantised import Rounding, to_tensors

Tensors = Mapping[str, NDArray[Any]]
_NOTHING: Tensors = MappingProxyType({})


def write_pack(
    folder: Path,
    manifest: Manifest,
    heads: Mapping[str, Tensors],
    adapter: Tensors,
    adapter_kind: Literal["full", "lora"] = "full",
    card: str = "",
    branches: Tensors = _NOTHING,
    ngrams: Mapping[str, Ngrams] = MappingProxyType({}),
) -> Pack:
    """Write a pack, replacing the one at `folder` only when all of it is on disk; file entries are filled in here.

    `branches` are the readouts of questions; the manifest's `branches` holds what else is known of them. A task without
    `ngrams` here has none, whatever its entry says, nor is anything kept of how other weights were done in 8 bits.

    Raises:
        CacheError: the folder cannot be written.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with guard(folder):
            (draft / "heads").mkdir(parents=True)
            manifest = _fill(draft, manifest, heads, adapter, adapter_kind)
            tasks = {name: _with_ngrams(draft, name, each, ngrams) for name, each in manifest.tasks.items()}
            manifest = manifest.model_copy(update={"tasks": tasks, "roundings": None})
            if branches:
                known = manifest.branches.model_dump(exclude={"file", "sha256"}) if manifest.branches else {}
                entry = BranchesFile(**known, **_save(draft, BRANCHES, branches).model_dump())
                manifest = manifest.model_copy(update={"branches": entry})
            (draft / CARD).write_text(card, encoding="utf-8")
            manifest = _write_manifest(draft, manifest)
            _replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Pack(folder, manifest)


def write_task(
    source: Pack, folder: Path, name: str, entry: TaskEntry, head: Tensors, fork: Tensors = _NOTHING
) -> Pack:
    """Write a copy of a pack in which one task is new or another, as `write_tasks` does with several."""
    return write_tasks(source, folder, {name: entry}, {name: head}, fork)


def write_tasks(
    source: Pack,
    folder: Path,
    entries: Mapping[str, TaskEntry],
    heads: Mapping[str, Tensors],
    fork: Tensors = _NOTHING,
    ngrams: Mapping[str, Ngrams] = MappingProxyType({}),
) -> Pack:
    """Write a copy of a pack in which some tasks are new or others; no other file's bytes change, nor its card.

    `folder` may be the pack's own; it is replaced only when all of it is on disk. A task without a head is asked by its
    instruction. `fork` are upper layers of their own, which the tasks have together; the entries' `fork` says of which
    form and from which layer. `ngrams` are other ones; a task keeps the pack's where its entry has them.

    Raises:
        CacheError: the folder cannot be written.
    """

    def change(draft: Path) -> Manifest:
        file = _save_fork(draft, entries, fork) if fork else None
        tasks = dict(source.manifest.tasks)
        for name, entry in entries.items():
            stored = _save(draft, f"heads/{name}.safetensors", heads[name]) if heads[name] else None
            own = entry.fork.model_copy(update=file.model_dump()) if entry.fork and file else None
            tasks[name] = entry.model_copy(update={"head": stored, "fork": own})
            if name in ngrams:
                tasks[name] = _with_ngrams(draft, name, tasks[name], ngrams)
        _drop_forks(draft, {entry.fork.file for entry in tasks.values() if entry.fork})
        _drop_ngrams(draft, tasks)
        return source.manifest.model_copy(update={"tasks": tasks})

    return changed(source, folder, change)


def write_taught(
    source: Pack,
    folder: Path,
    name: str,
    entry: TaskEntry,
    taught: Tensors | Ngrams,
    version: str,
    card: Callable[[Manifest], str],
) -> Pack:
    """Write a copy of a pack in which one task has another head, or reads other n-grams; else as `write_reading`.

    Raises:
        CacheError: the folder cannot be written.
    """

    def change(draft: Path) -> Manifest:
        if isinstance(taught, Ngrams):
            new = _with_ngrams(draft, name, entry, {name: taught})
        else:
            new = entry.model_copy(update={"head": _save(draft, f"heads/{name}.safetensors", taught)})
        return _carded(draft, source, {"tasks": source.manifest.tasks | {name: new}, "version": version}, card)

    return changed(source, folder, change)


def write_reading(
    source: Pack,
    folder: Path,
    weights: Tensors,
    known: Mapping[str, Any],
    version: str,
    card: Callable[[Manifest], str],
) -> Pack:
    """Write a copy of a pack with another reading head, a version and a card of its own; no other file's bytes change.

    `known` are the fields of `ReadingFile` beside the file itself. `folder` may be the pack's own.

    Raises:
        CacheError: the folder cannot be written.
    """

    def change(draft: Path) -> Manifest:
        entry = ReadingFile(**known, **_save(draft, READING, weights).model_dump())
        return _carded(draft, source, {"reading": entry, "version": version}, card)

    return changed(source, folder, change)


def write_branches(
    source: Pack,
    folder: Path,
    readouts: Tensors,
    known: Mapping[str, Any],
    version: str,
    card: Callable[[Manifest], str],
) -> Pack:
    """Write a copy of a pack with other readouts of questions, of which `known` says the rest; else as `write_reading`.

    Raises:
        CacheError: the folder cannot be written.
    """

    def change(draft: Path) -> Manifest:
        entry = BranchesFile(**known, **_save(draft, BRANCHES, readouts).model_dump())
        return _carded(draft, source, {"branches": entry, "version": version}, card)

    return changed(source, folder, change)


def write_roundings(
    source: Pack,
    folder: Path,
    roundings: Mapping[str, Rounding],
    known: Mapping[str, Any],
    version: str,
    card: Callable[[Manifest], str],
) -> Pack:
    """Write a copy of a pack whose maps are done in 8 bits, of which `known` says the rest; else as `write_reading`.

    Raises:
        CacheError: the folder cannot be written.
    """

    def change(draft: Path) -> Manifest:
        entry = RoundingsFile(**known, **_save(draft, ROUNDINGS, to_tensors(roundings)).model_dump())
        return _carded(draft, source, {"roundings": entry, "version": version}, card)

    return changed(source, folder, change)


def write_training(source: Pack, folder: Path, training: Mapping[str, Any], card: Callable[[Manifest], str]) -> Pack:
    """Write a copy of a pack that says something else of its training, and a card of its own; no other file changes."""
    return changed(source, folder, lambda draft: _carded(draft, source, {"training": dict(training)}, card))


def _carded(draft: Path, source: Pack, update: Mapping[str, Any], card: Callable[[Manifest], str]) -> Manifest:
    """Return the manifest with something changed, and write its card."""
    manifest = source.manifest.model_copy(update=dict(update))
    (draft / CARD).write_text(card(manifest), encoding="utf-8")
    return manifest


def write_flow(source: Pack, folder: Path, name: str, flow: Mapping[str, Any]) -> Pack:
    """Write a copy of a pack under another name with a flow, as a manifest has it; no other file's bytes change.

    Raises:
        CacheError: the folder cannot be written.
    """
    return changed(source, folder, lambda _: source.manifest.model_copy(update={"name": name, "flow": dict(flow)}))


def changed(source: Pack, folder: Path, change: Callable[[Path], Manifest]) -> Pack:
    """Copy a pack, change the copy, write its manifest, and put it in place when all of it is on disk.

    Raises:
        CacheError: the folder cannot be written.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with guard(folder):
            shutil.copytree(source.folder, draft)
            manifest = _write_manifest(draft, change(draft))
            _replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Pack(folder, manifest)


def moved(pack: Pack, folder: Path) -> Pack:
    """Put a pack in the place of whatever stands at `folder`, all at once.

    Raises:
        CacheError: the folder cannot be written.
    """
    with guard(folder):
        _replace(pack.folder, folder)
    return Pack(folder, pack.manifest)


def _fill(
    draft: Path,
    manifest: Manifest,
    heads: Mapping[str, Tensors],
    adapter: Tensors,
    adapter_kind: Literal["full", "lora"],
) -> Manifest:
    """Write all tensors, and return the manifest with their files."""
    tasks = {
        name: entry.model_copy(update={"head": _save(draft, f"heads/{name}.safetensors", heads[name])})
        if name in heads
        else entry
        for name, entry in manifest.tasks.items()
    }
    stored = None
    if adapter:
        stored = AdapterFile(kind=adapter_kind, **_save(draft, ADAPTER, adapter).model_dump())
    return manifest.model_copy(update={"tasks": tasks, "adapter": stored})


def _write_manifest(draft: Path, manifest: Manifest) -> Manifest:
    """Write the manifest in the oldest format that holds all of it, and return it so."""
    manifest = manifest.model_copy(update={"format": format_of(manifest)})
    newer = ("reading", "roundings", "flow")  # fields that older versions do not know
    absent = {name for name in newer if getattr(manifest, name) is None}
    (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1, exclude=absent) + "\n", encoding="utf-8")
    return manifest


def _save(draft: Path, name: str, tensors: Tensors) -> File:
    path = draft / name
    try:
        save_file({key: np.ascontiguousarray(value) for key, value in sorted(tensors.items())}, path)
    except SafetensorError as error:  # the library's own error, for instance on a full disk
        raise OSError(str(error)) from error
    path.chmod(0o644)  # the library keeps files to their owner; a pack is read by others, too
    return File(file=name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _save_fork(draft: Path, names: Collection[str], fork: Tensors) -> File:
    """Write a fork: under its task's name, or where several have it together under one made of all of theirs."""
    together = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
    (draft / "forks").mkdir(exist_ok=True)
    return _save(draft, f"forks/{next(iter(names)) if len(names) == 1 else together}.safetensors", fork)


def _with_ngrams(draft: Path, name: str, entry: TaskEntry, ngrams: Mapping[str, Ngrams]) -> TaskEntry:
    """Write what a task reads off n-grams, if anything, and return its entry with the file."""
    if entry.ngrams is None or name not in ngrams:
        return entry.model_copy(update={"ngrams": None})
    (draft / "ngrams").mkdir(exist_ok=True)
    file = _save(draft, f"ngrams/{name}.safetensors", ngrams[name].tensors())
    return entry.model_copy(update={"ngrams": entry.ngrams.model_copy(update=file.model_dump())})


def _drop_ngrams(draft: Path, tasks: Mapping[str, TaskEntry]) -> None:
    """Delete n-grams that no task reads any more."""
    for path in (draft / "ngrams").glob("*.safetensors"):
        if path.stem not in tasks or tasks[path.stem].ngrams is None:
            path.unlink()


def _drop_forks(draft: Path, kept: Collection[str]) -> None:
    """Delete forks that no task has any more."""
    for path in (draft / "forks").glob("*.safetensors"):
        if f"forks/{path.name}" not in kept:
            path.unlink()


def _replace(draft: Path, folder: Path) -> None:
    """Put `draft` in the place of `folder`; a crash between the two renames leaves both under other names."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
