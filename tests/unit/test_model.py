"""The training engine: pooling, heads, windows of long texts joined, and answers that depend on nothing beside."""

import numpy as np
import pytest
import torch
from tiny_pack import TASKS, write_tiny_backbone

from umbel.backbones.bert import BertEncoder
from umbel.catalogue import load_backbone
from umbel.model import MultiTaskModel, PooledHead, Reading, TokenHead, TrainedPredictor, merged_logits
from umbel.tokenize import Tokenizer

NAMES = list(TASKS)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("model") / "backbone"))


@pytest.fixture
def model(backbone):
    torch.manual_seed(0)
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors())
    model = MultiTaskModel(encoder, {name: entry.task(name) for name, entry in TASKS.items()}, backbone.tokenizer.pad)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.normal_()
    return model


def hidden_of(batch=2, tokens=5, width=8):
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    mask[0, 3:] = False
    return torch.randn(batch, tokens, width, generator=generator), mask


def test_a_query_of_zero_gives_the_mean_of_the_real_tokens():
    hidden, mask = hidden_of()
    head = PooledHead(8, 3)
    expected = torch.stack([hidden[0, :3].mean(0), hidden[1].mean(0)]) @ head.weight.T + head.bias
    assert torch.allclose(head(hidden, mask, 0.0), expected, atol=1e-6)


def test_a_query_weighs_tokens_by_their_likeness_to_it():
    hidden, mask = hidden_of()
    head = PooledHead(8, 3)
    with torch.no_grad():
        head.query.copy_(torch.arange(8.0) - 4)
    weights = (hidden[0, :3] @ head.query).softmax(0)
    expected = (weights[:, None] * hidden[0, :3]).sum(0) @ head.weight.T + head.bias
    assert torch.allclose(head(hidden, mask, 0.0)[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", [PooledHead, TokenHead])
def test_dropout_acts_while_training_alone(kind):
    hidden, mask = hidden_of()
    head = kind(8, 3)
    head.eval()
    assert torch.equal(head(hidden, mask, 0.9), head(hidden, mask, 0.0))
    head.train()
    assert not torch.equal(head(hidden, mask, 0.9), head(hidden, mask, 0.0))


def test_only_kinds_that_are_trained_have_a_head(model):
    assert set(model.heads) == {"sentiment", "topics", "urgency", "entities"}
    assert model.heads["entities"].weight.shape == (3, 32)
    assert model.heads["topics"].query.shape == (32,)
    hidden, mask = hidden_of(width=32)
    assert torch.allclose(model.logits("vector", hidden, mask)[0], hidden[0, :3].mean(0), atol=1e-6)


def test_windows_are_padded_on_the_right(model, backbone):
    windows = [backbone.tokenizer.windows(text)[0] for text in ("good", "good to Paris")]
    ids, mask = model.pad_windows(windows)
    assert ids.tolist() == [[2, 4, 3, 0, 0], [2, 4, 7, 6, 3]]
    assert mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_padding_changes_no_hidden_state(model, backbone):
    windows = [backbone.tokenizer.windows(text)[0] for text in ("good", "to " * 30)]
    model.eval()
    with torch.no_grad():
        alone, beside = model.encode(*model.pad_windows(windows[:1])), model.encode(*model.pad_windows(windows))
    assert torch.allclose(alone[0], beside[0, :3], atol=1e-5)


def test_a_long_text_gives_each_kind_its_merged_windows(model, backbone):
    tokenizer = Tokenizer(backbone.tokenizer._cutter, (2, 3, 0), 12)
    text = "good to Paris bad " * 8
    (logits,), (reading,) = merged_logits(model, tokenizer, [text], NAMES)
    assert len(reading.windows) > 3
    assert {name: values.shape for name, values in logits.items()} == {
        "sentiment": (2,),
        "topics": (3,),
        "urgency": (1,),
        "entities": (32, 3),
        "vector": (32,),
    }
    parts, weights = [], []
    with torch.no_grad():
        for window in reading.windows:
            ids, mask = model.pad_windows([window])
            parts.append(model.logits("sentiment", model.encode(ids, mask), mask)[0].numpy())
            weights.append(len(window.ids))
    assert np.allclose(logits["sentiment"], np.average(parts, axis=0, weights=weights), atol=1e-5)


def test_a_reading_joins_its_windows(backbone):
    text = "good to Paris bad " * 8
    short = Tokenizer(backbone.tokenizer._cutter, (2, 3, 0), 12)
    joined, whole = Reading(short.windows(text)).whole, Reading(Tokenizer(short._cutter, (2, 3, 0), 99).windows(text))
    assert np.array_equal(joined.ids, whole.windows[0].ids)
    assert np.array_equal(joined.offsets, whole.whole.offsets)


@pytest.mark.parametrize("batch_tokens", [1, 20, 4096])
def test_the_size_of_batches_changes_no_logits(model, backbone, batch_tokens):
    texts = ["good", "to Paris good", "bad " * 20, "这", "to " * 80]
    expected, _ = merged_logits(model, backbone.tokenizer, texts, NAMES)
    found, _ = merged_logits(model, backbone.tokenizer, texts, NAMES, batch_tokens)
    for first, second in zip(expected, found, strict=True):
        for name in NAMES:
            assert np.allclose(first[name], second[name], atol=1e-4)


def test_batches_hold_what_they_may(model, backbone, monkeypatch):
    sizes = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda ids, mask: sizes.append(ids.shape) or encode(ids, mask))
    merged_logits(model, backbone.tokenizer, ["good"] * 9 + ["to " * 60], NAMES, batch_tokens=12)
    assert sizes == [(4, 3), (4, 3), (1, 3), (1, 62)]


def test_a_predictor_answers_in_order_and_leaves_the_model_ready_to_answer(model, backbone):
    model.train()
    results = TrainedPredictor(model, backbone.tokenizer)(["good to Paris", "bad"], ["entities", "sentiment"])
    assert [list(result) for result in results] == [["entities", "sentiment"]] * 2
    assert not model.training
    assert TrainedPredictor(model, backbone.tokenizer)([], NAMES) == []


def test_bfloat16_stays_near_float32(model, backbone):
    texts = ["good to Paris", "bad " * 20]
    exact, _ = merged_logits(model, backbone.tokenizer, texts, ["sentiment"])
    rounded, _ = merged_logits(model, backbone.tokenizer, texts, ["sentiment"], precision=torch.bfloat16)
    for first, second in zip(exact, rounded, strict=True):
        assert second["sentiment"].dtype == np.float32
        assert not np.array_equal(first["sentiment"], second["sentiment"])
        assert np.allclose(first["sentiment"], second["sentiment"], atol=0.2)


def test_a_task_may_have_the_name_of_a_method(backbone):
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors())
    names = [name for name in dir(torch.nn.ModuleDict) if not name.startswith("_")]
    tasks = {name: TASKS["sentiment"].task(name) for name in names}
    model = MultiTaskModel(encoder, tasks, backbone.tokenizer.pad)
    assert list(model.heads) == names
    (found,) = TrainedPredictor(model, backbone.tokenizer)(["good"], names)
    assert found.keys() == tasks.keys()
    again = MultiTaskModel(encoder, tasks, backbone.tokenizer.pad)
    again.load_state_dict(model.state_dict())
    assert all(torch.equal(again.heads[name].weight, model.heads[name].weight) for name in names)
    assert model.train().heads["train"].training
