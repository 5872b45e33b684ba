"""The encoder: padding, the two ways to attend, weights that do not fit. For its rivals see test_bert_parity.py."""

import pytest
import torch
from tiny_pack import SHAPE, write_tiny_backbone

from umbel.backbones.bert import BertEncoder
from umbel.catalogue import load_backbone
from umbel.errors import BackboneError
from umbel.weights import tensor_shapes


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("bert") / "backbone")).all_tensors()


def test_parameters_are_those_of_the_hub(tensors):
    encoder = BertEncoder.from_tensors(SHAPE, tensors)
    assert {name: tuple(value.shape) for name, value in encoder.named_parameters()} == tensor_shapes(SHAPE)


def test_training_attends_as_answering_does(tensors):
    encoder = BertEncoder.from_tensors(SHAPE, tensors)
    ids = torch.tensor([[2, 4, 5, 3], [2, 6, 3, 0]])
    mask = ids != 0
    trained = encoder(ids, mask)
    with torch.no_grad():
        answered = encoder(ids, mask)
    assert trained.requires_grad
    assert torch.allclose(trained[mask], answered[mask], atol=1e-5)


def test_what_is_padded_changes_nothing_and_gets_no_gradient(tensors):
    encoder = BertEncoder.from_tensors(SHAPE, tensors)
    short, padded = torch.tensor([[2, 6, 3]]), torch.tensor([[2, 6, 3, 0, 0]])
    found = encoder(padded, padded != 0)
    assert torch.allclose(found[:, :3], encoder(short, short != 0), atol=1e-5)
    found[:, :3].sum().backward()
    words = encoder.embeddings.word_embeddings.weight.grad
    assert words[6].any()
    assert not words[0].any()


@pytest.mark.parametrize("change", ["missing", "other"])
def test_tensors_that_do_not_fit_are_named(tensors, change):
    name = "encoder.layer.1.output.dense.weight"
    changed = {key: value for key, value in tensors.items() if key != name}
    if change == "other":
        changed[name] = tensors[name][:, :5]
    found = "nothing" if change == "missing" else r"\(32, 5\)"
    with pytest.raises(BackboneError, match=rf"{name}: found {found}, expected \(32, 64\)"):
        BertEncoder.from_tensors(SHAPE, changed)


def test_dropout_acts_while_training_alone(tensors):
    encoder = BertEncoder.from_tensors(SHAPE, tensors, dropout=0.5)
    ids = torch.tensor([[2, 4, 3]])
    encoder.eval()
    assert torch.equal(encoder(ids, ids != 0), encoder(ids, ids != 0))
    encoder.train()
    assert not torch.equal(encoder(ids, ids != 0), encoder(ids, ids != 0))
