"""A pack on disk: a manifest and safetensors, checked when read (`packing` writes it); no pickle, no torch.

base/
  manifest.json             tasks, labels, calibration, scores, data and licences, hashes of all other files
  adapter.safetensors       what joint training changed in the backbone
  branches.safetensors      how questions asked on the spot are read, where the pack was trained for them
  reading.safetensors       how answers are found in passages, where that was trained
  heads/<task>.safetensors  one file per task, so that a task comes and goes without touching another's bytes
  ngrams/<task>.safetensors what a task reads off character n-grams beside the encoding
  roundings.safetensors     how the encoder's maps are done in 8 bits, where that was fitted
  forks/<task>.safetensors  a detached task's own upper layers, as their difference to the pack's; one of several tasks
                            has a name made of theirs
  writers/<task>/           a writing task's adapter of its decoder, in GGUF and as PEFT writes it
  CARD.md
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

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
from umbel.manifest import NgramsFile as NgramsFile
from umbel.manifest import ReadingFile as ReadingFile
from umbel.manifest import RoundingsFile as RoundingsFile
from umbel.manifest import TaskEntry as TaskEntry
from umbel.manifest import format_of as format_of
from umbel.ngrams import Ngrams, ngrams_of
from umbel.quantised import Rounding, from_tensors
from umbel.reading import apart, is_head
from umbel.readouts import KNOWN, shapes_of
from umbel.records import Task

MANIFEST = "manifest.json"
ADAPTER = "adapter.safetensors"
BRANCHES = "branches.safetensors"
READING = "reading.safetensors"
ROUNDINGS = "roundings.safetensors"
CARD = "CARD.md"
SHIPPED = Path(__file__).parent / "packs"


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

        That of vectors maps the mean: its width is `hidden`, its query zero.

        Raises:
            PackError: the file is missing, damaged or of the wrong shape.
        """
        entry = self.manifest.tasks[task]
        if entry.head is None:
            return {}
        tensors = self._tensors(entry.head)
        kind = kind_of(entry.kind)
        wanted = {"weight", "bias"} | ({"query"} if kind.reads == "pooled" else set())
        if set(tensors) != wanted or len(tensors["weight"]) != (
            kind.width(self.tasks[task]) if kind.trained else len(tensors["query"])
        ):
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

    def ngrams(self, tasks: Iterable[str] | None = None) -> dict[str, Ngrams]:
        """Return what tasks, all by default, read off character n-grams; those that read none are left out.

        Raises:
            PackError: a file is missing, damaged or of the wrong shapes.
        """
        found = {}
        for task in self.tasks if tasks is None else tasks:
            entry = self.manifest.tasks[task].ngrams
            if entry:
                try:
                    found[task] = ngrams_of(entry.longest, self._tensors(entry), len(self.tasks[task].labels))
                except ValueError as error:
                    raise PackError(f"{self.folder / entry.file}: {error}", _REINSTALL) from error
        return found

    def branches(self) -> dict[str, NDArray[np.float32]]:
        """Return the readouts of questions (`readouts.shapes_of`), none where the pack was not trained for them.

        With them may stand `readouts.KNOWN`, the vectors of option names that it was trained on `[names, hidden]`.

        Raises:
            PackError: the file is missing, damaged or of the wrong shapes.
        """
        entry = self.manifest.branches
        if entry is None:
            return {}
        tensors = self._tensors(entry)
        hidden = tensors["roles"].shape[-1] if "roles" in tensors else 0
        known = {KNOWN: (entry.known, hidden)} if entry.known else {}
        if {name: value.shape for name, value in tensors.items()} != shapes_of(hidden) | known:
            raise PackError(f"{self.folder / entry.file}: not the readouts this Umbel knows", _REINSTALL)
        return {name: value.astype(np.float32, copy=False) for name, value in tensors.items()}

    def reading(self) -> dict[str, NDArray[np.float32]]:
        """Return the reading head's weights (`reading.shapes_of`), none where the pack has none.

        Raises:
            PackError: the file is missing, damaged or of the wrong shapes.
        """
        entry = self.manifest.reading
        if entry is None:
            return {}
        tensors = self._tensors(entry)
        if not is_head(tensors) or len(apart(tensors)) != (entry.heads or 1):
            raise PackError(f"{self.folder / entry.file}: not a reading head this Umbel knows", _REINSTALL)
        return tensors

    def roundings(self) -> dict[str, Rounding]:
        """Return how each of the encoder's maps is done in 8 bits, by its name; none where that was not fitted.

        Raises:
            PackError: the file is missing, damaged or holds something else.
        """
        entry = self.manifest.roundings
        if entry is None:
            return {}
        try:
            return from_tensors(self._tensors(entry))
        except ValueError as error:
            raise PackError(f"{self.folder / entry.file}: {error}", _REINSTALL) from error

    def verify(self) -> None:
        """Read and check every file.

        Raises:
            PackError: one is missing or damaged.
        """
        self.adapter()
        self.branches()
        self.reading()
        self.roundings()
        for task in self.tasks:
            self.head(task)
            self.fork(task)
        self.ngrams()

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
