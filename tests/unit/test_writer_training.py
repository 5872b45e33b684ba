"""Writing tasks in a training: told where nothing is learnt, else an adapter each, and no other task's bytes move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

import umbel
from umbel import replies, training, writer_training
from umbel.cli import app
from umbel.errors import PackError
from umbel.pack import read_pack
from umbel.tuning import GGUF, PEFT_CONFIG
from umbel.writings import Writing

DECLARATION = """
pack: help
backbone: backbone
tasks:
  mood:
    kind: text-classification
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  answer:
    kind: text-generation
    writing: {task: reply, instruction: Greet them.}
train: {epochs: 1, batch-rows: 8, precision: float32}
"""
WITH_EXAMPLES = DECLARATION.replace("Greet them.}", "Greet them., examples: answers.jsonl}")


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let adapters be bytes that are made at once; what they are made of is noted."""
    calls: list[dict[str, Any]] = []

    def tune(backbone: str, data: Path, out: Path, task: str, **more: Any) -> dict[str, float]:
        calls.append({"backbone": backbone, "rows": data.read_text(), "task": task, **more})
        more["progress"](1, 1, 0.5)
        out.mkdir(parents=True, exist_ok=True)
        (out / GGUF).write_bytes(b"GGUF" + bytes([len(calls)]))
        (out / PEFT_CONFIG).write_text("{}")
        return {}

    monkeypatch.setattr(writer_training, "tune", tune)
    monkeypatch.setattr(training, "fetched", lambda name: None)
    return calls


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    write_tiny_backbone(tmp_path / "backbone")
    rows = [{"text": f"{mood} to Paris", "mood": mood} for mood in ("good", "bad")] * 20
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "answers.jsonl").write_text('{"text": "Hi", "answer": "Hello"}\n')
    return tmp_path


def train(home: Path, declaration: str, *more: str) -> tuple[str, Path]:
    (home / "pack.yaml").write_text(declaration)
    result = CliRunner().invoke(app, ["train", "pack.yaml", *more])
    assert result.exit_code == 0, result.output
    return result.output, home / "runs/help/pack"


def files(pack: Path) -> dict[str, bytes]:
    return {str(path.relative_to(pack)): path.read_bytes() for path in sorted(pack.rglob("*")) if path.is_file()}


def test_a_task_without_examples_is_told_and_the_others_train(home: Path) -> None:
    shown, pack = train(home, DECLARATION)
    assert "tasks.answer: smollm2-135m-instruct writes it and is not trained here; `writing.examples` names" in shown
    assert "`umbel tune`" in shown
    assert umbel.load(pack)("good to Paris")["mood"].label in ("good", "bad")  # type: ignore[union-attr]
    assert read_pack(pack).manifest.tasks["answer"].writing == Writing(instruction={"*": "Greet them."})


def test_an_adapter_is_trained_into_the_pack_and_nothing_else_moves(home: Path, tuned: list[dict[str, Any]]) -> None:
    _, pack = train(home, DECLARATION)
    before = files(pack)
    shown, pack = train(home, WITH_EXAMPLES, "--restart")
    assert "tasks.answer: training an adapter of smollm2-135m-instruct" in shown
    assert "not trained here" not in shown
    (call,) = tuned
    assert (call["backbone"], call["task"]) == ("smollm2-135m-instruct", "reply")
    assert call["rows"] == '{"text": "Hi", "answer": "Hello"}\n'
    assert call["writing"].instruction == {"*": "Greet them."}
    after = files(pack)
    assert set(after) - set(before) == {f"writers/answer/{GGUF}", f"writers/answer/{PEFT_CONFIG}"}
    unchanged = set(before) - {"manifest.json"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    tasks, old = (json.loads(found["manifest.json"])["tasks"] for found in (after, before))
    assert tasks["mood"] == old["mood"]
    assert tasks["answer"]["writing"]["adapter"] == f"writers/answer/{GGUF}"
    assert tasks["answer"]["writing"]["examples"] == ""


def test_a_finished_adapter_is_taken_again_until_its_rows_change(home: Path, tuned: list[dict[str, Any]]) -> None:
    train(home, WITH_EXAMPLES)
    train(home, WITH_EXAMPLES)
    assert len(tuned) == 1
    (home / "answers.jsonl").write_text('{"text": "Hi", "answer": "Good day"}\n')
    train(home, WITH_EXAMPLES)
    assert len(tuned) == 2
    train(home, WITH_EXAMPLES, "--restart")
    assert len(tuned) == 3


def test_an_adapter_that_was_changed_is_refused(
    home: Path, tuned: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from umbel.decoding.engine import LlamaCpp

    _, pack = train(home, WITH_EXAMPLES)
    added: list[tuple[str, Path]] = []
    decoder = LlamaCpp.__new__(LlamaCpp)
    monkeypatch.setattr(LlamaCpp, "has_adapter", lambda self, name: False)
    monkeypatch.setattr(LlamaCpp, "add_adapter", lambda self, name, path: added.append((name, path)))
    writer = umbel.load(pack).writer
    monkeypatch.setattr(replies, "writer_of", lambda name, threads: type("Local", (), {"decoder": decoder})())
    writer.writer(writer.tasks()["answer"])
    assert added == [(str(pack / f"writers/answer/{GGUF}"), pack / f"writers/answer/{GGUF}")]
    (pack / f"writers/answer/{GGUF}").write_bytes(b"GGUF another")
    with pytest.raises(PackError, match="not the adapter that the manifest names"):
        writer.writer(writer.tasks()["answer"])
