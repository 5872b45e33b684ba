"""The pages on flows keep up with the code: pictures are drawn from their flows, every key and field is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from umbel import flow_answers
from umbel.flow import FlowResult, StepReport, read_flow
from umbel.flow_drawing import mermaid
from umbel.flow_forms import FORMS
from umbel.flow_spec import COMMON
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.records import Task

ROOT = Path(__file__).parents[2]
DRAWN = re.compile(r"<!-- flow: (\S+) -->\n```mermaid\n(.*?)^```", re.S | re.M)
PICTURES = [
    pytest.param(source, picture, id=f"{page.name}-{source}")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for source, picture in DRAWN.findall(page.read_text("utf-8"))
]
REFERENCE = (ROOT / "docs" / "reference" / "flow.md").read_text("utf-8")


@pytest.mark.parametrize(("source", "picture"), PICTURES)
def test_pictures_are_drawn_from_their_flows(source: str, picture: str) -> None:
    assert mermaid(read_flow(ROOT / source)[0]) == picture.rstrip("\n")


def test_every_example_has_its_picture_and_its_page() -> None:
    shown = {parameter.values[0] for parameter in PICTURES}
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("*/flow.yaml")}
    assert wanted <= shown
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "tutorial").glob("*.md"))
    assert [flow for flow in wanted if f"python {Path(flow).parent.as_posix()}/run.py" not in pages] == []


def test_every_key_is_documented() -> None:
    keys = {"flow", "pack", "description", "steps", *FORMS, *COMMON, "of", "query", "k", "where", "by"}
    keys |= {"choice", "options", "score", "levels", "predicate", "question", "must-answer", "types", "overlapping"}
    assert [key for key in sorted(keys) if f"`{key}`" not in REFERENCE] == []


def test_every_field_is_documented() -> None:
    two = (Option("a"), Option("b"))
    tasks = [Task("x", kind) for kind in ("text-classification", "token-classification", "regression")]
    fields = {"answered", *flow_answers.MESSAGE_FIELDS, *flow_answers.PASSAGES_FIELDS, *flow_answers.TEXT_FIELDS}
    for task in (*tasks, Task("x", "text-classification", multi_label=True)):
        fields |= set(flow_answers.fields_of_task(task))
    for question in (Choice("x", two), Predicate("x"), Score("x", two), Extract("x"), Mentions(two)):
        fields |= set(flow_answers.fields_of_question(question))
    fields |= {*FlowResult.__dataclass_fields__, *StepReport.__dataclass_fields__}
    assert [name for name in sorted(fields) if f"`{name}`" not in REFERENCE] == []
