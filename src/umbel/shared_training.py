"""Runs `umbel train` from the declaration to the pack, whatever tasks share; knows nothing of how that is trained."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from umbel.cache import sole
from umbel.errors import InputError
from umbel.pack import MANIFEST, Pack, read_pack
from umbel.spec import PackSpec, load_spec
from umbel.training import RUNS, forget, need_torch, train_pack

if TYPE_CHECKING:
    from umbel.spec import SeparationSpec

JOINT, DONE = "joint", "joint.sha256"


@dataclass(frozen=True)
class Wanted:
    """What the command line asks of sharing; None leaves it to the declaration."""

    sharing: Literal["all", "none", "auto"] | None = None
    budget: str | None = None
    start: str | None = None
    study: Path | None = None


def train(
    declaration: Path, folder: Path | None, restart: bool, teach: Path | None, log_to: str | None, wanted: Wanted
) -> Path | None:
    """Train a declaration's tasks, then separate them as wanted; return the pack's folder.

    Of several processes that torchrun started only the first returns one, and separates.

    Raises:
        InputError: options do not go together, or `folder` holds another training.
        MissingExtraError, SpecError, DataError: as `train_pack` raises them.
    """
    spec = _separated(load_spec(declaration), wanted)
    sharing = spec.separation.sharing
    _checked(wanted, sharing, teach, log_to)
    need_torch()
    folder = folder or RUNS / spec.name
    leads = os.environ.get("RANK", "0") == "0"  # torchrun's name of this process; parts are trained by one alone
    with sole(folder) if leads else nullcontext():
        if sharing == "all":
            return train_pack(declaration, folder, restart, teach, log_to)
        return _separating(declaration, spec, folder, restart, teach, log_to, wanted, leads)


def _separating(
    declaration: Path,
    spec: PackSpec,
    folder: Path,
    restart: bool,
    teach: Path | None,
    log_to: str | None,
    wanted: Wanted,
    leads: bool,
) -> Path | None:
    from umbel import separation

    if restart and leads:
        separation.forget(folder)
    joint: Pack | None = None
    if spec.separation.sharing == "auto":
        joint = read_pack(wanted.start) if wanted.start else _joint(declaration, spec, folder, restart, teach, log_to)
    if not leads:
        return None
    pack = (
        separation.share_by_measure(spec, folder, joint, wanted.study)
        if joint
        else separation.share_nothing(spec, folder)
    )
    return pack.folder


def _separated(spec: PackSpec, wanted: Wanted) -> PackSpec:
    changed: dict[str, Any] = _budget(wanted.budget) if wanted.budget is not None else {}
    changed |= {"sharing": wanted.sharing} if wanted.sharing else {}
    separation: SeparationSpec = spec.separation.model_copy(update=changed)
    return spec.model_copy(update={"separation": separation})


def _budget(written: str) -> dict[str, float]:
    try:
        megabytes, latency = map(float, written.split(","))
    except ValueError:
        megabytes, latency = -1.0, -1.0
    if not (0 <= megabytes < float("inf") and 1 <= latency < float("inf")):
        found = f"--sharing-budget: found {written!r}, expected megabytes and encodings, 1 at least"
        raise InputError(found, "16,1.5: own parts of 16 MB in all, and half an encoding more when all tasks are asked")
    return {"megabytes": megabytes, "latency": latency}


def _checked(wanted: Wanted, sharing: str, teach: Path | None, log_to: str | None) -> None:
    given = {"--sharing-budget": wanted.budget, "--start": wanted.start, "--interference": wanted.study}
    for option, value in given.items():
        if value is not None and sharing != "auto":
            raise InputError(f"{option} means nothing where tasks share {sharing}", "add --sharing auto")
    for option, path in (("--teach", teach), ("--log-to", log_to)):
        if path and (sharing == "none" or wanted.start):
            raise InputError(f"{option} means nothing without a joint training", f"leave out {option}")


def _joint(
    declaration: Path, spec: PackSpec, folder: Path, restart: bool, teach: Path | None, log_to: str | None
) -> Pack | None:
    """Return the jointly trained pack, from an earlier run where the declaration is the same."""
    done, name = folder / DONE, _name(declaration, spec)
    if not restart and (folder / JOINT / MANIFEST).exists() and done.exists() and done.read_text() == name:
        return read_pack(folder / JOINT)
    forget(done)
    found = train_pack(declaration, folder, restart, teach, log_to, JOINT)
    if found is None:
        return None
    done.write_text(name)
    return read_pack(found)


def _name(declaration: Path, spec: PackSpec) -> str:
    """Name what a joint pack was trained from: the declaration, and its files as they are now."""
    parts = [spec.model_dump_json(exclude={"separation", "folder"})]
    for task in spec.tasks:
        for source in (path for data in task.data for path in (*data.train, *data.dev)):
            path = declaration.parent / source
            parts.append(f"{source} {path.stat().st_size}" if path.is_file() else source)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
