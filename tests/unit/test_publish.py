"""From a trained model to a pack that answers the same, with its calibration, scores and card."""

import json

import numpy as np
import pytest
import torch
from test_train import TASKS, trainer_of
from tiny_pack import write_tiny_backbone

import umbel
from umbel.adapters import full_difference, merge
from umbel.catalogue import load_backbone
from umbel.evaluate import evaluate
from umbel.model import TrainedPredictor
from umbel.pack import read_pack
from umbel.publish import publish

FLOW = {"steps": {"hello": {"reply": "Hello."}}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("publish") / "backbone")


@pytest.fixture
def published(request, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UMBEL_WEIGHTS", str(weights.parent))
    backbone = load_backbone(weights)
    torch.set_num_threads(1)
    trainer = trainer_of(backbone, tmp_path / "run", sharing=request.param, rank=4, epochs=8.0)
    trainer.spec = trainer.spec.model_copy(update={"licence": "CC0-1.0", "description": "A trial.", "flow": FLOW})
    trainer.run()
    return trainer, publish(trainer, tmp_path / "pack")


@pytest.mark.parametrize("published", ["full", "adapter", "heads"], indirect=True)
def test_the_pack_answers_as_the_trained_model_does(published):
    trainer, pack = published
    pack.verify()
    assert pack.flow() == FLOW
    model = umbel.load(pack.folder, precision="float32")
    texts = ["good to Paris", "bad 这 Paris Paris", "to " * 100]
    expected = TrainedPredictor(trainer.model, trainer.backbone.tokenizer)(texts, list(TASKS))
    for result, wanted in zip(model(texts), expected, strict=True):
        assert result["sentiment"].label == wanted["sentiment"].label
        assert result["sentiment"].probability == pytest.approx(wanted["sentiment"].probability, abs=5e-3)
        assert result["amount"].score == pytest.approx(wanted["amount"].score, abs=2e-2)
        assert [(s.start, s.end) for s in result["place"]] == [(s.start, s.end) for s in wanted["place"]]


@pytest.mark.parametrize("published", ["full", "adapter"], indirect=True)
def test_the_model_that_was_scored_is_the_one_stored(published):
    trainer, pack = published
    stored = merge(trainer.backbone.all_tensors(), pack.adapter())
    for name in trainer.backbone.tensors:
        layer, _, parameter = name.rpartition(".")
        found = getattr(trainer.model.encoder.get_submodule(layer), parameter).detach().numpy()
        np.testing.assert_allclose(found, stored[name], rtol=0, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("published", ["full"], indirect=True)
def test_scores_and_calibration_are_those_of_the_dev_rows(published):
    trainer, pack = published
    predictor = TrainedPredictor(trainer.model, trainer.backbone.tokenizer)
    reports = evaluate(predictor, trainer.model.tasks, trainer.data.dev)
    for name, report in reports.items():
        stored = pack.manifest.tasks[name].scores
        assert stored["score"] == pytest.approx(report["score"])
        assert stored["rows"] == report["rows"]
    sentiment = pack.manifest.tasks["sentiment"]
    assert sentiment.temperature["*"] > 0
    assert 0 <= sentiment.scores["ece-after"] <= 1
    assert pack.manifest.training["rows"] == trainer.progress.rows


@pytest.mark.parametrize("published", ["full"], indirect=True)
def test_the_card_tells_tasks_data_training_and_limits(published):
    _, pack = published
    card = (pack.folder / "CARD.md").read_text("utf-8")
    for part in ("# tiny 0.1.0", "A trial.", "CC0-1.0", "| sentiment |", "## Data", "## Training", "## Limits"):
        assert part in card
    assert json.loads((pack.folder / "manifest.json").read_text())["format"] == 4  # it has a flow
    assert read_pack(pack.folder).tasks.keys() == TASKS.keys()


def test_a_full_difference_is_rounded_by_at_most_half_a_step():
    random = np.random.default_rng(0)
    before = {"w": random.normal(size=(6, 9)).astype(np.float32), "b": random.normal(size=6).astype(np.float32)}
    after = {name: value + random.normal(size=value.shape).astype(np.float32) * 0.01 for name, value in before.items()}
    merged = merge(before, full_difference(before, after))
    steps = np.abs(after["w"] - before["w"]).max(axis=1, keepdims=True) / 127
    assert (np.abs(merged["w"] - after["w"]) <= steps * 0.5 + 1e-6).all()
    assert np.allclose(merged["b"], after["b"])
