"""The wheel in an environment of its own: what it holds, what it brings along, how large that is, that it answers.

Installs the base from the package index this machine is set to use, at the locked versions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from umbel.pack import SHIPPED

ROOT = Path(__file__).parents[2]
LIMIT_MB = 350
FORBIDDEN = {"torch", "transformers", "onnx", "onnxruntime", "tokenizers", "huggingface-hub", "scipy", "hatchling"}
PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}


def run(*command: object, folder: Path, **environment: str) -> str:
    """Return what a command prints; it knows of this process's environment only what a new shell would."""
    known = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=folder, env=known | environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, folder=folder)
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a clean environment's programs, and how many MB the base install added to it."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    before = size_mb(folder)
    programs = folder / "venv" / "bin"
    pip = [programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--constraint", ROOT / "requirements" / "base.txt", wheel, folder=folder)
    return programs, size_mb(folder) - before


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    package = ROOT / "src" / "umbel"
    caches = {"__pycache__", ".mypy_cache", ".ruff_cache"}
    files = {path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()}
    expected = {path.as_posix() for path in files if not caches & set(path.parts)}
    names = set(ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name for name in names if Path(name).suffix in PICKLES} == set()


def test_the_wheel_carries_the_shipped_pack(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        for path in (path for path in (SHIPPED / "base").rglob("*") if path.is_file()):
            assert archive.read(f"umbel/packs/{path.relative_to(SHIPPED).as_posix()}") == path.read_bytes()


def test_the_base_brings_no_training_library(environment: tuple[Path, float]) -> None:
    programs, _ = environment
    listed = run(programs / "python", "-m", "pip", "list", "--format", "json", folder=programs)
    names = {item["name"].lower().replace("_", "-") for item in json.loads(listed)}
    assert {"umbel", "numpy", "openvino"} <= names
    assert names.isdisjoint(FORBIDDEN)


def test_the_base_is_small(environment: tuple[Path, float]) -> None:
    assert environment[1] <= LIMIT_MB, f"{environment[1]:.0f} MB"


def test_the_command_line_stands_up(environment: tuple[Path, float], tmp_path: Path) -> None:
    programs, _ = environment
    assert "analyze" in run(programs / "umbel", "--help", folder=tmp_path)
    listed = json.loads(run(programs / "umbel", "packs", "--json", folder=tmp_path))
    assert "base" in listed
    run(programs / "umbel", "init", "example", folder=tmp_path)
    run(programs / "umbel", "data", "check", "example/pack.yaml", folder=tmp_path, UMBEL_CACHE=str(tmp_path / "cache"))


@pytest.mark.usefixtures("default_backbone")
def test_the_shipped_pack_answers_the_samples(environment: tuple[Path, float], tmp_path: Path) -> None:
    programs, _ = environment
    answers = run(programs / "umbel", "analyze", "--samples", "--json", folder=tmp_path)
    first, *others = map(json.loads, answers.splitlines())
    assert first["text"] == "这是一个关于AI的多任务处理案例。"
    entries = json.loads((SHIPPED / "base" / "manifest.json").read_text("utf-8"))["tasks"]
    tasks = [name for name, entry in entries.items() if entry["kind"] != "asked"]  # those bring only questions
    assert len(tasks) >= 12
    for answer in (first, *others):
        assert list(answer["answers"]) == tasks
