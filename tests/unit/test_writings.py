"""Tasks that write: their declaration, its faults, and what a pack's manifest keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.errors import SpecError
from umbel.kinds.base import kind_of
from umbel.kinds.generate import TextGeneration
from umbel.manifest import TaskEntry
from umbel.records import Task
from umbel.spec import load_spec
from umbel.writings import Writing, said

DECLARED = """\
pack: help
tasks:
  reply:
    kind: text-generation
    writing:
      task: reply
      knowledge: help.index
      moderation: hate=hate
      fallback: {zh: 稍后回复。, en: Later.}
      max-tokens: 90
  plan:
    kind: text-generation
    writing: {task: plan, instruction: Plan it.}
"""


def load(folder: Path, text: str) -> dict[str, Writing | None]:
    (folder / "pack.yaml").write_text(text, encoding="utf-8")
    return {task.name: task.writing for task in load_spec(folder / "pack.yaml").tasks}


def test_a_declaration_of_tasks_that_write(tmp_path: Path) -> None:
    found = load(tmp_path, DECLARED)
    reply, plan = found["reply"], found["plan"]
    assert reply == Writing(
        knowledge="help.index", moderation=("hate=hate",), fallback={"zh": "稍后回复。", "en": "Later."}, max_tokens=90
    )
    assert plan is not None
    assert said(plan.instruction, "zh") == said(plan.instruction, "en") == "Plan it."
    assert said(Writing().fallback, "zh") == ""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("knowledge: help", "knowlege: help", "reply.writing.knowlege: unknown key; did you mean 'knowledge'?"),
        ("task: reply", "task: repply", "reply.writing.task: found 'repply'; did you mean 'reply'?"),
        ("max-tokens: 90", "examples: none.jsonl", "reply.writing.examples: none.jsonl: no such file"),
        ("max-tokens: 90", "examples: hub:a/b:train", "reply.writing.examples: found 'hub:a/b:train', expected a file"),
        ("max-tokens: 90", "examples: pack.yaml\n      adapter: a.gguf", "reply.writing.adapter: one is learnt from"),
        (
            "max-tokens: 90",
            "examples: r.csv\n      decoder: http://h/v1#m",
            "reply.writing.decoder: a server elsewhere",
        ),
        ("max-tokens: 90", "max-tokens: 0", "reply.writing.max-tokens: found 0, expected at least 1"),
        ("kind: text-generation\n    writing:\n", "kind: feature-extraction\n    writing:\n", "writes nothing; only"),
        (
            "    writing: {task: plan",
            "    data: {train: x.jsonl, column: y}\n    writing: {task: plan",
            "takes no data",
        ),
    ],
)
def test_faults_are_told_with_their_place(tmp_path: Path, old: str, new: str, fault: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, DECLARED.replace(old, new))
    assert any(fault in told for told in caught.value.faults), caught.value.faults


def test_the_kind_is_registered_and_refuses_what_it_has_not() -> None:
    kind, task = kind_of("text-generation"), Task("reply", "text-generation")
    assert isinstance(kind, TextGeneration)
    with pytest.raises(ValueError, match="takes no data"):
        kind.parse(task, "x", "text")
    assert (kind.width(task), kind.metrics, kind.trained) == (0, (), False)


def test_an_entry_is_stored_and_read_again() -> None:
    entry = TaskEntry(kind="text-generation", writing=Writing(task="plan", json_schema={"type": "object"}))
    assert TaskEntry.model_validate_json(entry.model_dump_json()) == entry
    assert "writing" not in TaskEntry(kind="regression").model_dump_json()
