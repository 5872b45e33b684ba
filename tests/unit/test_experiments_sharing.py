"""The scripts that compare ways of combining, spoil data, and count differences: small runs and their parts."""

import importlib.util
import json
import random
from pathlib import Path

import combining
import numpy as np
import pytest
import robustness
import torch
import weights
from test_detach import DECLARATION
from tiny_pack import write_tiny_backbone

from umbel.errors import InputError
from umbel.records import Example, LabelPrediction, Task

BENCH = Path(__file__).parents[2] / "bench" / "independence.py"


def span(start, label):
    return {"start": start, "end": start + 5, "label": label}


@pytest.fixture
def home(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_backbone(tmp_path / "tiny")
    rows = [
        {"text": f"{mood} to Paris {n}", "mood": mood, "places": [span(len(mood) + 4, label)]}
        for n in range(20)
        for mood, label in (("good", "place"), ("bad", "spot"))
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    for script in (combining, robustness):
        monkeypatch.setattr(script, "FIGURES", tmp_path / f"{script.__name__}.json")
    return tmp_path


def test_ways_are_compared_against_alone_and_kept(home, capsys, monkeypatch):
    arguments = ["pack.yaml", "--out", "runs", "--rows", "12", "--seeds", "2", "--ways", "sum,fixed,dwa,nash-mtl"]
    combining.main([*arguments, "--keep"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads(combining.FIGURES.read_text())
    assert found["ways"].keys() == {"sum", "fixed", "dwa", "nash-mtl"}
    for each in found["ways"].values():
        assert each["mean_change"][0] == pytest.approx(sum(each["changes"].values()) / 2, abs=0.01)
        assert each["worst_change"]["change"] == min(each["changes"].values())
        assert each["ms_a_step"] > 0
    monkeypatch.setattr(combining, "train_joint", lambda *_: pytest.fail("trained again"))
    combining.main(arguments)
    with pytest.raises(InputError, match="did you mean 'upgrad'"):
        combining.main(["pack.yaml", "--ways", "upgard"])


def test_spoilt_data_leaves_a_sealed_pack_as_it_was(home, capsys):
    arguments = [
        "pack.yaml",
        "--out",
        "runs",
        "--rows",
        "24",
        "--seeds",
        "2",
        "--tasks",
        "mood,place",
        "--spoilt",
        "mood",
    ]
    robustness.main([*arguments, "--spoilt", "mood", "--keep"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["found"]
    assert found.keys() == {"mood, 10 % wrong", "mood, 30 % wrong", "mood, 50 rows"}
    assert all(each["sealed_difference"] == 0 for each in found.values())
    assert all(each["worst"]["task"] == "place" for each in found.values())
    assert json.loads(robustness.FIGURES.read_text())["found"] == found


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_so_many_labels_are_wrong(share):
    task = Task("t", "text-classification", ("a", "b", "c"))
    rows = [Example(f"text {n}", {"t": "abc"[n % 3]}, f"f:{n}", "en") for n in range(600)]
    found = robustness.mislabelled(task, rows, share, 1)
    wrong = sum(one.golds != other.golds for one, other in zip(rows, found, strict=True))
    assert wrong / 600 == pytest.approx(share, abs=0.05)
    spans = Task("t", "token-classification", ("x", "y"))
    rows = [Example("text", {"t": ((0, 2, "x"), (2, 4, "y"))}, "f:1", "en")] * 50
    changed = robustness.mislabelled(spans, rows, 1.0, 1)
    assert all(row.golds["t"] == ((0, 2, "y"), (2, 4, "x")) for row in changed)


def test_weights_are_compared_where_all_layers_train(home, capsys, monkeypatch):
    arguments = ["pack.yaml", "--rows", "40", "--seeds", "1"]
    weights.main(arguments)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() == set(weights.WAYS)
    kept = json.loads((home / "runs/weights/sum-1.json").read_text())
    assert found["sum"] == [pytest.approx(sum(kept["scores"].values()) / 2, abs=0.01)]
    spec = weights.load_spec("pack.yaml")
    names = [task.name for task in spec.tasks]
    changed = weights.weighed(weights.declared(spec, names), dict(zip(names, (4.0, 1.0), strict=True)), 0.5)
    assert [task.weight for task in changed.tasks] == [pytest.approx(2 / 3), pytest.approx(4 / 3)]
    monkeypatch.setattr(weights, "trained", lambda *_: pytest.fail("trained again"))
    weights.main(arguments)
    with pytest.raises(InputError, match="name `sum` first"):
        weights.main(["pack.yaml", "--ways", "scaled"])


@pytest.fixture(scope="module")
def independence():
    spec = importlib.util.spec_from_file_location("independence", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_differences_are_counted(independence):
    def answer(p):
        return [{"t": LabelPrediction("a", p, {"a": p, "b": 1 - p})}]

    assert independence.difference(answer(0.7), answer(0.7), ["t"]) == 0
    assert independence.difference(answer(0.7), answer(0.6), ["t"]) == pytest.approx(0.1)


def test_no_case_differs_but_what_was_changed(independence, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    backbone = write_tiny_backbone(tmp_path / "tiny")
    found = independence.measure(str(backbone), 10, tmp_path, None)
    assert found.keys() == set(independence.ENGINES)
    rows = [row for changes in found.values() for row in changes.values()]
    assert len(rows) == 15
    assert all(row == {"cases": 2, "answers": 0.0, "bytes": 0} for row in rows)
    # The comparison can fail: a task that is trained again does differ, in bytes and in answers.
    pack = independence.base_pack(tmp_path / "other", independence.load_backbone(backbone), str(backbone))
    model = independence.umbel.load(pack.folder, precision="float32")
    cases = independence.Cases(independence.runtime(model), pack, 32, tmp_path)
    after, _ = cases._changed("retrain", "task-0", random.Random(1), 1)
    answers = [independence.runtime(model)(each)(["good to Paris"], ["task-0"]) for each in (pack, after)]
    assert independence.difference(*answers, ["task-0"]) > 0
    assert independence.bytes_apart(pack, after, ["task-0"]) > 0
    assert np.isfinite(independence.difference(answers[0], answers[0], ["task-0"]))
