"""The kind that docs/how-to/add-a-kind.md writes works as another package: declared, trained, in a pack, answering."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny_pack import write_tiny_backbone

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-kind.md"
FILES = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M))
ROWS = "text,rate\n" + 'good to Paris,0.9\nbad to Paris,"0.1"\n' * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The page's files with data beside them, the package as if it were installed."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    installed = tmp_path / "umbel_share-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: umbel-share\nVersion: 0.1.0\n")
    groups = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in found.items()) for group, found in groups.items()
    ]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    write_tiny_backbone(tmp_path / "tiny")
    settings = "epochs: 20, batch-rows: 4, learning-rate: 1.0e-3, head-learning-rate: 1.0e-2, patience: 0"
    (tmp_path / "clicks.yaml").write_text(f"{FILES['clicks.yaml']}backbone: tiny\ntrain: {{{settings}}}\n")
    for name in ("clicks.csv", "clicks.dev.csv"):
        (tmp_path / name).write_text(ROWS)
    return tmp_path


def umbel(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "UMBEL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "umbel", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_it_trains_and_answers(folder: Path) -> None:
    umbel(folder, "train", "clicks.yaml")
    printed = umbel(folder, "analyze", "--json", "--pack", "runs/clicks/pack", "good to Paris", "bad to Paris").stdout
    high, low = (json.loads(line)["answers"]["click-rate"]["score"] for line in printed.splitlines())
    assert 0 < low < 0.4 < 0.6 < high < 1


def test_its_faults_are_told_with_their_line(folder: Path) -> None:
    (folder / "clicks.csv").write_text(ROWS.replace("0.9", "9", 1))
    printed = umbel(folder, "data", "check", "clicks.yaml", code=1).stdout
    assert "clicks.csv:2: rate: found '9', expected a number between 0 and 1" in printed


def test_without_the_package_the_kind_is_unknown(folder: Path) -> None:
    (folder / "umbel_share-0.1.0.dist-info" / "entry_points.txt").unlink()
    assert (
        "tasks.click-rate.kind: 'share' is not a kind" in umbel(folder, "data", "check", "clicks.yaml", code=1).stderr
    )
