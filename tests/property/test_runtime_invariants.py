"""The design's invariants on the compiled runtime, at its own precision, over texts of every kind."""

import numpy as np
import pytest
from _asserts import assert_batch_free, assert_isolated, assert_order_of_tasks, assert_same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.catalogue import load_backbone
from umbel.pack import TaskEntry

WORDS = st.sampled_from(["good", "bad", "Paris", "to", "这", "unheard", "😀", "…", "\u200f", "x" * 40, "\n"])
TEXTS = st.lists(WORDS, min_size=1, max_size=90).map(" ".join).filter(str.strip)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TASKS = ["sentiment", "topics", "urgency", "entities", "vector"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("invariants")


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8"])
def model(request, folder):
    backbone = folder / "backbone"
    if not backbone.exists():
        write_tiny_pack(folder / "tiny", write_tiny_backbone(backbone), ngrams=True, rounded=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        return umbel.load(folder / "tiny", precision=request.param)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_tasks_are_isolated(model, texts):
    assert_isolated(model, texts, TASKS)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), permuted=st.permutations(TASKS))
def test_the_order_of_tasks_changes_nothing(model, texts, permuted):
    assert_order_of_tasks(model, texts, TASKS, permuted)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=12))
def test_an_answer_does_not_depend_on_the_batch(model, texts):
    assert_batch_free(model, texts, TASKS)


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=12), count=st.integers(1, 5))
def test_a_text_is_encoded_once_for_any_number_of_tasks(model, texts, count):
    before = model.counters.encodings, model.counters.windows
    model(texts, TASKS[:count])
    windows = sum(map(len, model.tokenizer.windows_many(texts)))
    assert (model.counters.encodings - before[0], model.counters.windows - before[1]) == (len(texts), windows)


def test_tasks_that_come_go_or_are_trained_again_leave_the_rest_as_they_were(folder, tmp_path, model, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path))
    entry = TaskEntry(kind="text-classification", labels=("a", "b", "c"), metric="accuracy")
    grown = write_tiny_pack(
        tmp_path / "grown", folder / "backbone", ngrams=True, rounded=True, **{f"new{n}": entry for n in range(40)}
    )
    shrunk = tmp_path / "shrunk"
    write_tiny_pack(shrunk, folder / "backbone", ngrams=True, rounded=True)
    texts = ["good to Paris", "这 bad", "to " * 70]
    before = model(texts, TASKS)
    for pack in (grown.folder, shrunk):
        after = umbel.load(pack, precision=model.engine.precision)
        for first, second in zip(before, after(texts, TASKS), strict=True):
            for task in TASKS:
                assert_same(first[task], second[task])


def test_the_runtime_agrees_with_the_training_engine(folder, model):
    torch = pytest.importorskip("torch")
    from umbel.backbones.bert import BertEncoder
    from umbel.model import MultiTaskModel, TrainedPredictor

    backbone = load_backbone(folder / "backbone")
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors())
    trained = MultiTaskModel(encoder, model.tasks, backbone.tokenizer.pad)
    with torch.no_grad():
        for name, head in trained.heads.items():
            for key, value in model.pack.head(name).items():
                getattr(head, key).copy_(torch.tensor(value))
    trained.ngrams = model.pack.ngrams()
    texts = ["good to Paris", "这 bad", "to Paris good " * 40]
    # Random heads; weights are stored in 16 bits.
    within = {"float32": 5e-3, "bfloat16": 0.2, "int8": 0.4}[model.engine.precision]
    found, expected = model(texts, TASKS), TrainedPredictor(trained, backbone.tokenizer)(texts, TASKS)
    for first, second in zip(found, expected, strict=True):
        for task in ("sentiment", "topics", "urgency", "vector"):
            assert_same(first[task], second[task], within)
        if model.engine.precision == "float32":
            assert_same(first["entities"], second["entities"], within)
    assert np.isfinite([r["urgency"].score for r in found]).all()
