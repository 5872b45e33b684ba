"""What training changes in the backbone: attached, taken off, rounded, merged."""

import numpy as np
import pytest
import torch
from tiny_pack import SHAPE, write_tiny_backbone
from torch import nn

from umbel import adapters
from umbel.backbones.bert import BertEncoder
from umbel.catalogue import load_backbone

IDS = torch.tensor([[2, 4, 5, 3], [2, 6, 3, 0]])


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("adapters") / "backbone")).all_tensors()


@pytest.fixture
def attached(tensors):
    torch.manual_seed(0)
    encoder = BertEncoder.from_tensors(SHAPE, tensors)
    adapters.attach(encoder, 3)
    return encoder


def hidden(encoder):
    encoder.eval()
    with torch.no_grad():
        return encoder(IDS, IDS != 0)


def test_a_fresh_adapter_changes_nothing_and_alone_is_trained(tensors, attached):
    assert torch.equal(hidden(attached), hidden(BertEncoder.from_tensors(SHAPE, tensors)))
    trained = {name for name, parameter in attached.named_parameters() if parameter.requires_grad}
    layers = sum(isinstance(module, nn.Linear) for module in attached.modules())
    assert len(trained) == 2 * layers == 2 * 6 * SHAPE.layers
    assert all(".parametrizations.weight.0." in name for name in trained)


def test_merged_weights_give_what_the_attached_adapter_gives(tensors, attached):
    with torch.no_grad():
        for parameter in attached.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter).mul(0.1).half())  # what 16 bits hold
    adapter = adapters.low_rank(attached)
    assert {values.dtype.name for values in adapter.values()} == {"float16"}
    assert adapter["encoder.layer.0.intermediate.dense.weight.a"].shape == (3, SHAPE.hidden)
    before = {name: value.copy() for name, value in tensors.items()}
    merged = BertEncoder.from_tensors(SHAPE, adapters.merge(tensors, adapter))
    assert torch.allclose(hidden(merged), hidden(attached), atol=1e-5)
    assert not torch.allclose(hidden(merged), hidden(BertEncoder.from_tensors(SHAPE, tensors)), atol=1e-2)
    assert all(np.array_equal(before[name], tensors[name]) for name in tensors)


def test_a_full_difference_leads_to_the_trained_weights(tensors):
    random = np.random.default_rng(0)
    after = {name: value + random.normal(size=value.shape).astype(np.float32) * 0.01 for name, value in tensors.items()}
    adapter = adapters.full_difference(tensors, after)
    merged = adapters.merge(tensors, adapter)
    assert merged.keys() == tensors.keys()
    for name, value in after.items():
        if value.ndim < 2:
            assert np.allclose(merged[name], value, atol=1e-7)
            continue
        largest = np.abs(value - tensors[name]).max(axis=1, keepdims=True)
        assert (np.abs(merged[name] - value) <= largest / 254 + 1e-6).all()
        assert adapter[f"{name}.q8"].dtype == np.int8


def test_what_did_not_change_stays_to_the_bit(tensors):
    merged = adapters.merge(tensors, adapters.full_difference(tensors, tensors))
    assert all(np.array_equal(merged[name], value) for name, value in tensors.items())
    assert adapters.merge(tensors, {}) == tensors
