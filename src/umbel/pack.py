"""A pack on disk: a manifest and safetensors, checked when read and written all at once; no pickle, no torch.

base/
  manifest.json             tasks, labels, calibration, scores, data and licences, hashes of all other files
  adapter.safetensors       what joint training changed in the backbone
  branches.safetensors      how questions asked on the spot are read, where the pack was trained for them
  reading.safetensors       how answers are found in passages, where that was trained
  heads/<task>.safetensors  one file per task, so that a task comes and goes without touching another's bytes
  forks/<task>.safetensors  a detached task's own upper layers, as their difference to the pack's; one of several tasks
                            has a name made of theirs
  writers/<task>/           a writing task's adapter of its decoder, in GGUF and as PEFT writes it
  CARD.md
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from umbel.cache import guard
from umbel.errors import PackError, suggest
from umbel.kinds.base import kind_of
from umbel.manifest import FORMAT as FORMAT
from umbel.manifest import AdapterFile as AdapterFile
from umbel.manifest import BackboneName as BackboneName
from umbel.manifest import BranchesFile as BranchesFile
from umbel.manifest import DataNote as DataNote
from umbel.manifest import File as File
from umbel.manifest import ForkFile as ForkFile
from umbel.manifest import Manifest as Manifest
from umbel.manifest import ReadingFile as ReadingFile
from umbel.manifest import TaskEntry as TaskEntry
from umbel.manifest import format_of as format_of
from umbel.reading import is_head
from umbel.readouts import shapes_of
from umbel.records import Task

MANIFEST = "manifest.json"
ADAPTER = "adapter.safetensors"
BRANCHES = "branches.safetensors"
READING = "reading.safetensors"
CARD = "CARD.md"
SHIPPED = Path(__file__).parent / "packs"

Tensors = Mapping[str, NDArray[Any]]
_NOTHING: Tensors = MappingProxyType({})


@dataclass(frozen=True)
class Pack:
    """A pack whose manifest is read; heads and adapter are read and checked when asked for."""

    folder: Path
    manifest: Manifest

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The tasks that texts are answered with, by name, in the order of the manifest."""
        entries = self.manifest.tasks.items()
        return {name: entry.task(name) for name, entry in entries if kind_of(entry.kind).reads != "nothing"}

    def flow(self) -> dict[str, Any]:
        """Return the flow as it was declared.

        Raises:
            PackError: the pack declares none.
        """
        if self.manifest.flow is None:
            hint = "name a file that declares one: umbel flow FILE.yaml"
            raise PackError(f"{self.manifest.name}: this pack declares no flow", hint)
        return self.manifest.flow

    def head(self, task: str) -> dict[str, NDArray[np.float32]]:
        """Return a task's head: `weight` `[width, hidden]`, `bias` `[width]`, for pooled kinds `query` `[hidden]`.

        Raises:
            PackError: the file is missing, damaged or of the wrong shape.
        """
        entry = self.manifest.tasks[task]
        if entry.head is None:
            return {}
        tensors = self._tensors(entry.head)
        kind = kind_of(entry.kind)
        wanted = {"weight", "bias"} | ({"query"} if kind.reads == "pooled" else set())
        if set(tensors) != wanted or len(tensors["weight"]) != kind.width(self.tasks[task]):
            raise PackError(
                f"{self.folder / entry.head.file}: not a head of {entry.kind} with these labels", _REINSTALL
            )
        return tensors

    def adapter(self) -> dict[str, NDArray[Any]]:
        """Return the shared adapter's tensors, none where the pack has none.

        Raises:
            PackError: the file is missing or damaged.
        """
        return self._tensors(self.manifest.adapter) if self.manifest.adapter else {}

    def fork(self, task: str) -> dict[str, NDArray[Any]]:
        """Return what a detached task changes in the pack's upper layers (`adapters.merge`), none of any other task.

        Raises:
            PackError: the file is missing or damaged.
        """
        entry = self.manifest.tasks[task].fork
        return self._tensors(entry) if entry else {}

    @property
    def forks(self) -> dict[str, ForkFile]:
        """The detached tasks' forks by name."""
        return {name: entry.fork for name, entry in self.manifest.tasks.items() if entry.fork}

    def branches(self) -> dict[str, NDArray[np.float32]]:
        """Return the readouts of questions (`readouts.shapes_of`), none where the pack was not trained for them.

        Raises:
            PackError: the file is missing, damaged or of the wrong shapes.
        """
        entry = self.manifest.branches
        if entry is None:
            return {}
        tensors = self._tensors(entry)
        hidden = tensors["roles"].shape[-1] if "roles" in tensors else 0
        if {name: value.shape for name, value in tensors.items()} != shapes_of(hidden):
            raise PackError(f"{self.folder / entry.file}: not the readouts this Umbel knows", _REINSTALL)
        return tensors

    def reading(self) -> dict[str, NDArray[np.float32]]:
        """Return the reading head's weights (`reading.shapes_of`), none where the pack has none.

        Raises:
            PackError: the file is missing, damaged or of the wrong shapes.
        """
        entry = self.manifest.reading
        if entry is None:
            return {}
        tensors = self._tensors(entry)
        if not is_head(tensors):
            raise PackError(f"{self.folder / entry.file}: not a reading head this Umbel knows", _REINSTALL)
        return tensors

    def verify(self) -> None:
        """Read and check every file.

        Raises:
            PackError: one is missing or damaged.
        """
        self.adapter()
        self.branches()
        self.reading()
        for task in self.tasks:
            self.head(task)
            self.fork(task)

    def _tensors(self, entry: File) -> dict[str, NDArray[Any]]:
        path = self.folder / entry.file
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != entry.sha256:
                raise PackError(f"{path}: found SHA-256 {found}, the manifest says {entry.sha256}", _REINSTALL)
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise PackError(f"{path}: cannot be read ({error})", _REINSTALL) from error


