"""`umbel quantise`: a pack's encoder runs in 8 bits, every task is scored without and with it, and all else stays."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

import umbel
from umbel import compile as compiling
from umbel import quantising
from umbel.card import card_of
from umbel.catalogue import load_backbone
from umbel.cli import app
from umbel.errors import PackError
from umbel.manifest import WITH_ROUNDINGS
from umbel.pack import ROUNDINGS, read_pack

DECLARATION = """
pack: tiny
backbone: tiny
tasks:
  mood:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  vector:
    kind: feature-extraction
train: {sharing: full, epochs: 4, batch-rows: 8, learning-rate: 3.0e-3, precision: float32}
"""
WORDS = ("good", "bad", "Paris", "to", "这")
TEXTS = ["good to Paris", "这 bad", "to Paris good " * 40, "bad bad good"]


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def told_by(done):
    return " ".join(done.output.split())


def row(words):
    return {"text": " ".join(words), "mood": "good" if words.count("good") > words.count("bad") else "bad"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("quantise")
    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(1)
        patch.chdir(home)
        patch.setenv("UMBEL_CACHE", str(home / "cache"))
        write_tiny_backbone(home / "tiny")
        rows = [row(words) for words in itertools.product(WORDS, repeat=4)]
        for split, some in (("train", rows[::2]), ("dev", rows[1::8])):
            (home / f"{split}.jsonl").write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in some))
        (home / "pack.yaml").write_text(DECLARATION)
        done = invoke("train", "pack.yaml", "--out", "run")
        assert done.exit_code == 0, done.output
        done = invoke("quantise", "run/pack", "--out", "own", "--version", "1.2.3")
        assert done.exit_code == 0, done.output
        yield home, told_by(done)


@pytest.fixture
def own(trained, tmp_path):
    """A copy of the quantised pack, to be damaged."""
    return shutil.copytree("own", tmp_path / "own")


def test_every_task_is_scored_without_and_with_it_and_all_else_stays(trained):
    _, told = trained
    before, after = read_pack("run/pack"), read_pack("own")
    after.verify()
    assert "rows a second" in told
    assert "the pack is in own; its other files are as they were" in told
    entry = after.manifest.roundings
    assert (after.manifest.version, after.manifest.format) == ("1.2.3", WITH_ROUNDINGS)
    assert f"mood {entry.scores['mood'][0]:.2f} {entry.scores['mood'][1]:.2f}" in told
    assert 0.97 < entry.cosines[0] <= entry.cosines[1] <= 1
    scores = {name: task.scores for name, task in after.manifest.tasks.items()}
    assert scores["mood"]["score"] == pytest.approx(entry.scores["mood"][1], abs=0.01)
    changed = before.manifest.model_copy(update={"tasks": {}, "roundings": entry, "version": "1.2.3", "format": 12})
    assert changed == after.manifest.model_copy(update={"tasks": {}})
    for name, task in before.manifest.tasks.items():
        assert task.model_copy(update={"scores": scores[name]}) == after.manifest.tasks[name]
    for path in sorted(before.folder.rglob("*.safetensors")):
        assert path.read_bytes() == (after.folder / path.relative_to(before.folder)).read_bytes()
    card = (after.folder / "CARD.md").read_text()
    assert card == card_of(after.manifest)
    assert "## In 8 bits" in card


def test_answers_are_those_of_the_pack_as_far_as_numbers_tell(trained):
    plain, rounded = umbel.load("own", precision="float32"), umbel.load("own", precision="int8")
    assert (plain.engine.precision, rounded.engine.precision) == ("float32", "int8")
    for one, other in zip(plain(TEXTS), rounded(TEXTS), strict=True):
        assert one["mood"].label == other["mood"].label
        assert one["mood"].probability == pytest.approx(other["mood"].probability, abs=0.2)
        first, second = one["vector"].vector, other["vector"].vector
        assert first @ second / np.linalg.norm(first) / np.linalg.norm(second) > 0.98
    assert any(
        not np.array_equal(a["vector"].vector, b["vector"].vector)
        for a, b in zip(plain(TEXTS), rounded(TEXTS), strict=True)
    )
    before = umbel.load("run/pack", precision="float32")
    for one, other in zip(plain(TEXTS), before(TEXTS), strict=True):
        assert np.array_equal(one["vector"].vector, other["vector"].vector)


@pytest.mark.parametrize("able", [True, False])
def test_auto_runs_it_where_the_processor_multiplies_bytes(trained, able, monkeypatch):
    monkeypatch.setattr(compiling, "multiplies_bytes", lambda: able)
    assert (umbel.load("own").engine.precision == "int8") == able
    assert umbel.load("run/pack").engine.precision != "int8"
    assert umbel.load("own", precision="float32").engine.precision == "float32"


def test_a_pack_that_was_not_fitted_is_told_so(trained):
    with pytest.raises(PackError, match="how its maps are done in 8 bits was not fitted") as caught:
        umbel.load("run/pack", precision="int8")
    assert "umbel quantise" in caught.value.hint


def test_what_loses_too_much_is_not_written(trained, monkeypatch):
    monkeypatch.setattr(quantising, "MOST_LOST", -1000.0)
    monkeypatch.setattr(quantising, "FEW_LOST", -1000.0)
    done = invoke("quantise", "run/pack", "--out", "lost", "--limit", 10)
    assert done.exit_code == 0, done.output
    assert "nothing was written, for mood lost too much" in told_by(done)
    with pytest.raises(PackError):
        read_pack("lost")
    assert invoke("quantise", "run/pack", "--out", "lost", "--limit", 10, "--anyway").exit_code == 0
    assert read_pack("lost").manifest.tasks == read_pack("run/pack").manifest.tasks  # scored on some rows only


@pytest.mark.parametrize(("rows", "most"), [(10, 20.0), (24, 200 / 24), (200, 1.0), (5000, 1.0)])
def test_of_few_rows_two_may_be_lost(rows, most):
    assert quantising._most_lost(rows) == pytest.approx(most)


def test_in_place_and_again(trained, own):
    done = invoke("quantise", own, "--data", "pack.yaml")
    assert done.exit_code == 0, done.output
    again = read_pack(own)
    assert again.manifest.roundings == read_pack("own").manifest.roundings  # the same texts give the same bytes
    assert not list(own.parent.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base"], "base comes with Umbel and stays as it is"),
        (["run/pack", "--version", "one"], "--version: found 'one'"),
        (["nowhere"], "no shipped pack and no folder"),
        (["run/pack", "--data", "few.yaml"], "found 3 train texts, expected 50 or more"),
    ],
)
def test_what_cannot_be_quantised_is_told(trained, arguments, said):
    home, _ = trained
    few = [json.dumps(row(words)) + "\n" for words in (["good", "to"], ["bad", "to"], ["good", "Paris"])]
    (home / "few.jsonl").write_text("".join(few))
    (home / "few.yaml").write_text(DECLARATION.replace("train.jsonl", "few.jsonl"))
    done = invoke("quantise", *arguments)
    assert done.exit_code == 1
    assert said in told_by(done)


def test_a_damaged_file_and_one_of_another_backbone_are_refused(trained, own, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))  # where nothing is compiled yet
    (own / ROUNDINGS).write_bytes((own / ROUNDINGS).read_bytes()[:-7])
    with pytest.raises(PackError, match="SHA-256"):
        umbel.load(own, precision="int8")
    umbel.load(own, precision="float32")
    tensors = load_file("own/roundings.safetensors")
    for damaged, said in (
        ({name: each for name, each in tensors.items() if not name.startswith("encoder.layer.1")}, "of other maps"),
        ({name.replace("scale", "scales"): each for name, each in tensors.items()}, "not the roundings"),
    ):
        save_file(damaged, own / ROUNDINGS)
        entry = compiling.hashlib.sha256((own / ROUNDINGS).read_bytes()).hexdigest()
        manifest = json.loads((own / "manifest.json").read_text())
        manifest["roundings"]["sha256"] = entry
        (own / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(PackError, match=said):
            umbel.load(own, precision="int8")


def test_texts_that_are_made_up_are_of_known_tokens_between_special_ones(trained):
    windows = [found[0] for found in load_backbone("tiny").tokenizer.windows_many(["good to Paris", "bad"])]
    found = quantising.made_up(windows, 30, vocabulary=9)
    assert len(found) == 30
    assert quantising.made_up(windows, -1, vocabulary=9) == []
    for number, window in enumerate(found):
        assert (window.ids[0], window.ids[-1]) == (windows[0].ids[0], windows[0].ids[-1])
        inner = window.ids[1:-1]
        assert set(inner.tolist()) <= (set(range(9)) if number % 3 else {4, 7, 6, 5})
        assert quantising.MADE_UP[0] <= len(inner) < quantising.MADE_UP[1]
    assert [each.ids.tolist() for each in quantising.made_up(windows, 30, vocabulary=9)] == [
        e.ids.tolist() for e in found
    ]
