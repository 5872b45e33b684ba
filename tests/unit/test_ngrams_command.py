"""`umbel ngrams` and `ngrams:`: a task reads names that a tiny encoder cannot tell apart, and all else stays."""

import json

import ngrams as experiment
import numpy as np
import pytest
import torch
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

import umbel
from umbel.cli import app
from umbel.errors import UmbelError
from umbel.pack import read_pack
from umbel.teach import Row, correct

DECLARATION = """
pack: tiny
backbone: tiny
tasks:
  team:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: team}]
  mood:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  place:
    kind: token-classification
    data: [{train: train.jsonl, dev: dev.jsonl, column: places}]
train: {sharing: heads, epochs: 1, batch-rows: 8, head-learning-rate: 1.0e-2, precision: float32}
"""
NAMES = {"red": ("zorro", "zelda"), "blue": ("quix", "quest")}  # all of them one unknown word to the encoder


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def told_by(done):
    return " ".join(done.output.split())


def row(team, name, mood):
    text = f"{mood} {name} to Paris"
    start = text.index("Paris")
    return {"text": text, "team": team, "mood": mood, "places": [{"start": start, "end": start + 5, "label": "place"}]}


@pytest.fixture
def home(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_backbone(tmp_path / "tiny")
    rows = [row(team, name, mood) for team, names in NAMES.items() for name in names for mood in ("good", "bad")]
    for split, times in (("train", 20), ("dev", 10)):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows * times))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    return tmp_path


@pytest.fixture
def trained(home):
    done = invoke("train", "pack.yaml", "--out", "run")
    assert done.exit_code == 0, done.output
    return home


def test_a_task_reads_ngrams_and_all_else_stays(trained):
    before = umbel.load("run/pack", precision="float32")
    done = invoke("ngrams", "run/pack", "team", "--longest", 2, "--out", "own", "--version", "1.2.3")
    assert done.exit_code == 0, done.output
    assert "100.00 with n-grams" in done.output
    assert "all else is as it was" in done.output
    after = umbel.load("own", precision="float32")
    entry = read_pack("own").manifest.tasks["team"]
    assert (entry.ngrams.longest, entry.scores["score"]) == (2, 100.0)
    assert entry.ngrams.without == pytest.approx(50, abs=15)
    assert read_pack("own").manifest.version == "1.2.3"
    for text in ("good zorro to Paris", "bad quest to Paris"):
        first, second = before(text), after(text)
        assert second["team"].label == ("red" if "zorro" in text else "blue")
        assert first["mood"] == second["mood"]
        assert first["place"] == second["place"]
    changed = json.loads(invoke("diff", "run/pack", "own", "--json").output)["tasks"]
    assert {name: each["state"] for name, each in changed.items()} == {
        "team": "changed",
        "mood": "same",
        "place": "same",
    }
    assert "n-grams" in invoke("diff", "run/pack", "own").output
    assert "n-grams" in (trained / "own/CARD.md").read_text()


def test_a_task_that_is_no_better_is_left_as_it_is_unless_wanted(trained):
    done = invoke("ngrams", "run/pack", "mood", "--out", "own")
    assert done.exit_code == 0, done.output
    assert "no better" in done.output
    assert not (trained / "own").exists()
    assert invoke("ngrams", "run/pack", "mood", "--out", "own", "--anyway").exit_code == 0
    assert read_pack("own").manifest.tasks["mood"].ngrams


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run/pack", "teem"), "did you mean 'team'"),
        (("run/pack", "place"), "only text-classification reads n-grams"),
        (("run/pack", "team", "--longest", 9), "Invalid value for '--longest'"),
        (("run/pack", "team", "--version", "newest"), "three numbers like 1.0.0"),
    ],
)
def test_faults_are_told(trained, arguments, told):
    done = invoke("ngrams", *arguments)
    assert done.exit_code != 0
    assert told in told_by(done)


def test_too_few_rows_are_told(trained):
    lines = (trained / "dev.jsonl").read_text().splitlines(keepends=True)
    (trained / "dev.jsonl").write_text("".join(lines[:8]))
    assert "found 8 rows, expected 50" in told_by(invoke("ngrams", "run/pack", "team"))


