"""Questions on the command line: how they are read, how answers are shown, what is told of mistakes."""

import json

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner

from umbel import ask
from umbel.cli import app
from umbel.errors import InputError
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score

TEXT = "good to Paris bad"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ask")
    pack = write_tiny_pack(folder / "tiny", write_tiny_backbone(folder / "backbone"), branches=True)

    def call(*words, **more):
        env = {"UMBEL_CACHE": str(folder / "cache")}
        return CliRunner().invoke(app, [*words, "--pack", str(pack.folder)], env=env, **more)

    return call


def test_texts_and_questions_are_read_in_order():
    words = ["one", "--choice", "Team?", "a: x, b", "two", "--predicate=it is so", "--score", "How?", "low|high, very"]
    texts, questions = ask.parsed([*words, "--types", "person", "--question", "Who?", "--", "--three"])
    assert texts == ["one", "two", "--three"]
    assert questions == [
        Choice("Team?", (Option("a", "x"), Option("b"))),
        Predicate("it is so"),
        Score("How?", (Option("low"), Option("high, very"))),
        Mentions((Option("person"),)),
        Extract("Who?"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text"], "found no question"),
        (["text", "--choise", "a", "b,c"], "--choise is not an option of ask; did you mean '--choice'?"),
        (["text", "--choice", "a"], "--choice: found 1 word after it, expected 2"),
        (["text", "--predicate"], "--predicate: found 0 words after it, expected 1"),
    ],
)
def test_mistakes_are_told(words, message):
    with pytest.raises(InputError) as caught:
        ask.parsed(words)
    assert message in str(caught.value)


QUESTIONS = [
    *("--choice", "to", "good,bad", "--predicate", "good", "--score", "to", "bad,good,Paris"),
    *("--question", "Paris", "--types", "Paris,to"),
]


def test_a_table_shows_every_question(run):
    result = run("ask", TEXT, *QUESTIONS)
    assert result.exit_code == 0, result.output
    assert TEXT in result.output
    assert "1 encoding run, 5 questions answered" in result.output


def test_json_has_every_answer(run):
    result = run("ask", TEXT, "good", *QUESTIONS, "--json")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["text"], second["text"]) == (TEXT, "good")
    assert (first["line"], second["line"]) == (1, 2)
    kinds = [answer["kind"] for answer in first["answers"]]
    assert kinds == ["choice", "predicate", "score", "extract", "mentions"]
    choice, predicate, score, *_ = first["answers"]
    assert choice["answer"] in {"good", "bad"}
    assert sum(choice["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert isinstance(predicate["answer"], bool)
    assert 0 <= score["score"] <= 2


def test_texts_are_read_from_a_file_or_standard_input(run, tmp_path):
    file = tmp_path / "messages.txt"
    file.write_text(f"{TEXT}\n\n" + "".join(f"good bad {n}\n" for n in range(40)) + "bad", encoding="utf-8")
    by_file = run("ask", *QUESTIONS, "--json", "--file", str(file))
    rows = [json.loads(line) for line in by_file.stdout.splitlines()]
    assert [row["line"] for row in rows] == [1, *range(3, 44)]
    assert (rows[0]["text"], rows[1]["text"], rows[-1]["text"]) == (TEXT, "good bad 0", "bad")
    assert "1 blank message skipped" in by_file.stderr
    assert "42 encodings run, 210 questions answered" in by_file.stderr
    alone = json.loads(run("ask", TEXT, *QUESTIONS, "--json").stdout)
    for one, other in zip(rows[0]["answers"], alone["answers"], strict=True):
        assert {**one, "probabilities": 0, "probability": 0} == {**other, "probabilities": 0, "probability": 0}
        assert one.get("probabilities", {}) == pytest.approx(other.get("probabilities", {}), abs=1e-4)

    by_input = run("ask", "-", *QUESTIONS, "--json", input=file.read_text("utf-8"))
    assert by_input.stdout == by_file.stdout
    assert "line 3  good bad 0" in run("ask", "--file", str(file), *QUESTIONS).output


def test_a_row_that_cannot_be_answered_is_told_and_the_rest_are_answered(run, monkeypatch, tmp_path):
    monkeypatch.setattr("umbel.messages.LONGEST", 40)
    file = tmp_path / "messages.txt"
    file.write_text("good\n" + "bad " * 20 + "\nbad\n", encoding="utf-8")
    result = run("ask", "--file", str(file), "--predicate", "good", "--json")
    assert [json.loads(line)["line"] for line in result.stdout.splitlines()] == [1, 3]
    assert "line 2: longer than" in result.stderr
    assert "1 row could not be answered" in result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--file", "some.txt"], "found no question"),
        (["--predicate", "good"], "found no text to ask about"),
        ([TEXT, "--predicate", "good", "--file", "some.txt"], "found texts and --file"),
        (["-", TEXT, "--predicate", "good"], "- beside texts"),
        (["--predicate", "good", "--file", "none.txt"], "none.txt: cannot be read: No such file"),
    ],
)
def test_one_source_of_texts_is_wanted(run, words, found):
    result = run("ask", *words)
    assert result.exit_code == 1
    assert found in result.output


def test_what_no_text_could_be_asked_is_told_once(run):
    result = run("ask", TEXT, "good", "bad", "--predicate", "good " * 300)
    assert result.exit_code == 1
    assert result.output.count("questions[0].statement: ") == 1
    assert "line 1" not in result.output


def test_bad_questions_end_with_their_place(run):
    result = run("ask", TEXT, "--choice", "to", "good")
    assert result.exit_code == 1
    assert "questions[0].options: found 1, expected 2 to 255" in result.output
    assert run("ask", "--predicate", "good").exit_code == 1


def test_a_statement_worded_as_a_question_is_told(run):
    result = run("ask", TEXT, "--predicate", "Is it good?", "--predicate", "good", "--predicate", "好吗？", "--json")
    assert result.exit_code == 0
    assert result.stderr.count("worded as a question") == 1
    assert '"Is it good?" is worded as a question; statements are answered better' in result.stderr
    assert len(json.loads(result.stdout)["answers"]) == 3


def test_a_document_is_read_once_for_all_questions(run, tmp_path):
    document = tmp_path / "manual.txt"
    document.write_text("good bad to " * 50 + "Paris", encoding="utf-8")
    result = run("answer", "--document", str(document), "Paris", "to", "good")
    assert result.exit_code == 0, result.output
    assert "1 encoding run, 3 questions answered" in result.output
    found = json.loads(run("answer", "--document", str(document), "Paris", "--json").stdout)
    (answer,) = found["answers"]
    if answer["answer"] is not None:
        assert document.read_text()[answer["start"] : answer["end"]] == answer["answer"]


def test_bad_questions_are_told_before_anything_is_loaded(tmp_path):
    words = ["ask", TEXT, "--choice", "to", "good,good", "--predicate", " ", "--pack", str(tmp_path)]
    output = CliRunner().invoke(app, words).output
    assert "questions[0].options[1]: 'good' is already options[0]" in output
    assert "questions[1].statement: it is blank" in output
    assert "no shipped pack" not in output
    output = CliRunner().invoke(app, ["answer", "-d", str(tmp_path / "none"), "Who?", "--pack", str(tmp_path)]).output
    assert "cannot be read: No such file" in output


def test_a_document_may_come_through_a_pipe():
    result = CliRunner().invoke(app, ["answer", "-d", "-", "Who?", "--pack", "none"], input="   ")
    assert "-: it holds no text" in result.output


def test_documents_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        ask.read_document(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 text"):
        ask.read_document(tmp_path / "latin.txt")
