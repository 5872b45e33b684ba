"""The command `flow` over a tiny pack: drawn, checked, run; what it prints where, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner, Result

from umbel.cli import app
from umbel.decide import Answer
from umbel.flow_answers import FlowAnswer, Passage, PassagesAnswer
from umbel.flowing import one_line
from umbel.pack import read_pack
from umbel.questions import ExtractAnswer, ScoreAnswer
from umbel.records import LabelPrediction, LabelsPrediction, ScorePrediction, Span, SpansPrediction

FLOW = """\
flow: small
pack: pack
steps:
  read: {tasks: [sentiment, entities]}
  asked: {ask: {nice: {predicate: good}}, when: sentiment.answered}
  help: {search: help.index}
  hello: {reply: "{sentiment.label}, 您好", when: message.language == "zh"}
  later: {reply: "{help.text}", fallback: "{sentiment.label|x}\\n!"}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        patch.setenv("COLUMNS", "90")
        patch.setenv("NO_COLOR", "1")
        write_tiny_pack(folder / "pack", write_tiny_backbone(folder / "backbone"), branches=True)
        (folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
        yield folder


def run(*arguments: object, given: str | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["flow", *(str(argument) for argument in arguments)], input=given)
    assert result.exit_code == code, result.output
    return result


def test_it_is_drawn(home: Path) -> None:
    drawn = run(home / "flow.yaml").stdout
    assert drawn.startswith('flowchart TD\n    message(["message"])\n    step_read["<b>read</b>')
    assert """message -->|"message.language == 'zh'"| step_hello""" in drawn


def test_it_is_checked(home: Path) -> None:
    printed = run(home / "flow.yaml", "--check").stdout
    assert "small: no faults; pack tiny, 5 steps" in printed
    assert "order: read, asked, help, hello, later" in printed
    assert "help.index, which help searches; `umbel index` makes it" in printed


def test_faults_are_told_and_the_exit_code_is_1(home: Path) -> None:
    (home / "bad.yaml").write_text(FLOW.replace("sentiment.answered", "sentimnt.answered").replace("tasks:", "task:"))
    told = run(home / "bad.yaml", "--check", code=1).stderr
    assert "Error: " in told
    assert "bad.yaml:4: steps.read.task: unknown key" not in told  # what kind of step it is has to be known first
    assert (
        "bad.yaml:4: steps.read: found none of them, expected exactly one of tasks, ask, search, reply, write" in told
    )
    assert "bad.yaml:5: steps.asked.when: `sentimnt.answered`: there is no answer 'sentimnt' here" in told
    assert "no such file" in run(home / "none.yaml", code=1).stderr.lower()
    assert "declares no flow" in run(home / "pack", code=1).stderr


def test_a_run_shows_each_step_and_the_reply(home: Path) -> None:
    printed = run(home / "flow.yaml", "--run", "good to Paris", "这 good")
    lines = [line.split() for line in printed.stdout.splitlines()]
    assert next(line for line in lines if line[:1] == ["read"])[:2] == ["read", "ran"]
    assert next(line for line in lines if line[:1] == ["help"])[:2] == ["help", "failed"]
    assert printed.stdout.count("(fallback)") == 2
    assert "\nreply  " in printed.stdout
    assert "您好" in printed.stdout
    assert "2 encodings run, 4 tasks and 2 questions answered" in printed.stdout


def test_json_and_bad_lines(home: Path) -> None:
    (home / "messages.txt").write_bytes(b"good to Paris\n\n" + "这".encode() + b"\n" + b"a" * (17 << 20))
    printed = run(home / "flow.yaml", "--run", "--file", home / "messages.txt", "--json", code=1)
    found = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [each["line"] for each in found] == [1, 3]
    assert found[0]["answers"]["sentiment"]["label"] in ("good", "bad")
    assert [step["name"] for step in found[0]["steps"]] == ["read", "asked", "help", "hello", "later"]
    assert found[0]["reply"].endswith("\n!")
    assert "line 4: longer than 16 MB" in printed.stderr


def test_standard_input(home: Path) -> None:
    assert run(home / "flow.yaml", "--run", "-", "--json", given="good\nbad\n").stdout.count('"line"') == 2


@pytest.mark.parametrize(
    "arguments", [["--run"], ["good"], ["--run", "--check", "x"], ["--run", "x", "--file", "y"], ["--file", "y"], []]
)
def test_what_makes_no_sense_is_a_usage_error(home: Path, arguments: list[str]) -> None:
    if arguments:
        run(home / "flow.yaml", *arguments, code=2)
    else:
        run(code=2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (LabelPrediction(None, 0.4, {}, True), "withheld 0.40"),
        (LabelsPrediction((), {}), "none"),
        (LabelsPrediction(("a",), {"a": 0.5}), "a 0.50"),
        (ScorePrediction(1.234), "1.23"),
        (SpansPrediction((Span(0, 1, "x", "a"),)), "a (x)"),
        (SpansPrediction(()), "none"),
        (ScoreAnswer(0.5, "low", {"low": 0.5, "high": 0.5}), "low (0.50 of 1)"),
        (ExtractAnswer(None, 0.9), "the text does not say 0.90"),
        (PassagesAnswer(()), "nothing was found"),
        (PassagesAnswer((Passage("a", "b.md", cosine=0.5),)), "b.md, cosine 0.500"),
    ],
)
def test_answers_in_a_few_words(answer: FlowAnswer | Answer, words: str) -> None:
    assert one_line(answer) == words


def test_it_goes_into_a_pack_of_its_own(home: Path, tmp_path: Path) -> None:
    (home / "help.index").write_bytes(b"passages")
    try:
        assert "small" in run(home / "flow.yaml", "--into", tmp_path / "made").output
    finally:
        (home / "help.index").unlink()
    made, before = read_pack(tmp_path / "made"), read_pack(home / "pack")
    assert made.manifest.name == "small"
    assert made.manifest.tasks == before.manifest.tasks
    assert (made.folder / "help.index").read_bytes() == b"passages"
    assert run(tmp_path / "made").output == run(home / "flow.yaml").output
    assert "a pack already" in run(tmp_path / "made", "--into", tmp_path / "again", code=1).output


def test_one_thing_at_a_time(home: Path, tmp_path: Path) -> None:
    assert "give one of" in run(home / "flow.yaml", "--check", "--into", tmp_path / "made", code=2).output
