"""`start:` of a declaration: a training begins where a pack ended, keeps what is the same, and refuses what is not."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

from umbel.adapters import full_difference, merge
from umbel.catalogue import load_backbone
from umbel.cli import app
from umbel.continuing import begin_with
from umbel.manifest import ForkFile
from umbel.model import MultiTaskModel
from umbel.pack import read_pack
from umbel.packing import write_tasks
from umbel.spec import load_spec
from umbel.train import _encoder

FIRST = """
pack: tiny
backbone: tiny
tasks:
  mood: {kind: text-classification, metric: accuracy, data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]}
train: {epochs: 8, batch-rows: 8, learning-rate: 3.0e-3, head-learning-rate: 1.0e-2, precision: float32}
"""
SECOND = """
  size: {kind: text-classification, metric: accuracy, data: [{train: train.jsonl, dev: dev.jsonl, column: size}]}
train: {start: START, epochs: 0.05, learning-rate: 1.0e-9, head-learning-rate: 1.0e-9, precision: float32}
"""


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def home(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_backbone(tmp_path / "tiny")
    rows = [
        {"text": f"{mood} to Paris{' to bad' * size}", "mood": mood, "size": ("short", "long")[size]}
        for mood in ("good", "bad")
        for size in (0, 1)
    ]
    for split, times in (("train", 20), ("dev", 2)):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * times))
    (tmp_path / "first.yaml").write_text(FIRST)
    done = invoke("train", "first.yaml", "--out", "run")
    assert done.exit_code == 0, done.output
    return tmp_path


def second(start):
    return FIRST[: FIRST.index("train: {")] + SECOND.lstrip("\n").replace("START", start)


def test_it_begins_where_the_pack_ended_and_says_what_is_new(home):
    (home / "second.yaml").write_text(second("run/pack"))
    done = invoke("train", "second.yaml", "--out", "on")
    assert done.exit_code == 0, done.output
    assert "beginning with tiny 0.1.0; heads begin anew for size" in done.output
    before, after = read_pack("run/pack"), read_pack("on/pack")
    np.testing.assert_allclose(after.head("mood")["weight"], before.head("mood")["weight"], atol=1e-6)
    tensors = load_backbone("tiny").tensors
    stored = [merge(tensors, pack.adapter()) for pack in (before, after)]
    for name in tensors:
        np.testing.assert_allclose(stored[1][name], stored[0][name], atol=2e-4, err_msg=name)
    assert any(np.abs(stored[0][name] - tensors[name]).max() > 1e-2 for name in tensors)  # there was something to keep
    assert after.manifest.tasks["mood"].scores["score"] == before.manifest.tasks["mood"].scores["score"] == 100.0
    assert after.manifest.training["began"] == {"pack": "tiny", "version": "0.1.0"}
    assert "run/pack" not in after.manifest.model_dump_json()


def test_started_again_it_goes_on_from_its_own_state(home):
    (home / "second.yaml").write_text(second("run/pack").replace("1.0e-9", "1.0e-3"))
    assert invoke("train", "second.yaml", "--out", "on").exit_code == 0
    once = read_pack("on/pack").head("mood")["weight"]
    assert invoke("train", "second.yaml", "--out", "on").exit_code == 0  # done already: the state is the end's
    np.testing.assert_array_equal(read_pack("on/pack").head("mood")["weight"], once)


@pytest.mark.parametrize("fold", [0.0, 0.5, 1.0])
def test_a_share_of_what_tasks_have_of_their_own_is_folded_into_the_encoder(home, fold):
    backbone, pack = load_backbone("tiny"), read_pack("run/pack")
    name, rng = "encoder.layer.0.output.dense.weight", np.random.default_rng(1)
    outputs, inputs = backbone.tensors[name].shape
    change = {f"{name}.a": rng.normal(size=(2, inputs)), f"{name}.b": rng.normal(size=(outputs, 2))}
    own = {key: value.astype(np.float16) for key, value in change.items()}
    entry = pack.manifest.tasks["mood"].model_copy(update={"fork": ForkFile(file="", sha256="", kind="lora", layer=0)})
    forked = write_tasks(pack, home / "forked", {"mood": entry}, {"mood": pack.head("mood")}, own)
    encoder = _encoder(backbone, load_spec(home / "first.yaml").train)
    begin_with(forked, MultiTaskModel(encoder, pack.tasks, 0), backbone, fold)
    shared = merge(backbone.tensors, pack.adapter())
    for each, value in encoder.named_parameters():
        if each in shared:
            moved = fold * (own[f"{name}.b"].astype(np.float32) @ own[f"{name}.a"]) if each == name else 0
            np.testing.assert_allclose(value.detach().numpy(), shared[each] + moved, atol=1e-4, err_msg=each)


@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_layers_that_were_trained_anew_are_left_out_with_their_heads(home, count, anew):
    backbone, pack = load_backbone("tiny"), read_pack("run/pack")
    tensors = merge(backbone.tensors, pack.adapter())
    other = full_difference(tensors, {name: value + 1 for name, value in tensors.items()})
    takers = sorted(name for name, entry in pack.manifest.tasks.items() if entry.head)[:count]
    fork = ForkFile(file="", sha256="", kind="full", layer=0, anew=anew)
    entries = {name: pack.manifest.tasks[name].model_copy(update={"fork": fork}) for name in takers}
    heads = {name: pack.head(name) for name in takers}
    layers = {name: value for name, value in other.items() if name.startswith("encoder.layer.")}
    forked = write_tasks(pack, home / f"with-{count}-{anew}", entries, heads, layers)
    encoder = _encoder(backbone, load_spec(home / "first.yaml").train)
    begun = begin_with(forked, MultiTaskModel(encoder, pack.tasks, 0), backbone, 0.5)
    assert set(begun) == (set(takers) if anew else set())
    name = "encoder.layer.0.output.dense.weight"
    moved = encoder.get_parameter(name).detach().numpy() - tensors[name]
    np.testing.assert_allclose(moved, 0 if anew else 0.5, atol=0.01)


def test_at_the_end_weights_are_averaged_with_those_of_a_pack(home):
    longer = second("run/pack").replace("1.0e-9", "5.0e-2").replace("epochs: 0.05", "epochs: 3")
    (home / "second.yaml").write_text(longer)
    assert invoke("train", "second.yaml", "--out", "on").exit_code == 0
    (home / "second.yaml").write_text(longer.replace("start: run/pack", "start: run/pack, average-with: run/pack"))
    for _ in range(2):  # the state is the end's: averaged once more it gives the same
        done = invoke("train", "second.yaml", "--out", "on")
        assert done.exit_code == 0, done.output
        assert "averaged with tiny 0.1.0; heads as they were trained for size" in done.output
        tensors = load_backbone("tiny").tensors
        before, mean = (merge(tensors, read_pack(name).adapter()) for name in ("run/pack", "on/pack"))
        ends = load_file(home / "on/checkpoint.safetensors")
        trained = {name: ends[f"model/encoder.{name}"] for name in before if f"model/encoder.{name}" in ends}
        for name, end in trained.items():
            np.testing.assert_allclose(mean[name], (before[name] + end) / 2, atol=0.01, err_msg=name)
        assert max(np.abs(end - before[name]).max() for name, end in trained.items()) > 0.05
        weight = "model/heads.mood.weight"
        half = (read_pack("run/pack").head("mood")["weight"] + ends[weight]) / 2
        np.testing.assert_allclose(read_pack("on/pack").head("mood")["weight"], half, atol=1e-6)
        np.testing.assert_array_equal(read_pack("on/pack").head("size")["weight"], ends["model/heads.size.weight"])
        assert np.abs(half - ends[weight]).max() > 0.01
    training = read_pack("on/pack").manifest.training
    assert training["averaged"] == {"pack": "tiny", "version": "0.1.0"}
    assert "run/pack" not in read_pack("on/pack").manifest.model_dump_json()


def test_other_labels_begin_anew(home):
    backbone, pack = load_backbone("tiny"), read_pack("run/pack")
    task = pack.tasks["mood"]
    encoder = _encoder(backbone, load_spec(home / "first.yaml").train)
    for changed, anew in ((task, []), (replace(task, labels=("bad", "good", "so")), ["mood"])):
        assert begin_with(pack, MultiTaskModel(encoder, {"mood": changed}, 0), backbone, 0.5) == anew


def test_another_backbone_is_refused(home):
    (home / "other").mkdir()
    for file in (home / "tiny").iterdir():
        (home / "other" / file.name).write_bytes(file.read_bytes())
    weights = next((home / "other").glob("*.safetensors"))
    tensors = load_file(weights)
    save_file({name: value * 2 for name, value in tensors.items()}, weights)
    for key in ("start", "average-with"):
        declared = second("run/pack").replace("backbone: tiny", "backbone: other").replace("start: run", f"{key}: run")
        (home / "second.yaml").write_text(declared)
        done = invoke("train", "second.yaml", "--out", "on")
        assert done.exit_code == 1
        assert f"{key}: run/pack begins from the backbone tiny, this training from other" in done.output
        assert not (home / "on/checkpoint.safetensors").exists()  # told before the first step


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("START", "nowhere"), "'nowhere' is no shipped pack and no folder"),
        (
            ("start: START", "fold: 0.3"),
            "train.fold: is a share of what a pack's tasks have of their own; name the pack",
        ),
        (("START", "run/pack, average-with: nowhere"), "'nowhere' is no shipped pack and no folder"),
        (
            ("start: START", "average-with: run/pack, sharing: heads"),
            "train.average-with: goes with `sharing: full` alone, found 'heads'",
        ),
        (("START", "run/pack, sharing: adapter"), "train.start: goes with `sharing: full` alone, found 'adapter'"),
    ],
)
def test_faults_are_told(home, change, told):
    (home / "second.yaml").write_text(second("START").replace(*change))
    done = invoke("train", "second.yaml", "--out", "on")
    assert done.exit_code == 1
    assert told in " ".join(done.output.split())