_REINSTALL = "the pack is damaged: install or train it again"


def shipped() -> list[str]:
    """Return the names of the packs that come with Umbel."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}"))


def find_pack(name: str | Path) -> Path:
    """Return the folder of a pack: a shipped one by name, or any folder with a manifest.

    Raises:
        PackError: there is none.
    """
    for folder in (Path(name).expanduser(), SHIPPED / str(name)):
        if (folder / MANIFEST).is_file():
            return folder
    names = shipped()
    raise PackError(
        f"{str(name)!r} is no shipped pack and no folder with a {MANIFEST}{suggest(str(name), names)}",
        "`umbel packs` lists the shipped ones; `umbel train` makes one",
    )


def read_pack(name: str | Path) -> Pack:
    """Read a pack's manifest.

    Raises:
        PackError: there is no such pack, its manifest is damaged, or a newer Umbel made it.
    """
    folder = find_pack(name)
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        version = _Version.model_validate_json(text).format
        if version > FORMAT:
            raise PackError(f"{path}: found format {version}, this Umbel reads up to {FORMAT}", "update umbel")
        return Pack(folder, Manifest.model_validate_json(text))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise PackError(f"{path}: not a pack's manifest ({faults})", _REINSTALL) from error
    except (OSError, UnicodeDecodeError) as error:
        raise PackError(f"{path}: cannot be read ({error})", _REINSTALL) from error


class _Version(BaseModel):
    format: int


def write_pack(
    folder: Path,
    manifest: Manifest,
    heads: Mapping[str, Tensors],
    adapter: Tensors,
    adapter_kind: Literal["full", "lora"] = "full",
    card: str = "",
    branches: Tensors = _NOTHING,
) -> Pack:
    """Write a pack, replacing the one at `folder` only when all of it is on disk; file entries are filled in here.

    `branches` are the readouts of questions; the manifest's `branches` holds what else is known of them.

    Raises:
        CacheError: the folder cannot be written.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with guard(folder):
            (draft / "heads").mkdir(parents=True)
            manifest = _fill(draft, manifest, heads, adapter, adapter_kind)
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
) -> Pack:
    """Write a copy of a pack in which some tasks are new or others; no other file's bytes change, nor its card.

    `folder` may be the pack's own; it is replaced only when all of it is on disk. A task without a head is asked by its
    instruction. `fork` are upper layers of their own, which the tasks have together; the entries' `fork` says of which
    form and from which layer.

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
        _drop_forks(draft, {entry.fork.file for entry in tasks.values() if entry.fork})
        return source.manifest.model_copy(update={"tasks": tasks})

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
        update = {"reading": entry, "version": version}
        manifest = source.manifest.model_copy(update=update)
        (draft / CARD).write_text(card(manifest), encoding="utf-8")
        return manifest

    return changed(source, folder, change)


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
    absent = {name for name in ("reading", "flow") if getattr(manifest, name) is None}  # which older ones do not know
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
