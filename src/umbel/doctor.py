"""Examines an installation: versions, engine, instruction sets, cache, backbones, packs, extras, and what is missing.

Nothing is fetched or changed. What cannot be found out is left out or named as a problem, never an exception: so
what needs other packages is imported where it is asked.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from umbel import cache
from umbel.errors import CacheError
from umbel.processor import instruction_sets, processor_name

DISTRIBUTION = "umbel"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:.*extra\s*==\s*['\"]([^'\"]+)['\"])?")


def examine() -> dict[str, Any]:
    """Return everything found, as plain values ready for JSON; `problems` lists what keeps Umbel from working.

    >>> examine()["engine"]["name"]
    'OpenVINO'
    """
    problems: list[dict[str, str]] = []
    found = {
        "umbel": _version(DISTRIBUTION),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": _packages(problems),
        "engine": _engine(problems),
        "processor": _processor(),
        "cache": _cache(problems),
        "backbones": _known(problems),
        "packs": _packs(),
        "extras": _extras(),
    }
    return found | {"problems": problems}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _problem(what: str, remedy: str) -> dict[str, str]:
    return {"problem": what, "remedy": remedy}


def _requirements() -> Iterator[tuple[str, str]]:
    """Yield each requirement's package and the extra it belongs to, or an empty text for the base install's."""
    for requirement in (requires(DISTRIBUTION) or []) if _version(DISTRIBUTION) else []:
        if found := _REQUIREMENT.match(requirement):
            yield found[1], found[2] or ""


def _packages(problems: list[dict[str, str]]) -> dict[str, str | None]:
    packages = {name: _version(name) for name, extra in _requirements() if not extra}
    for name, found in packages.items():
        if found is None:
            problems.append(_problem(f"{name} is not installed", f"pip install {name}"))
    return packages


def _extras() -> dict[str, dict[str, Any]]:
    """Return each extra's packages with their versions, and the command that installs it where one is missing."""
    extras: dict[str, dict[str, str | None]] = {}
    for name, extra in _requirements():
        if extra:
            extras.setdefault(extra, {})[name] = _version(name)
    return {
        extra: {
            "packages": packages,
            "installed": None not in packages.values(),
            "install": f'pip install "{DISTRIBUTION}[{extra}]"',
        }
        for extra, packages in extras.items()
    }


def _engine(problems: list[dict[str, str]]) -> dict[str, Any]:
    """Ask the engine for its devices and the number formats it computes in here."""
    try:
        openvino = import_module("openvino")
        core = import_module("umbel.engine").core()
        return {
            "name": "OpenVINO",
            "version": openvino.__version__,
            "devices": list(core.available_devices),
            "formats": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        }
    except Exception as error:
        reason = " ".join(str(error).split())
        problems.append(_problem(f"OpenVINO cannot be used: {reason}", "pip install --force-reinstall openvino"))
        return {"name": "OpenVINO", "version": _version("openvino"), "devices": [], "formats": []}


def _processor() -> dict[str, Any]:
    cores = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return {
        "name": processor_name(),
        "cores": cores,
        "usable_cores": usable,
        "memory": _memory(),
        "instructions": instruction_sets(),
    }


def _memory() -> int | None:
    """Return the machine's memory in bytes where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cache(problems: list[dict[str, str]]) -> dict[str, Any]:
    """Return the cache's folder, what it holds and the room on its disk."""
    try:
        root = cache.cache_root()
        sizes = cache.sizes()
    except CacheError as error:
        problems.append(_problem(error.message, error.hint))
        return {"folder": None, "writable": False, "sizes": {}, "free": None}
    there = _nearest(root)
    writable = os.access(there, os.W_OK | os.X_OK)
    if not writable:
        problems.append(_problem(f"{root}: cannot be written", f"set {cache.VARIABLE} to a folder that can"))
    return {"folder": str(root), "writable": writable, "sizes": sizes, "free": shutil.disk_usage(there).free}


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    return path if path.exists() or path == path.parent else _nearest(path.parent)


def _known(problems: list[dict[str, str]]) -> dict[str, dict[str, Any]]:
    try:
        return backbones()
    except CacheError as error:
        if not any(problem["problem"] == error.message for problem in problems):
            problems.append(_problem(error.message, error.hint))
    except ImportError as error:  # told as a missing package, unless one is there but broken
        if all(_version(name) for name, extra in _requirements() if not extra):
            problems.append(_problem(f"a package is broken: {error}", f"pip install --force-reinstall {DISTRIBUTION}"))
    return {}


def _packs() -> list[str]:
    try:
        from umbel.pack import shipped
    except ImportError:
        return []
    return shipped()


def backbones() -> dict[str, dict[str, Any]]:
    """Return the catalogue as plain values: each backbone's facts, and its path where it is in the cache.

    Raises:
        CacheError: the cache cannot be read.
    """
    from umbel.catalogue import CATALOGUE, installed

    there = installed()
    return {
        name: {
            "installed": name in there,
            "path": str(there[name]) if name in there else None,
            "size": entry.size,
            "licence": entry.licence,
            "languages": list(entry.languages),
            "description": entry.description,
            "sha256": entry.sha256,
            "install": f"umbel models pull {name}",
        }
        for name, entry in CATALOGUE.items()
    }