def test_a_declared_task_has_them_from_its_training(home):
    (home / "pack.yaml").write_text(DECLARATION.replace("column: team}]", "column: team}]\n    ngrams: 3", 1))
    assert invoke("train", "pack.yaml", "--out", "run").exit_code == 0
    pack = read_pack("run/pack")
    pack.verify()
    assert [name for name, entry in pack.manifest.tasks.items() if entry.ngrams] == ["team"]
    assert pack.manifest.tasks["team"].scores["score"] == 100
    for engine in ("runtime", "torch"):
        done = invoke("evaluate", "run/pack", "--data", "pack.yaml", "--engine", engine, "--json")
        assert json.loads(done.stdout)["team"]["score"] == 100, done.output


def test_a_declared_task_that_is_no_better_with_them_is_told(home):
    (home / "pack.yaml").write_text(DECLARATION.replace("column: mood}]", "column: mood}]\n    ngrams: 3", 1))
    done = invoke("train", "pack.yaml", "--out", "run")
    assert "mood: reads no n-grams" in told_by(done)
    assert read_pack("run/pack").manifest.tasks["mood"].ngrams is None


def test_a_declaration_with_ngrams_for_spans_is_refused(home):
    (home / "pack.yaml").write_text(DECLARATION.replace("column: places}]", "column: places}]\n    ngrams: 3", 1))
    assert "tasks.place.ngrams: token-classification reads no n-grams" in told_by(invoke("train", "pack.yaml"))


def test_a_damaged_file_is_told(trained):
    assert invoke("ngrams", "run/pack", "team", "--out", "own").exit_code == 0
    (trained / "own/ngrams/team.safetensors").write_bytes(b"nothing")
    with pytest.raises(UmbelError, match=r"ngrams/team\.safetensors: found SHA-256"):
        umbel.load("own")


def test_teaching_anew_drops_them_and_corrections_see_them(trained):
    assert invoke("ngrams", "run/pack", "team", "--out", "own").exit_code == 0
    model = umbel.load("own", precision="float32")
    entry = model.pack.manifest.tasks["team"]
    moved = correct(model, "team", entry, [Row("good zorro to Paris", "red")])  # n-grams say so already
    np.testing.assert_allclose(moved["weight"], model.pack.head("team")["weight"], atol=0.2)
    few = "".join(
        json.dumps({"text": f"good {name} to", "label": team}) + "\n" for team in NAMES for name in NAMES[team]
    )
    (trained / "few.jsonl").write_text(few * 4)
    done = invoke("teach", "own", "team", "--file", "few.jsonl", "--out", "taught")
    assert done.exit_code == 0, done.output
    assert read_pack("taught").manifest.tasks["team"].ngrams is None
    assert not list((trained / "taught").glob("ngrams/*"))


def test_a_task_that_is_detached_learns_them_anew(home):
    (home / "pack.yaml").write_text(DECLARATION.replace("column: team}]", "column: team}]\n    ngrams: 3", 1))
    assert invoke("train", "pack.yaml", "--out", "run").exit_code == 0
    done = invoke("detach", "run/pack", "team", "--from-layer", 1, "--out", "own", "--anyway")
    assert done.exit_code == 0, done.output
    pack = read_pack("own")
    pack.verify()
    assert pack.manifest.tasks["team"].ngrams
    assert pack.manifest.tasks["team"].scores["score"] == 100
    assert umbel.load("own")("good zelda to Paris")["team"].label == "red"


def test_tasks_alone_read_what_they_declare(home):
    (home / "pack.yaml").write_text(DECLARATION.replace("column: team}]", "column: team}]\n    ngrams: 3", 1))
    done = invoke("train", "pack.yaml", "--sharing", "none", "--out", "run")
    assert done.exit_code == 0, done.output
    pack = read_pack("run/pack")
    assert [name for name, entry in pack.manifest.tasks.items() if entry.ngrams] == ["team"]
    assert umbel.load("run/pack")("bad quix to Paris")["team"].label == "blue"


def test_the_experiment_tries_what_the_command_would_do(trained, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "DECLARATION", trained / "pack.yaml")
    monkeypatch.setattr(experiment, "FIGURES", trained / "figures.json")
    monkeypatch.setattr(experiment.sys, "argv", ["ngrams.py", "--pack", "run/pack", "--longest", "2"])
    experiment.main()
    kept = json.loads((trained / "figures.json").read_text())
    assert list(kept) == ["team", "mood"]
    found = kept["team"]["2, 0.05"]
    assert (found["train"], found["dev"], found["alone"], found["score"]) == (160, 80, 100, 100)
    assert found["without"] < 100
    assert "team" in capsys.readouterr().out
