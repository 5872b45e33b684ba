"""The design's invariants on the training engine, in fp32, over texts of every kind."""

import pytest
import torch
from _asserts import assert_batch_free, assert_isolated, assert_order_of_tasks, assert_same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_pack import TASKS, write_tiny_backbone

from umbel.backbones.bert import BertEncoder
from umbel.catalogue import load_backbone
from umbel.model import MultiTaskModel, TrainedPredictor
from umbel.records import Task

WORDS = st.sampled_from(["good", "bad", "Paris", "to", "这", "unheard", "😀", "…", "\u200f", "x" * 40, "\n"])
TEXTS = st.lists(WORDS, min_size=1, max_size=90).map(" ".join).filter(str.strip)
SETTINGS = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
NAMES = list(TASKS)
WITHIN = 2e-5  # of probabilities and vectors; the score of a random head is no number from 0 to 1


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("training") / "backbone"))


def model_of(backbone, tasks):
    """Return a model whose heads are drawn by their task's name alone."""
    model = MultiTaskModel(BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()), tasks, 0)
    with torch.no_grad():
        for name, head in model.heads.items():
            generator = torch.Generator().manual_seed(sum(map(ord, name)))
            for parameter in head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.fixture(scope="module")
def predictor(backbone):
    return TrainedPredictor(model_of(backbone, {name: TASKS[name].task(name) for name in NAMES}), backbone.tokenizer)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_tasks_are_isolated(predictor, texts):
    assert_isolated(predictor, texts, NAMES)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), permuted=st.permutations(NAMES))
def test_the_order_of_tasks_changes_nothing(predictor, texts, permuted):
    assert_order_of_tasks(predictor, texts, NAMES, permuted)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_an_answer_does_not_depend_on_the_batch(predictor, texts):
    assert_batch_free(predictor, texts, NAMES, WITHIN)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), count=st.integers(1, len(NAMES)))
def test_a_text_is_encoded_once_for_any_number_of_tasks(predictor, texts, count):
    read = []
    encode = predictor.model.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor.model, "encode", lambda ids, mask: read.append(len(ids)) or encode(ids, mask))
        predictor(texts, NAMES[:count])
    assert sum(read) == sum(map(len, predictor.tokenizer.windows_many(texts)))


def test_tasks_that_come_and_go_leave_the_rest_as_they_were(backbone, predictor):
    texts = ["good to Paris", "这 bad", "to " * 70]
    new = {f"new{n}": Task(f"new{n}", "text-classification", ("a", "b", "c")) for n in range(20)}
    few, many = NAMES[1:3], {**new, **predictor.model.tasks}
    before = predictor(texts, NAMES)
    grown = TrainedPredictor(model_of(backbone, many), backbone.tokenizer)(texts, list(many))
    shrunk = TrainedPredictor(model_of(backbone, {n: many[n] for n in few}), backbone.tokenizer)(texts, few)
    for first, second, third in zip(before, grown, shrunk, strict=True):
        for name in NAMES:
            assert_same(first[name], second[name])
        for name in few:
            assert_same(first[name], third[name])
