"""Ways of combining tasks in a training: each learns, resumes, and is the same in several processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_processes import checksum
from test_train import Silent, bits_of, data_of, trainer_of
from tiny_pack import write_tiny_backbone

from umbel import train
from umbel.catalogue import load_backbone
from umbel.combining import LEAST_LOSS, MEMORY, WINDOW, Combiner, _averaging, _famo, _scaled, _uncertainty
from umbel.processes import ALONE, Processes, joined

WAYS = ["scaled", "uncertainty", "dwa", "famo", "gradnorm", "pcgrad", "cagrad", "nash-mtl", "aligned-mtl", "upgrad"]
SETTINGS = {"epochs": 1.0, "batch_rows": 5, "dropout": 0.0, "evaluate_every": 1.0, "patience": 0}
SCRIPT = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[3])
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_combining import trained
ways = json.loads(sys.argv[4])
from umbel.processes import joined
with joined() as processes:
    print(json.dumps([trained(Path(sys.argv[1]), Path(sys.argv[2]) / way, way, processes) for way in ways]))
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("combining") / "backbone")


def sparse():
    """Most rows carry one task alone, so that many processes' shares lack some tasks."""
    data = data_of(30)
    for number, example in enumerate(data.train["b"]):
        data.train["b"][number] = type(example)(example.text, {"place": ()}, example.source, example.language)
    return data


def trained(backbone, folder, way, processes):
    trainer = trainer_of(load_backbone(backbone), folder, sparse(), Silent(), processes, combining=way, **SETTINGS)
    trainer.run()
    return checksum(trainer.model)


def launch(count, *arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *map(str, arguments)],
            env=os.environ | place | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    return [(process.communicate(timeout=500), process.returncode) for process in started]


def test_several_processes_combine_as_one(backbone, tmp_path):
    paths = json.dumps([str(Path(__file__).parent)])
    ended = launch(2, backbone, tmp_path / "two", paths, json.dumps(WAYS))
    assert [code for _, code in ended] == [0, 0], ended
    leader, other = (json.loads(output.splitlines()[-1]) for (output, _), _ in ended)
    for way, mine, theirs in zip(WAYS, leader, other, strict=True):
        assert mine == theirs, way
        if way != "pcgrad":  # which draws an order of its own
            alone = trained(backbone, tmp_path / "one" / way, way, ALONE)
            for name, value in alone.items():
                assert float.fromhex(mine[name]) == pytest.approx(float.fromhex(value), abs=0.05), (way, name)


def test_the_rows_of_that_training_leave_some_process_without_a_row_of_a_task(backbone, tmp_path):
    made = trainer_of(load_backbone(backbone), tmp_path, sparse(), Silent(), **SETTINGS)
    lacking = 0
    for number in range(made.plan.rounds):
        for batch in made.plan.batches(number):
            items = [made.items[source][index] for source, index in batch]
            shares = [{task for item in Processes(rank, 2).share(items) for task in item.golds} for rank in (0, 1)]
            lacking += shares[0] != shares[1]
    assert lacking > 1


@pytest.mark.parametrize("way", WAYS)
def test_easy_tasks_are_learnt_whatever_combines_them(backbone, tmp_path, way):
    reporter = Silent()
    made = trainer_of(load_backbone(backbone), tmp_path, reporter=reporter, epochs=8.0, combining=way)
    made.run()
    assert reporter.records[-1]["scores"]["sentiment"] > 90
    assert all(torch.isfinite(value).all() for value in made.model.state_dict().values())


