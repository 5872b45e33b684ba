"""Curves of a training in TensorBoard's own files, read back by its own reader."""

import json

import pytest
import torch
from test_detach import DECLARATION
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

from umbel.cli import app
from umbel.curves import writer_to
from umbel.errors import InputError, MissingExtraError


@pytest.fixture
def home(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    write_tiny_backbone(tmp_path / "tiny")
    rows = [{"text": f"{mood} to Paris", "mood": mood, "places": []} for mood in ("good", "bad")] * 100
    rows[0]["places"] = [{"start": 8, "end": 13, "label": "place"}]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_a_training_writes_losses_speed_and_dev_scores(home):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = CliRunner().invoke(app, ["train", "pack.yaml", "--out", "run", "--log-to", "curves"])
    assert done.exit_code == 0, done.output
    read = accumulator.EventAccumulator("curves")
    read.Reload()
    assert {"loss/mood", "loss/place", "speed", "dev/mood", "dev/place"} <= set(read.Tags()["scalars"])
    assert [event.step for event in read.Scalars("loss/mood")] == [10, 20]
    last = read.Scalars("dev/mood")[-1]
    assert 0 <= last.value <= 100


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_curves_go_to_a_run_of_mlflow_which_a_later_training_goes_on_with(home, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its server's own store, for a test without its server
    for arguments in ([], ["--restart"]):
        command = ["train", "pack.yaml", "--out", "run", "--log-to", f"mlflow:{home / 'store'}", *arguments]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    client = mlflow.MlflowClient(str(home / "store"))
    (run,) = client.search_runs([client.get_experiment_by_name("umbel").experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss/mood")]
    assert sorted(set(steps)) == [10, 20]
    assert {"loss/place", "speed", "dev/mood", "dev/place"} <= run.data.metrics.keys()


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_not_there_is_told_and_one_that_goes_is_done_without(home, monkeypatch, caplog):
    mlflow = pytest.importorskip("mlflow")
    with pytest.raises(InputError, match=r"mlflow:http://127\.0\.0\.1:9"):
        writer_to("mlflow:http://127.0.0.1:9", home)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    writer = writer_to(f"mlflow:{home / 'store'}", home)

    def gone(*_):
        raise mlflow.exceptions.MlflowException("gone")

    monkeypatch.setattr(writer._client, "log_batch", gone)
    for step in range(3):
        writer.add_scalar("loss/mood", 1.0, step)
        writer.flush()
    writer.close()
    assert caplog.text.count("the training goes on without: gone") == 1


def test_a_missing_library_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"umbel\[curves\]"):
        writer_to(str(tmp_path), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"umbel\[mlflow\]"):
        writer_to("mlflow:http://127.0.0.1:9", tmp_path)
