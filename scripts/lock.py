"""Writes requirements/*.txt: the exact versions that pip resolves now for the base, each extra and the tools.

    python scripts/lock.py

Each file adds to the ones before it: `serve` and `train` hold what serving and training need beyond the base, `dev` and
`bench` what the tests and the benchmarks need beyond them. `base` holds the build tools too, with which make installs
umbel itself. `lowest` holds the oldest versions of the base that pyproject.toml allows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = ("base", "serve", "train", "write", "dev", "bench")
BUILD = ("hatchling", "editables")


def resolved(requirements: list[str]) -> dict[str, str]:
    """Return the version of every distribution that a fresh environment with `requirements` would hold."""
    command = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed", "--report", "-"]
    found = json.loads(subprocess.run([*command, *requirements], check=True, stdout=subprocess.PIPE).stdout)
    names = (item["metadata"] for item in found["install"])
    return {item["name"].lower().replace("_", "-"): item["version"].partition("+")[0] for item in names}


def write(name: str, versions: Mapping[str, str]) -> None:
    """Write one file, a distribution a line."""
    lines = "".join(f"{key}=={version}\n" for key, version in sorted(versions.items()))
    (ROOT / "requirements" / f"{name}.txt").write_text(f"# made by scripts/lock.py\n{lines}")


def main() -> None:
    """Resolve each file together with the ones before it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base: list[str] = project["dependencies"]
    wanted = [*base, *BUILD]
    locked: dict[str, str] = {}
    for name in LOCKS:
        wanted += project["optional-dependencies"].get(name, [])
        found = resolved(wanted + [f"{key}=={version}" for key, version in locked.items()])
        write(name, {key: version for key, version in found.items() if key not in locked})
        locked = found
    write("lowest", resolved([requirement.replace(">=", "==") for requirement in base]))


if __name__ == "__main__":
    main()