@pytest.mark.parametrize("way", ["scaled", "uncertainty", "dwa", "famo", "gradnorm", "aligned-mtl"])
def test_a_broken_off_training_goes_on_with_its_weights(backbone, tmp_path, monkeypatch, way):
    whole = trainer_of(load_backbone(backbone), tmp_path / "whole", epochs=1.0, combining=way)
    expected = bits_of(whole.run())
    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    broken = trainer_of(load_backbone(backbone), tmp_path / "broken", epochs=1.0, combining=way)
    step = broken._step

    def limited(rows, fraction):
        if broken.progress.step == 6:
            raise KeyboardInterrupt
        step(rows, fraction)

    monkeypatch.setattr(broken, "_step", limited)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = trainer_of(load_backbone(backbone), tmp_path / "broken", epochs=1.0, combining=way)
    found = bits_of(resumed.run())
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_gradients_of_tasks_are_taken_on_the_shared_parameters_alone(backbone, tmp_path):
    made = trainer_of(load_backbone(backbone), tmp_path, combining="upgrad", dropout=0.0)
    combiner = made.combiner
    items = made.items["a"][:12]
    _, losses = made.losses(items)
    grads = combiner._gradients(losses, list(losses))
    assert grads.shape == (len(losses), sum(p.numel() for p in combiner.shared))
    plain = trainer_of(load_backbone(backbone), tmp_path / "plain", dropout=0.0)
    plain.model.load_state_dict(made.model.state_dict())
    (plain._loss(plain.items["a"][:12]) * 12).backward()
    trained = [p for p in plain.model.encoder.parameters() if p.requires_grad]
    summed = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in trained])
    assert torch.allclose(grads.sum(0), summed, atol=1e-5)
    for name, head in made.model.heads.items():
        assert torch.allclose(head.weight.grad, plain.model.heads[name].weight.grad, atol=1e-6)


def test_a_batch_without_any_task_is_combined_to_nothing():
    shared = torch.nn.Parameter(torch.ones(3))
    for way in WAYS:
        combiner = Combiner(way, ["a"], [shared], {"a": [torch.nn.Parameter(torch.ones(1))]}, [], ALONE)
        combiner.backward({}, {}, None, {})
        assert shared.grad is None or not shared.grad.any()


def test_losses_count_alike_when_they_are_scaled():
    state = {}
    first = _scaled(["big", "small"], {"big": 3.0, "small": 0.5}, state)
    assert first["big"] * 3.0 == pytest.approx(first["small"] * 0.5)
    assert sum(first.values()) == pytest.approx(2)
    for _ in range(5 * MEMORY):
        later = _scaled(["big"], {"big": 1.0}, state)
    assert later["big"] == pytest.approx(2 / 3, rel=0.02)  # small is as it was when it last came, and weighs 4 / 3
    done = _scaled(["big", "small"], {"big": 1.0, "small": 0.0}, {"means": {"small": [MEMORY, 0.0]}})
    assert done["small"] / done["big"] == pytest.approx(1 / LEAST_LOSS)


def test_a_declared_weight_counts_when_losses_are_scaled():
    found = {}
    for factor in (1.0, 3.0):
        shared, heads = torch.nn.Parameter(torch.ones(2)), {"a": [], "b": []}
        combiner = Combiner("scaled", ["a", "b"], [shared], heads, [], ALONE, {"a": factor, "b": 1.0})
        losses = {"a": factor * 4.0 * shared[0], "b": 0.5 * shared[1]}
        combiner.backward(losses, {"a": 1, "b": 1}, None, {})
        found[factor] = float(shared.grad[0] / shared.grad[1])
    assert found == {1.0: pytest.approx(1.0), 3.0: pytest.approx(3.0)}


def test_a_loss_that_is_larger_weighs_less_by_its_uncertainty():
    state = {}
    for _ in range(400):
        weights = _uncertainty(["big", "small"], {"big": 4.0, "small": 0.5}, state)
    assert weights["big"] == pytest.approx(1 / 4, rel=0.1)
    assert weights["small"] == pytest.approx(2, rel=0.1)


def test_a_task_that_learns_slowly_weighs_more_by_averaging():
    state = {}
    for step in range(2 * WINDOW + 1):
        weights = _averaging(["slow", "fast"], {"slow": 1.0, "fast": 1.0 if step < WINDOW else 0.2}, state)
    assert weights["slow"] > 1 > weights["fast"]
    assert sum(weights.values()) == pytest.approx(2)


def test_a_task_whose_loss_falls_fast_weighs_less_by_famo():
    state = {}
    for step in range(200):
        _famo(["slow", "fast"], {"slow": 1.0, "fast": 0.97**step}, state)
    assert state["logits"]["slow"] > state["logits"]["fast"]


def test_joined_alone_is_alone():
    with joined() as processes:
        assert processes is ALONE
        assert torch.equal(processes.sum(torch.ones(2)), torch.ones(2))
