"""Curves of a training in TensorBoard's own files, read back by its own reader."""

import json

import pytest
import torch
from test_detach import DECLARATION
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

from umbel.cli import app
from umbel.curves import writer_to
from umbel.errors import MissingExtraError


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_a_training_writes_losses_speed_and_dev_scores(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    write_tiny_backbone(tmp_path / "tiny")
    rows = [{"text": f"{mood} to Paris", "mood": mood, "places": []} for mood in ("good", "bad")] * 100
    rows[0]["places"] = [{"start": 8, "end": 13, "label": "place"}]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    done = CliRunner().invoke(app, ["train", "pack.yaml", "--out", "run", "--log-to", "curves"])
    assert done.exit_code == 0, done.output
    read = accumulator.EventAccumulator("curves")
    read.Reload()
    assert {"loss/mood", "loss/place", "speed", "dev/mood", "dev/place"} <= set(read.Tags()["scalars"])
    assert [event.step for event in read.Scalars("loss/mood")] == [10, 20]
    last = read.Scalars("dev/mood")[-1]
    assert 0 <= last.value <= 100


def test_a_missing_library_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"umbel\[curves\]"):
        writer_to(tmp_path)
