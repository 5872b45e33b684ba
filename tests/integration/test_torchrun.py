"""`umbel train` in two processes under torchrun: one voice, one pack, and it goes on from where it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_pack import write_tiny_backbone

pytest.importorskip("torch")

DECLARATION = """
pack: two
backbone: backbone
tasks:
  mood:
    kind: text-classification
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
train: {epochs: 6, batch-rows: 8, learning-rate: 1.0e-3, head-learning-rate: 1.0e-2, precision: float32, patience: 0}
"""


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    write_tiny_backbone(tmp_path / "backbone")
    rows = [{"text": text, "mood": text.split()[0]} for text in ("good to Paris", "bad to Paris")] * 40
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    return tmp_path / "pack.yaml"


LEAVING = """
from pathlib import Path
from umbel.processes import joined
with joined() as processes:
    import torch.distributed.nn.functional
    processes.from_leader(None)
names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in names if "gloo" in name], names
"""


def torchrun(folder: Path, *what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *what]
    settings = os.environ | {"UMBEL_CACHE": str(folder / "cache"), "COLUMNS": "80"}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=300, check=False)


def trained(declaration: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return torchrun(declaration.parent, "-m", "umbel", "train", declaration.name, *options)


def test_a_training_in_two_processes_writes_one_pack_and_speaks_with_one_voice(declaration: Path) -> None:
    done = trained(declaration)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("umbel analyze --samples --pack runs/two/pack") == 1
    assert done.stdout.count("480 rows in all") == 1
    manifest = json.loads((declaration.parent / "runs/two/pack/manifest.json").read_text())
    assert manifest["tasks"]["mood"]["scores"]["score"] == 100.0
    assert manifest["training"]["rows"] == 480
    again = trained(declaration)
    assert "goes on from step 60, after 480 rows" in again.stdout
    assert "goes on" not in trained(declaration, "--restart").stdout


def test_nothing_is_left_of_the_group_of_processes(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    done = torchrun(tmp_path, "leaving.py")
    assert done.returncode == 0, done.stderr
