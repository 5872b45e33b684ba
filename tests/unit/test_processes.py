"""Several processes train to what one process trains to; the first alone writes and reports."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import Silent, data_of, trainer_of
from tiny_pack import write_tiny_backbone

from umbel.catalogue import load_backbone
from umbel.checkpoint import FILE
from umbel.processes import ALONE, Processes, joined

SETTINGS = {"epochs": 1.0, "batch_rows": 5, "dropout": 0.0, "evaluate_every": 0.3, "patience": 1}
SCRIPT = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[3])
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_processes import trained
rank = os.environ["RANK"]
print(json.dumps(trained(Path(sys.argv[1]), Path(sys.argv[2].replace("RANK", rank)))))
"""


def trained(backbone, folder):
    """Train in the processes that the environment names; return what this one saw."""
    reporter = Silent()
    with joined() as processes:
        data = data_of(30)
        for number, example in enumerate(data.train["b"]):  # most rows lack most tasks: many shares lack some
            data.train["b"][number] = type(example)(example.text, {"place": ()}, example.source, example.language)
        trainer = trainer_of(load_backbone(backbone), folder, data, reporter, processes, **SETTINGS)
        trainer.run()
    return {"records": reporter.records, "stopped": trainer.progress.stopped, "sum": checksum(trainer.model)}


def checksum(model):
    """Return every parameter's exact sum, to compare processes bit by bit."""
    return {name: float(value.detach().double().sum()).hex() for name, value in model.named_parameters()}


def launch(count, backbone, folder):
    """Start `count` processes as torchrun does, and return those that ended, in the order of ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    paths = json.dumps([str(Path(__file__).parent)])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(backbone), str(folder), paths],
            env=os.environ | place | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    return [(process.communicate(timeout=300), process.returncode) for process in started]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("processes") / "backbone")


def test_two_processes_train_to_what_one_trains_to(backbone, tmp_path):
    alone = trained(backbone, tmp_path / "one")
    ended = launch(2, backbone, tmp_path / "two")
    assert [code for _, code in ended] == [0, 0], ended
    leader, other = (json.loads(output.splitlines()[-1]) for (output, _), _ in ended)
    assert leader["sum"] == other["sum"]
    assert other["records"] == []
    assert [record["step"] for record in leader["records"]] == [record["step"] for record in alone["records"]]
    assert leader["stopped"] == other["stopped"] == alone["stopped"]
    one, two = (load_file(tmp_path / name / FILE) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        # A bias of keys shifts all scores alike: its gradient is nothing but rounding, which Adam blows up.
        if "key.bias" not in name:
            assert torch.allclose(value, two[name], rtol=0, atol=1e-5), name


def test_folders_that_are_not_shared_are_told(backbone, tmp_path):
    trained(backbone, tmp_path / "0")
    ended = launch(2, backbone, tmp_path / "RANK")
    assert ended[1][1] != 0
    assert "not the same folder in all processes" in ended[1][0][1]


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert processes is ALONE
        assert processes.leads
        assert processes.share([1, 2, 3]) == [1, 2, 3]
        assert processes.from_leader("x") == "x"
    assert not torch.distributed.is_initialized()


def test_shares_make_up_the_whole():
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert [len(share) for share in shares] == [3, 2, 2]
