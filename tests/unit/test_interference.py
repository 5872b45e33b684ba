"""A study on a tiny backbone: like against like, kept and resumed, figures that follow from its trainings."""

import json
from dataclasses import replace

import pytest
import torch
from test_train import TASKS, data_of, declared
from tiny_pack import write_tiny_backbone

from umbel import interference
from umbel.affinity import Prober, cosines, gradient, lookahead, shared_groups
from umbel.catalogue import load_backbone
from umbel.effects import Effects, _agreement
from umbel.errors import InputError
from umbel.frozen import HiddenStates
from umbel.interference import Run, Study, design_of
from umbel.subsets import Budget, rows_of
from umbel.train import Trainer

BUDGET = Budget(rows=24, drawn=48, step_rows=8, dev_rows=12)
NAMES = list(TASKS)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("study") / "backbone"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rows():
    return rows_of(declared(), data_of(96))


def study_of(rows, backbone, folder, cheap=True):
    return Study(rows, backbone, folder, BUDGET, HiddenStates(backbone) if cheap else None)


def test_a_task_gets_the_same_rows_in_as_many_steps_alone_and_together(rows, backbone, tmp_path):
    seen = {}
    for names in (NAMES, ["place"]):
        spec, data = rows.of(names, BUDGET, 1)
        trainer = Trainer(spec, data, backbone, tmp_path, interference.Quiet())
        batches = [b for n in range(trainer.plan.rounds) for b in trainer.plan.batches(n)]
        drawn = [row for batch in batches for row in batch if row[0] == "place"]
        seen[len(names)] = sorted({data.train["place"][index].text for _, index in drawn}), len(drawn), len(batches)
        assert {frozenset(e.golds) for e in data.train["place"]} == {frozenset(["place"])}
    assert seen[1][:2] == seen[3][:2]
    assert seen[1][1] == BUDGET.drawn
    assert abs(seen[1][2] - seen[3][2]) <= 2


def test_fewer_rows_are_drawn_more_often(rows):
    _, data = rows.of(["place"], BUDGET, 1, {"place": 6})
    spec, _ = rows.of(["place"], BUDGET, 1, {"place": 6})
    assert len(data.train["place"]) == 6
    assert spec.train.epochs * 6 == pytest.approx(BUDGET.drawn)


def test_a_study_is_kept_and_goes_on(rows, backbone, tmp_path, monkeypatch):
    design = design_of(NAMES, seeds=2, pairs=1, sizes=[6])
    study = study_of(rows, backbone, tmp_path)
    study.prepare(design.tasks)
    told = []
    assert not study.run(design, lambda done, total: told.append((done, total)), seconds=0)
    assert study.run(design, lambda done, total: told.append((done, total)))
    runs = list(design.runs())
    assert study.finished.keys() == {run.key for run in runs}
    assert len(runs) == 2 * (1 + 3) + 2 * 1 + 2 * (1 + 3)
    assert told[-1][0] == told[-1][1] == sum(BUDGET.drawn * len(run.tasks) for run in runs)
    again = study_of(rows, backbone, tmp_path)
    monkeypatch.setattr(again, "train", lambda *_: pytest.fail("trained again"))
    assert again.run(design)
    assert again.finished == study.finished
    more = design_of(NAMES, seeds=2, pairs=2, sizes=[6])
    assert set(design.pairs) < set(more.pairs)
    found = Effects(design, again.finished, rows.tasks).figures()
    check_figures(json.loads(json.dumps(found)), again)


def check_figures(found, study):
    for task, each in found["tasks"].items():
        changes = [
            study.finished[f"{'+'.join(NAMES)} seed {s}"].scores[task] - study.finished[f"{task} seed {s}"].scores[task]
            for s in (1, 2)
        ]
        assert each["change"][0] == pytest.approx(sum(changes) / 2, abs=1e-3)
        assert each["change"][1] <= each["change"][0] <= each["change"][2]
    mean = sum(each["change"][0] for each in found["tasks"].values()) / len(NAMES)
    assert found["mean_change"][0] == pytest.approx(mean, abs=1e-3)
    worst = min(found["tasks"], key=lambda task: found["tasks"][task]["change"][0])
    assert found["worst_change"]["task"] == worst
    assert {(p["from"], p["to"]) for p in found["pairs"]} == {(p["to"], p["from"]) for p in found["pairs"]}
    assert found["sizes"][0]["rows"] == 6
    assert set(found["conflict"][0]["groups"]) == {"adapter block 1", "adapter block 2"}
    assert found["drift"][-1]["mean"] > found["drift"][0]["mean"] >= 0
    assert found["agreement"]["lookahead"] is None  # two values rank nothing


