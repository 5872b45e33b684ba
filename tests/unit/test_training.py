"""A whole training from the command line on a tiny encoder: what it shows, stops, resumes and publishes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner, Result

from umbel.cli import app

DECLARATION = """
pack: two
backbone: backbone
tasks:
  mood:
    kind: text-classification
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  vector:
    kind: feature-extraction
train: {epochs: 4, batch-rows: 8, learning-rate: 1.0e-3, head-learning-rate: 1.0e-2, precision: float32}
"""


@pytest.fixture
def declaration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    write_tiny_backbone(tmp_path / "backbone")
    rows = [{"text": text, "mood": text.split()[0]} for text in ("good to Paris", "bad to Paris")] * 40
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    return tmp_path / "pack.yaml"


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_training_ends_in_a_pack_that_answers(declaration: Path) -> None:
    shown = run("train", declaration).stdout
    assert ["mood", "80", "4.00", "100.0%"] in [line.split() for line in shown.splitlines()]
    assert "mood 100.00*" in shown
    assert "umbel analyze --samples --pack runs/two/pack" in shown
    answer = run("analyze", "bad to Paris", "--pack", "runs/two/pack", "--json", "--tasks", "mood")
    assert json.loads(answer.stdout)["answers"]["mood"]["label"] == "bad"
    report = json.loads(run("evaluate", "runs/two/pack", "--data", declaration, "--json").stdout)
    assert report["mood"]["score"] == 100.0
    assert Path("runs/two/pack/CARD.md").stat().st_size


def test_rows_that_are_cut_are_told_before_the_start(declaration: Path) -> None:
    declaration.write_text(DECLARATION.replace("{epochs: 4", "{max-tokens: 16, epochs: 0.1"))
    with (declaration.parent / "train.jsonl").open("a") as file:
        file.write(json.dumps({"text": "good " * 15, "mood": "good"}) + "\n")
    shown = run("train", declaration).stdout
    told = "tasks.mood: 1 of 81 train rows are longer than max-tokens: their first 16 tokens are trained on"
    assert told in shown.splitlines()
    assert shown.index(told) < shown.index("epochs")


def test_a_pack_keeps_no_path_of_the_machine_and_finds_its_backbone_again(
    declaration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = declaration.parent
    run("train", declaration)
    written = [path.read_bytes() for path in (home / "runs/two/pack").rglob("*.*")]
    assert not any(str(home).encode() in content for content in written)
    shutil.move(home / "runs/two/pack", home / "pack")
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    ask = ("analyze", "bad", "--pack", home / "pack", "--json", "--tasks", "mood")
    run(*ask)
    shutil.move(home / "backbone", home / "elsewhere" / "backbone")
    monkeypatch.chdir(home)
    assert "the folder 'backbone' (SHA-256 " in (told := run(*ask, code=1).stderr)
    assert "name the folder that holds backbone in UMBEL_WEIGHTS" in told
    monkeypatch.setenv("UMBEL_WEIGHTS", f"nowhere{os.pathsep}elsewhere")
    run(*ask)
    weights = home / "elsewhere" / "backbone" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "trained on backbone with SHA-256" in run(*ask, code=1).stderr


def test_a_stop_is_clean_and_the_same_command_goes_on(declaration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from umbel import train

    real, steps = train.Trainer._step, 0

    def interrupted(self: train.Trainer, *arguments: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 20:
            raise KeyboardInterrupt
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(train.Trainer, "_step", interrupted)
    stopped = run("train", declaration, "--out", "mine", code=130)
    assert f"Stopped. Go on from the last save with: umbel train {declaration} --out mine" in stopped.stdout
    assert not Path("mine/pack").exists()
    assert "goes on from step 19, after 152 rows" in run("train", declaration, "--out", "mine").stdout


def test_other_settings_need_a_restart(declaration: Path) -> None:
    run("train", declaration)
    declaration.write_text(DECLARATION.replace("epochs: 4", "epochs: 2"))
    assert "--restart" in run("train", declaration, code=1).stderr
    assert ["mood", "80", "2.00", "100.0%"] in [
        line.split() for line in run("train", declaration, "--restart").stdout.splitlines()
    ]
