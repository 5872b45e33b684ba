"""Kept hidden states: equal to the encoder's, scaled by the train windows, kept in a file; the adapter alone trains."""

import numpy as np
import pytest
import torch
from tiny_pack import write_tiny_backbone

from umbel import frozen
from umbel.backbones.bert import BertEncoder
from umbel.catalogue import load_backbone
from umbel.frozen import FrozenEncoder, HiddenStates

TEXTS = ["good to Paris", "bad", "to to to bad Paris", "这 good"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("frozen") / "backbone"))


@pytest.fixture
def windows(backbone):
    return [cut[0] for cut in backbone.tokenizer.windows_many(TEXTS)]


def batch(windows):
    longest = max(len(w.ids) for w in windows)
    ids = np.zeros((len(windows), longest), np.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = window.ids
    mask = torch.arange(longest) < torch.tensor([len(w.ids) for w in windows])[:, None]
    return torch.from_numpy(ids), mask


def test_kept_states_are_the_encoders_scaled(backbone, windows):
    states = HiddenStates(backbone)
    states.prepare(windows)
    ids, mask = batch(windows)
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).eval()
    with torch.no_grad():
        wanted = (encoder(ids, mask) - states.mean) / states.scale * mask[..., None]
    found = states.of(ids, mask)
    assert torch.allclose(found, wanted, atol=0.15)  # 16 bits and bfloat16, over numbers of spread 1
    assert torch.nn.functional.cosine_similarity(found[mask], wanted[mask]).min() > 0.995
    assert not found[~mask].any()
    kept = found[mask]
    assert torch.allclose(kept.mean(0), torch.zeros(kept.shape[1]), atol=0.02)
    assert torch.allclose(kept.std(0, correction=0), torch.ones(kept.shape[1]), atol=0.05)


def test_a_window_is_encoded_once_and_kept_in_a_file(backbone, windows, tmp_path, monkeypatch):
    states = HiddenStates(backbone)
    states.prepare(windows)
    states.save(tmp_path / "states.safetensors")
    other = HiddenStates(backbone)
    other.restore(tmp_path / "states.safetensors")
    monkeypatch.setattr(other, "_encode", lambda batch: pytest.fail("encoded again"))
    other.prepare(windows)
    ids, mask = batch(windows)
    assert torch.equal(other.of(ids, mask), states.of(ids, mask))
    assert len(other) == len(windows)


def test_a_damaged_file_or_one_of_another_backbone_gives_nothing(backbone, windows, tmp_path):
    states = HiddenStates(backbone)
    states.prepare(windows)
    path = tmp_path / "states.safetensors"
    states.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    fresh = HiddenStates(backbone)
    fresh.restore(path)
    fresh.restore(tmp_path / "nothing.safetensors")
    assert len(fresh) == 0


def test_a_window_that_was_not_prepared_is_encoded_when_it_comes(backbone, windows):
    states = HiddenStates(backbone)
    states.prepare(windows[:2])
    states.of(*batch(windows))
    assert len(states) == len(windows)


def test_the_adapter_starts_as_nothing_and_alone_trains(backbone, windows):
    states = HiddenStates(backbone)
    states.prepare(windows)
    encoder = FrozenEncoder(states, width=4)
    ids, mask = batch(windows)
    assert torch.equal(encoder(ids, mask), states.of(ids, mask))
    encoder(ids, mask).square().sum().backward()
    assert {name.split(".")[0] for name, _ in encoder.named_parameters()} == {"blocks"}
    assert all(block.up.weight.grad.abs().sum() > 0 for block in encoder.blocks)


def test_batches_hold_at_most_so_many_tokens(monkeypatch):
    monkeypatch.setattr(frozen, "BATCH_TOKENS", 10)
    rows = [np.zeros(length, np.int32) for length in (4, 4, 4, 12, 1)]
    cut = [[len(row) for row in some] for some in frozen._batches(rows)]
    assert cut == [[1, 4], [4, 4], [12]]
