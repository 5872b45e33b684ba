"""The command line over a tiny pack of random weights: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_pack import TASKS, write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner, Result

from umbel import cli
from umbel.cli import app
from umbel.errors import InputError, MissingExtraError
from umbel.pack import Pack, TaskEntry

SENTENCE = "这是一个关于AI的多任务处理案例。"
COMMANDS = ["analyze", "packs", "models", "doctor", "init", "data", "train", "evaluate", "diff", "serve", "keys"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        patch.setenv("COLUMNS", "80")
        patch.setenv("NO_COLOR", "1")
        yield folder


@pytest.fixture(scope="module")
def pack(home: Path) -> Pack:
    return write_tiny_pack(home / "tiny", write_tiny_backbone(home / "backbone"))


def run(*arguments: object, given: str | bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    assert result.exit_code == code, result.output
    return result


def answers(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(self, command: str) -> None:
        assert command in run("--help").stdout
        shown = run(command, "--help").stdout
        assert "Usage: " in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_every_option_and_argument_has_a_help_text(self) -> None:
        from typer.main import get_command

        waiting = [get_command(app)]
        while waiting:
            command = waiting.pop()
            waiting += getattr(command, "commands", {}).values()
            assert command.help, command.name
            for parameter in command.params:
                assert getattr(parameter, "help", None) or parameter.name == "help", (command.name, parameter.name)

    def test_help_starts_neither_numpy_nor_an_engine(self) -> None:
        code = (
            "import sys; from typer.testing import CliRunner; from umbel.cli import app\n"
            "assert CliRunner().invoke(app, ['analyze', '--help']).exit_code == 0\n"
            "print([name for name in ('numpy', 'openvino', 'torch', 'tokenizers') if name in sys.modules])"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "[]"

    def test_the_version(self) -> None:
        assert run("--version").stdout.startswith("umbel 0.")

    def test_a_mistyped_command_is_suggested(self) -> None:
        assert "Did you mean 'analyze'" in run("analyse", code=2).stderr


class TestAnalyze:
    def test_a_table_for_each_message_and_one_closing_line(self, pack: Pack) -> None:
        result = run("analyze", SENTENCE, "good to Paris", "--pack", pack.folder)
        lines = result.stdout.splitlines()
        assert lines[0] == f"zh  {SENTENCE}"
        assert lines[1].split() == ["task", "answer", "probability"]
        for task in TASKS:
            assert sum(line.startswith(f"{task} ") for line in lines) == 2
        assert "32 numbers" in result.stdout
        assert lines[-1].startswith("2 encodings run, 10 tasks answered; encoding ")
        assert lines[-1].endswith(" ms")
        assert max(map(len, lines)) <= 80

    def test_json_is_one_object_a_line(self, pack: Pack) -> None:
        result = run("analyze", SENTENCE, "bad", "--pack", pack.folder, "--json", "--tasks", "sentiment, topics")
        first, second = answers(result)
        assert list(first) == ["line", "text", "language", "answers"]
        assert (first["text"], first["language"], second["line"]) == (SENTENCE, "zh", 2)
        assert list(first["answers"]) == ["sentiment", "topics"]  # type: ignore[call-overload]
        assert "2 encodings run, 4 tasks answered" in result.stderr

    def test_top_shows_the_likeliest(self, pack: Pack) -> None:
        shown = run("analyze", "good", "--pack", pack.folder, "--tasks", "sentiment", "--top", 2).stdout
        assert {"good", "bad"} <= set(shown.split())

    def test_the_samples_and_the_first_of_them(self, pack: Pack) -> None:
        found = answers(run("analyze", "--samples", "--pack", pack.folder, "--json"))
        assert found[0]["text"] == SENTENCE
        assert 8 <= len(found) <= 10

    def test_a_file_keeps_its_line_numbers_and_skips_blank_lines(self, pack: Pack, tmp_path: Path) -> None:
        path = tmp_path / "messages.txt"
        path.write_bytes("good\n\n \n\r\n这 to Paris\nbad ".encode() + b"\xff\n")
        result = run("analyze", "--file", path, "--pack", pack.folder, "--tasks", "sentiment")
        assert "line 1  en  good" in result.stdout
        assert "line 5  zh  这 to Paris" in result.stdout
        assert "3 blank messages skipped" in result.stderr
        assert "1 line not UTF-8" in result.stderr

    def test_standard_input(self, pack: Pack) -> None:
        found = answers(run("analyze", "-", "--pack", pack.folder, "--json", given=f"good\n{SENTENCE}\n"))
        assert [row["text"] for row in found] == ["good", SENTENCE]

    def test_a_long_file_is_answered_in_order(self, pack: Pack, tmp_path: Path) -> None:
        path = tmp_path / "many.txt"
        path.write_text("".join(f"good {number}\n" for number in range(700)))
        found = answers(run("analyze", "-f", path, "--pack", pack.folder, "--json", "-t", "sentiment"))
        assert [row["text"] for row in found] == [f"good {number}" for number in range(700)]
        assert [row["line"] for row in found] == list(range(1, 701))

    def test_a_bad_row_is_told_and_does_not_stop_the_rest(
        self, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("umbel.messages.LONGEST", 10)
        path = tmp_path / "messages.txt"
        path.write_text("good\n" + "x" * 50 + "\nbad\n")
        result = run("analyze", "-f", path, "--pack", pack.folder, "--json", "-t", "sentiment", code=1)
        assert [row["line"] for row in answers(result)] == [1, 3]
        assert "line 2: longer than" in result.stderr
        assert "1 row could not be answered" in result.stderr

    def test_a_row_that_the_model_refuses_is_told(self, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
        def checked(text: str) -> str:
            if text == "bad":
                raise InputError("too bad")
            return text

        monkeypatch.setattr("umbel.runtime.checked", checked)
        result = run("analyze", "good", "bad", "Paris", "--pack", pack.folder, "--json", code=1)
        assert [row["line"] for row in answers(result)] == [1, 3]
        assert "line 2: too bad\n" in result.stderr

    @pytest.mark.parametrize("arguments", [[], ["x", "--samples"], ["--samples", "--file", "x"]])
    def test_one_source_is_needed(self, arguments: list[str]) -> None:
        assert "give either messages" in " ".join(run("analyze", *arguments, code=2).stderr.split())

    def test_an_unknown_task_is_one_clean_message(self, pack: Pack) -> None:
        result = run("analyze", "x", "--pack", pack.folder, "--tasks", "sentimant", code=1)
        assert result.stderr.startswith(
            "Error: 'sentimant' is not a task of pack tiny; did you mean 'sentiment'?\n  its "
        )
        assert result.stdout == ""

    def test_an_unknown_pack(self) -> None:
        assert "'nowhere' is no shipped pack" in run("analyze", "x", "--pack", "nowhere", code=1).stderr

    def test_a_table_leaves_out_tasks_of_other_languages_if_some_task_knows_the_messages(
        self, home: Path, pack: Pack
    ) -> None:
        entries = {name: TASKS["sentiment"].model_copy(update={"languages": (name,)}) for name in ("zh", "en")}
        two = write_tiny_pack(home / "languages", home / pack.manifest.backbone.name, **entries)
        for text, hidden in ((SENTENCE, ["en"]), ("good", ["zh"]), ("Привет, мир", []), ("ありがとう", [])):
            shown = run("analyze", text, "--pack", two.folder).stdout
            names = {line.split()[0] for line in shown.splitlines() if line.strip()}
            assert {"zh", "en"} - names == set(hidden), text
            assert ("--all shows them" in shown) == bool(hidden)

    def test_a_closed_pipe_ends_quietly(self, pack: Pack, tmp_path: Path) -> None:
        path = tmp_path / "many.txt"
        path.write_text("good to Paris\n" * 3000)
        for form in ("", "--json"):
            command = f"'{sys.executable}' -m umbel analyze -f '{path}' --pack '{pack.folder}' {form} | head -n 2"
            told = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
            assert len(told.stdout.splitlines()) == 2
            assert "Error" not in told.stderr
            assert "Traceback" not in told.stderr

    @pytest.mark.parametrize("source", ["-", "--file /dev/stdin"])
    def test_a_line_of_a_pipe_is_answered_before_the_next_comes(self, pack: Pack, source: str) -> None:
        command = [sys.executable, "-m", "umbel", "analyze", *source.split(), "--pack", str(pack.folder), "--json"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as process:
            for number, line in enumerate((b"good\n", b"bad\n\nbad\n", b"to Paris\n"), 1):
                process.stdin.write(line)
                process.stdin.flush()
                for text in line.split(b"\n"):
                    assert not text or json.loads(process.stdout.readline())["text"] == text.decode(), number
            process.send_signal(signal.SIGINT)  # while it waits
            _, told = process.communicate(timeout=120)
        assert process.returncode == 130
        assert b"Fatal" not in told
        assert b"Traceback" not in told


@pytest.mark.parametrize("listed", ["", ",", " , "])
def test_no_names_stand_for_all_tasks(listed: str) -> None:
    assert cli._names(listed) is None
    assert cli._names(f"a,{listed} b") == ["a", "b"]


class TestErrors:
    def test_a_fault_of_umbel_is_a_message_and_a_traceback_only_with_debug(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken() -> None:
            raise ZeroDivisionError("by zero")

        monkeypatch.setattr("umbel.doctor.examine", broken)
        result = run("doctor", code=1)
        assert "Error: ZeroDivisionError: by zero" in result.stderr
        assert "umbel --debug" in result.stderr
        assert isinstance(CliRunner().invoke(app, ["--debug", "doctor"]).exception, ZeroDivisionError)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_a_full_disk_is_told(self, pack: Pack) -> None:
        for form in ("", "--json"):
            command = f"'{sys.executable}' -m umbel analyze good --pack '{pack.folder}' {form} > /dev/full"
            told = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
            assert told.returncode == 1
            assert told.stderr.startswith("Error: [Errno 28] No space left on device\n  check the disk")

    def test_a_damaged_pack(self, home: Path, tmp_path: Path) -> None:
        damaged = write_tiny_pack(tmp_path / "damaged", write_tiny_backbone(tmp_path / "backbone"))
        (damaged.folder / "heads" / "topics.safetensors").write_bytes(b"no")
        result = run("analyze", "x", "--pack", damaged.folder, code=1)
        assert "topics.safetensors: found SHA-256" in result.stderr

    def test_a_missing_extra_names_its_command(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("init", tmp_path)
        monkeypatch.setitem(sys.modules, "torch", None)
        result = run("train", tmp_path / "pack.yaml", code=1)
        assert result.stderr == f"Error: torch is not installed\n  {MissingExtraError('torch', 'train').hint}\n"


class TestPacks:
    def test_a_pack_is_shown_with_its_tasks(self, pack: Pack) -> None:
        shown = run("packs", pack.folder).stdout
        assert "tiny 0.1.0" in shown
        rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
        assert rows["sentiment"] == ["sentiment", "text-classification", "zh", "en", "2", "accuracy", "81.25"]
        assert set(TASKS) <= set(rows)

    def test_as_json(self, pack: Pack) -> None:
        assert list(json.loads(run("packs", pack.folder, "--json").stdout)["tiny"]["tasks"]) == list(TASKS)

    def test_without_names_the_shipped_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("umbel.pack.shipped", list)
        assert "no packs are shipped" in run("packs").stdout

    def test_two_packs_are_compared(self, pack: Pack, home: Path, tmp_path: Path) -> None:
        fewer = TaskEntry(kind="text-classification", labels=("bad", "new"), metric="accuracy", scores={"score": 80.0})
        extra = TaskEntry(kind="regression", metric="spearman")
        other = write_tiny_pack(tmp_path / "other", home / "backbone", "0.2.0", sentiment=fewer, extra=extra)
        found = json.loads(run("diff", pack.folder, other.folder, "--json").stdout)
        assert (found["backbone"], found["adapter"]) == ("same", "same")
        assert {name: task["state"] for name, task in found["tasks"].items()} == {
            "sentiment": "changed",
            "topics": "same",
            "urgency": "same",
            "entities": "same",
            "vector": "same",
            "extra": "added",
        }
        assert found["tasks"]["sentiment"]["labels_added"] == ["new"]
        shown = run("diff", pack.folder, other.folder).stdout
        assert "tiny 0.1.0 on" in shown
        assert all(part in shown for part in ("81.25", "80.00", "-1.25", "+new, -good"))
        back = json.loads(run("diff", other.folder, pack.folder, "--json").stdout)
        assert back["tasks"]["extra"]["state"] == "removed"


class TestModels:
    def test_the_catalogue_is_listed(self, home: Path) -> None:
        assert run("models").stdout == run("models", "list").stdout
        assert "e5-small" in run("models").stdout
        assert json.loads(run("models", "list", "--json").stdout)["e5-small"]["installed"] is False

    def test_an_unknown_name_is_suggested(self, home: Path) -> None:
        for command in ("pull", "remove", "verify"):
            assert "did you mean 'e5-small'?" in run("models", command, "e5-smal", code=1).stderr

    def test_removing_what_is_not_there(self, home: Path) -> None:
        assert run("models", "remove", "e5-small").stdout == "e5-small: was not in the cache\n"

    def test_verifying_what_is_not_there(self, home: Path) -> None:
        assert "umbel models pull e5-small" in run("models", "verify", code=1).stderr


class TestMaking:
    def test_init_writes_an_example_and_overwrites_only_when_told(self, tmp_path: Path) -> None:
        written = run("init", tmp_path / "new").stdout.splitlines()
        assert [Path(line).name for line in written] == ["messages.dev.jsonl", "messages.train.jsonl", "pack.yaml"]
        (tmp_path / "new" / "pack.yaml").write_text("mine")
        assert "--force" in run("init", tmp_path / "new", code=1).stderr
        assert (tmp_path / "new" / "pack.yaml").read_text() == "mine"
        run("init", tmp_path / "new", "--force")
        assert (tmp_path / "new" / "pack.yaml").read_text() != "mine"

    def test_data_check_counts_and_finds_faults(self, home: Path, tmp_path: Path) -> None:
        run("init", tmp_path)
        sound = run("data", "check", tmp_path / "pack.yaml")
        assert "No faults" in sound.stdout
        rows = tmp_path / "messages.dev.jsonl"
        rows.write_text(rows.read_text().replace('"topic": "delivery"', '"topic": "delivry"', 1))
        result = run("data", "check", tmp_path / "pack.yaml", code=1)
        assert "messages.dev.jsonl:1: topic: 'delivry' is not a label; did you mean" in result.stdout
        assert len(json.loads(run("data", "check", tmp_path / "pack.yaml", "--json", code=1).stdout)["faults"]) == 1

    def test_a_faulty_declaration_is_told_line_by_line(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "pack.yaml").write_text("pack: x\ntasks:\n  a:\n    kind: regresion\n")
        for command in (["data", "check"], ["train"]):
            assert "did you mean 'regression'?" in run(*command, tmp_path / "pack.yaml", code=1).stderr


class TestEvaluate:
    @pytest.fixture
    def declaration(self, tmp_path: Path) -> Path:
        rows = [{"text": text, "sentiment": text} for text in ("good", "bad")] * 20
        (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        lines = ["pack: tiny", "tasks:", "  sentiment:", "    kind: text-classification", "    data:"]
        lines += ["      - {train: dev.jsonl, dev: [], column: sentiment}", "      - {dev: DEV, column: sentiment}"]
        (tmp_path / "train.jsonl").write_text((tmp_path / "dev.jsonl").read_text())
        text = "\n".join(lines).replace("train: dev.jsonl, dev: []", "train: train.jsonl").replace("DEV", "dev.jsonl")
        (tmp_path / "pack.yaml").write_text(text)
        return tmp_path / "pack.yaml"

    def test_both_engines_give_the_same_scores(self, pack: Pack, declaration: Path) -> None:
        found = [
            json.loads(run("evaluate", pack.folder, "--data", declaration, "--engine", engine, "--json").stdout)
            for engine in ("runtime", "torch")
        ]
        assert found[0]["sentiment"]["rows"] == 40
        assert found[0]["sentiment"]["scores"] == found[1]["sentiment"]["scores"]
        assert found[0]["sentiment"]["ece"] == pytest.approx(found[1]["sentiment"]["ece"], abs=0.02)

    def test_a_table_and_a_limit(self, pack: Pack, declaration: Path) -> None:
        shown = run("evaluate", pack.folder, "--data", declaration, "--limit", 10).stdout.splitlines()
        assert shown[0].split()[:3] == ["task", "metric", "score"]
        assert shown[2].split()[:2] == ["sentiment", "accuracy"]
        assert shown[2].split()[-1] == "10"

    def test_questions_are_scored_by_kind(self, tmp_path: Path, declaration: Path) -> None:
        pack = write_tiny_pack(tmp_path / "asked", write_tiny_backbone(tmp_path / "own"), branches=True)
        (tmp_path / "asks").mkdir()
        lines = ["sentiment:", "  instructions: {en: [Is it good or bad?]}"]
        lines += ["  statements: {en: {holds: ['It is {label}.'], fails: ['It is not {label}.']}}"]
        (tmp_path / "asks" / "all.yaml").write_text("\n".join(lines))
        command = ("evaluate", pack.folder, "--data", declaration, "--questions", 30)
        assert "names no templates" in run(*command, code=1).stderr
        declaration.write_text(declaration.read_text() + "\ntrain: {questions: asks}\n")
        found = json.loads(run(*command, "--json").stdout)
        assert found.keys() == {"choice", "predicate"}
        assert sum(each["asked"] for each in found.values()) == 30
        assert all(0 <= each["score"] <= 100 and 0 <= each["ece"] <= 1 for each in found.values())
        assert run(*command).stdout.splitlines()[0].split() == ["questions", "right", "ECE", "asked"]

    def test_a_declaration_of_other_tasks(self, pack: Pack, declaration: Path) -> None:
        declaration.write_text(declaration.read_text().replace("  sentiment:", "  mood:"))
        assert "none of its tasks is in the pack" in run("evaluate", pack.folder, "-d", declaration, code=1).stderr
