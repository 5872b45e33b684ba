"""The reading head: its graph against torch, its shapes, and what it refuses."""

import numpy as np
import pytest
import torch

from umbel.engine import OpenVinoEngine
from umbel.reading import apart, is_head, joined, shapes_of, value_layers
from umbel.reading_graph import STEP, ReadingHeads
from umbel.reading_model import ReadingModel

HIDDEN, WIDTH = 24, 16
FEATURES = HIDDEN * 4


@pytest.fixture(name="model")
def make_model():
    torch.manual_seed(3)
    return ReadingModel(HIDDEN, FEATURES, WIDTH, blocks=2).eval()


def weights_of(model):
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def heads_of(weights):
    return ReadingHeads(weights, lambda graph: OpenVinoEngine(graph, "float32"))


def test_graph_and_torch_agree_for_questions_and_texts_of_different_lengths(model):
    texts, questions = [random(31, FEATURES), random(STEP, FEATURES)], [random(17, FEATURES), random(4, FEATURES)]
    states = [random(17, HIDDEN), random(4, HIDDEN)]
    shared = [(random(31) > 1).astype(np.float32), (random(STEP) > 0).astype(np.float32)]
    pad = torch.nn.utils.rnn.pad_sequence
    padded = [
        pad([torch.from_numpy(each) for each in group], batch_first=True)
        for group in (texts, shared, questions, states)
    ]
    mask, asked = (
        torch.arange(most) < torch.tensor(sizes)[:, None] for most, sizes in ((31, [31, STEP]), (17, [17, 4]))
    )
    with torch.no_grad():
        expected = model(padded[0], mask, torch.tensor([0, 1]), padded[1], padded[2], padded[3], asked).numpy()
    head = heads_of(weights_of(model))
    for place, text in enumerate(texts):
        start, end = head.logits(head.text(text), shared[place], questions[place], states[place])
        np.testing.assert_allclose(start, expected[place, : len(text), 0], atol=1e-5)
        np.testing.assert_allclose(end, expected[place, : len(text), 1], atol=1e-5)


def test_shapes_are_those_of_the_torch_module(model):
    assert {name: value.shape for name, value in weights_of(model).items()} == shapes_of(HIDDEN, FEATURES, WIDTH, 2)


def test_weights_are_a_head_only_when_all_are_there_in_their_shapes(model):
    weights = weights_of(model)
    assert is_head(weights)
    assert not is_head({name: value for name, value in weights.items() if name != "root.bias"})
    assert not is_head(weights | {"branch.weight": random(WIDTH, HIDDEN + 1)})
    assert not is_head({})


def test_several_heads_answer_by_their_mean(model):
    first = weights_of(model)
    second = {name: value + random(*value.shape, seed=5) * np.float32(0.1) for name, value in first.items()}
    third = {name: -value for name, value in first.items()}
    text, shared, question, states = random(12, FEATURES), random(12), random(5, FEATURES), random(5, HIDDEN)

    def said(weights):
        heads = heads_of(weights)
        return np.stack(heads.logits(heads.text(text), shared, question, states))

    both, each = joined(first, second), [said(weights) for weights in (first, second, third)]
    assert is_head(both)
    np.testing.assert_allclose(said(both), (each[0] + each[1]) / 2, atol=1e-5)
    all_three = joined(*apart(both), third)
    assert [list(head) for head in apart(all_three)] == [list(first)] * 3
    np.testing.assert_allclose(said(all_three), np.mean(each, axis=0), atol=1e-5)
    assert not is_head({name: value for name, value in both.items() if name != "1/root.bias"})
    assert not is_head(both | {"1/branch.weight": random(WIDTH, HIDDEN + 1)})


@pytest.mark.parametrize(("layers", "expected"), [(12, (3, 6, 9)), (4, (1, 2, 3)), (2, (0, 1)), (1, (0,))])
def test_values_come_from_layers_spread_over_the_encoder(layers, expected):
    assert value_layers(layers) == expected


def test_a_shared_word_moves_the_answer(model):
    head = heads_of(weights_of(model))
    text, question, states = head.text(random(12, FEATURES)), random(5, FEATURES), random(5, HIDDEN)
    none, one = np.zeros(12, np.float32), np.eye(12, dtype=np.float32)[4]
    assert not np.allclose(head.logits(text, none, question, states)[0], head.logits(text, one, question, states)[0])


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_an_answer_has_the_same_bits_whatever_was_asked_before(model, precision):
    head = ReadingHeads(weights_of(model), lambda graph: OpenVinoEngine(graph, precision))

    def said(tokens, length):
        text = head.text(random(tokens, FEATURES))
        return np.stack(head.logits(text, random(tokens), random(length, FEATURES), random(length, HIDDEN)))

    sizes = [(5, 3), (60, 20), (31, 3), (5, 17), (1, 1)]
    first = [said(*size) for size in sizes]
    assert all(np.array_equal(said(*size), found) for size, found in reversed(list(zip(sizes, first, strict=True))))