def test_another_budget_or_mode_is_refused(rows, backbone, tmp_path):
    study = study_of(rows, backbone, tmp_path)
    study.finished["x"] = interference.Finished({}, 0, 0)
    study.keep()
    with pytest.raises(InputError, match="another declaration, budget or mode"):
        study_of(rows, backbone, tmp_path, cheap=False)
    with pytest.raises(InputError, match="another declaration, budget or mode"):
        Study(rows, backbone, tmp_path, replace(BUDGET, drawn=24), HiddenStates(backbone))
    (tmp_path / interference.STATE).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        study_of(rows, backbone, tmp_path)


def test_the_full_mode_tunes_the_backbone(rows, backbone, tmp_path):
    study = study_of(rows, backbone, tmp_path, cheap=False)
    found = study.train(Run(tuple(NAMES), 1, probed=True), lambda rows: None)
    assert found.scores.keys() == set(NAMES)
    groups = set(found.probes[0]["cosine"])
    assert groups == {"embeddings", "layer 1", "layer 2"}
    assert not (tmp_path / interference.NOW).exists()


def test_one_task_shares_nothing():
    with pytest.raises(InputError, match="expected two at least"):
        design_of(["one"], 3)


def test_all_pairs_of_a_small_pack_and_some_of_a_large_one():
    assert len(design_of([f"t{n}" for n in range(8)], 1).pairs) == 28
    assert len(design_of([f"t{n}" for n in range(9)], 1).pairs) == interference.SAMPLED_PAIRS


@pytest.fixture
def trainer(rows, backbone, tmp_path):
    spec, data = rows.of(NAMES, BUDGET, 1)
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"dropout": 0.0})})
    return Trainer(spec, data, backbone, tmp_path, interference.Quiet())


def test_gradients_are_torchs_and_their_cosines_plain(trainer):
    items = {name: trainer.items[name][:4] for name in NAMES}
    groups = shared_groups(trainer.model.encoder)
    found = {name: gradient(trainer, each, groups) for name, each in items.items()}
    trainer._loss(items["place"]).backward()
    for group, members in groups.items():
        wanted = torch.cat([torch.zeros_like(m).flatten() if m.grad is None else m.grad.flatten() for m in members])
        assert torch.allclose(found["place"][group], wanted, atol=1e-6)
    flat = [torch.cat(list(each.values())) for each in found.values()]
    assert cosines(flat)[0, 1] == pytest.approx(float(torch.cosine_similarity(flat[0], flat[1], 0)), abs=1e-5)


def test_a_step_for_a_task_helps_it_and_leaves_the_weights_as_they_were(trainer):
    items = {name: trainer.items[name][:8] for name in NAMES}
    groups = shared_groups(trainer.model.encoder)
    trainer.optimizer.param_groups[0]["lr"] = 1e-4
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    matrix = lookahead(trainer, items, {n: gradient(trainer, i, groups) for n, i in items.items()}, groups)
    assert all(matrix[place, place] > 0 for place in range(3))
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_a_probe_changes_nothing_of_a_training(rows, backbone, tmp_path):
    ends = []
    for probed in (True, False):
        prober = Prober(tmp_path / f"{probed}.json", rows=4) if probed else None
        spec, data = rows.of(NAMES, BUDGET, 1)
        made = Trainer(spec, data, backbone, tmp_path / str(probed), interference.Quiet(prober=prober))
        if prober:
            prober.watch(made)
        ends.append((made.run().state_dict(), made.progress.losses))
        if prober:
            assert len(prober.found) >= 3
            assert Prober(tmp_path / "True.json").found.keys() == prober.found.keys()
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])
    assert ends[0][1] == ends[1][1]


def test_agreement_ranks_estimates_against_exact_values():
    import numpy as np

    from umbel.intervals import over_seeds

    tasks = ["a", "b", "c"]
    matrix = np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]], float)
    pairs = [
        {"from": tasks[i], "to": tasks[j], "change": over_seeds([matrix[i, j] ** 3])}
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    assert _agreement(matrix, tasks, pairs)["rank_correlation"].value == pytest.approx(1)
    assert _agreement(-matrix, tasks, pairs)["rank_correlation"].value == pytest.approx(-1)
