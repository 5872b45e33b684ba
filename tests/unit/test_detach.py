"""`umbel detach` on a tiny trained pack: a task learns by its own layers, all else stays, a worse fork is not kept."""

import json
import re

import pytest
import torch
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

import umbel
from umbel.cli import app
from umbel.errors import UmbelError
from umbel.pack import read_pack

DECLARATION = """
pack: tiny
backbone: tiny
tasks:
  mood:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  place:
    kind: token-classification
    data: [{train: train.jsonl, dev: dev.jsonl, column: places}]
train: {sharing: heads, epochs: 1, batch-rows: 8, learning-rate: 3.0e-3, head-learning-rate: 1.0e-2, precision: float32}
"""


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def places_of(text):
    return [{"start": found.start(), "end": found.end(), "label": "place"} for found in re.finditer("Paris", text)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_backbone(tmp_path / "tiny")
    texts = ["good to bad", "bad to good", "to good Paris bad", "to bad Paris good"]
    moods = ["good", "bad", "good", "bad"]  # the word that comes first: positions must be read
    rows = [{"text": t, "mood": mood, "places": places_of(t)} for t, mood in zip(texts, moods, strict=True)]
    for split, times in (("train", 30), ("dev", 2)):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * times))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    assert invoke("train", "pack.yaml", "--out", "run").exit_code == 0
    return tmp_path


def test_a_task_gets_layers_of_its_own(home):
    done = invoke("detach", "run/pack", "mood", "--from-layer", 1, "--epochs", 12, "--out", "own")
    assert done.exit_code == 0, done.output
    assert "all else is as it was" in done.output
    before, after = read_pack("run/pack"), read_pack("own")
    assert before.forks == {}
    assert after.forks["mood"].layer == 1
    scores = after.manifest.tasks["mood"].scores
    assert scores["score"] > scores["together"] == before.manifest.tasks["mood"].scores["score"]
    assert (home / "run/pack/heads/place.safetensors").read_bytes() == (
        home / "own/heads/place.safetensors"
    ).read_bytes()
    texts = ["good to bad", "Paris to good"]
    models = [umbel.load(folder) for folder in ("run/pack", "own")]
    assert [r["place"] for r in models[0](texts)] == [r["place"] for r in models[1](texts)]
    parity = invoke("evaluate", "own", "--data", "pack.yaml", "--engine", "torch", "--json")
    assert json.loads(parity.stdout)["mood"]["score"] == pytest.approx(scores["score"])
    again = invoke("evaluate", "own", "--data", "pack.yaml", "--json")
    assert json.loads(again.stdout)["mood"]["score"] == pytest.approx(scores["score"])


def test_a_fork_that_is_no_better_is_not_kept_unless_wanted(home):
    one = ("detach", "run/pack", "place", "--from-layer", 1, "--epochs", 0.01)
    before = {path: path.read_bytes() for path in (home / "run/pack").rglob("*") if path.is_file()}
    done = invoke(*one)
    assert done.exit_code == 0, done.output
    scores = [float(score) for score in re.findall(r"f1 ([\d.]+) as it was, ([\d.]+) with", done.output)[0]]
    if scores[1] <= scores[0]:
        assert "nothing was written" in done.output
        assert {path: path.read_bytes() for path in (home / "run/pack").rglob("*") if path.is_file()} == before
    assert invoke(*one, "--anyway", "--out", "kept").exit_code == 0
    assert read_pack("kept").forks.keys() == {"place"}


def test_it_goes_on_over_the_same_pack_alone(home, monkeypatch):
    def broken(*given):
        raise UmbelError("broken off")

    def broken_off(*given):
        with monkeypatch.context() as patch:
            patch.setattr("umbel.detachment.prove", broken)
            assert "broken off" in invoke(*given).output

    one = ("detach", "run/pack", "place", "--from-layer", 1)
    state = home / "runs/tiny-detach/place-1/checkpoint.safetensors"
    broken_off(*one, "--epochs", 0.1)
    assert state.exists()
    other = invoke(*one, "--epochs", 2)
    assert other.exit_code == 1
    assert "start anew with --restart" in other.output
    assert invoke(*one, "--epochs", 2, "--restart", "--anyway", "--out", "own").exit_code == 0
    assert not state.exists()  # the pack is written

    broken_off(*one, "--epochs", 0.1)
    (home / "pack.yaml").write_text(DECLARATION.replace("epochs: 1,", "epochs: 1, seed: 7,"))
    assert invoke("train", "pack.yaml", "--out", "run", "--restart").exit_code == 0
    (home / "pack.yaml").write_text(DECLARATION)
    done = invoke(*one, "--epochs", 2, "--anyway", "--out", "own")  # another pack of that name: nothing to go on from
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run/pack", "moood"), "did you mean 'mood'"),
        (("run/pack", "mood", "--from-layer", 2), "expected 0 to 1"),
        (("base", "sentiment"), "stays as it is"),
    ],
)
def test_faults_are_told(home, arguments, told):
    if arguments[0] == "base":
        pytest.importorskip("umbel")
        from umbel.detachment import check_task
        from umbel.errors import InputError

        with pytest.raises(InputError, match=told):
            check_task(read_pack("base"), "base", "sentiment", None)
        return
    done = invoke("detach", *arguments)
    assert done.exit_code == 1
    assert told in done.output
