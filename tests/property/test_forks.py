"""Detached tasks through the runtime: own layers over shared ones that run once; nothing of the others changes."""

import numpy as np
import pytest
from _asserts import assert_batch_free, assert_isolated, assert_same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.adapters import full_difference
from umbel.catalogue import load_backbone
from umbel.errors import PackError
from umbel.pack import ForkFile, format_of, read_pack
from umbel.packing import write_task
from umbel.questions import Predicate
from umbel.scoring import torch_predictor
from umbel.teach import prove

WORDS = st.sampled_from(["good", "bad", "Paris", "to", "这", "unheard", "😀"])
TEXTS = st.lists(WORDS, min_size=1, max_size=90).map(" ".join)
SETTINGS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TASKS = ["sentiment", "topics", "urgency", "entities", "vector"]
FORKED = ("sentiment", "entities")


def fork_of(backbone, seed, form, layer):
    """Return a random change of the second of the two layers, or of both; low-rank changes are of matrices alone."""
    random = np.random.default_rng(seed)
    layers = tuple(f"encoder.layer.{number}." for number in range(layer, 2))
    before = {name: value for name, value in backbone.tensors.items() if name.startswith(layers)}
    if form == "lora":
        matrices = {name: value.shape for name, value in before.items() if value.ndim == 2}
        shapes = {f"{name}.a": (4, width) for name, (_, width) in matrices.items()}
        shapes |= {f"{name}.b": (height, 4) for name, (height, _) in matrices.items()}
        return {name: (random.normal(size=shape) * 0.1).astype(np.float16) for name, shape in shapes.items()}
    after = {
        name: value + (random.normal(size=value.shape) * 0.05).astype(np.float32) for name, value in before.items()
    }
    return full_difference(before, after)


def detached(pack, folder, backbone, task, seed=1, form="full", layer=1):
    fork = ForkFile(file="", sha256="", kind=form, layer=layer)
    entry = pack.manifest.tasks[task].model_copy(update={"fork": fork})
    return write_task(pack, folder, task, entry, pack.head(task), fork_of(backbone, seed, form, layer))


FORMS = {"plain": (False, "full", 1), "branches": (True, "full", 1), "own adapters of all layers": (True, "lora", 0)}


@pytest.fixture(scope="module", params=FORMS.values(), ids=FORMS)
def packs(request, tmp_path_factory):
    branches, form, layer = request.param
    folder = tmp_path_factory.mktemp("forks")
    path = write_tiny_backbone(folder / "backbone")
    backbone = load_backbone(path)
    before = write_tiny_pack(folder / "before", path, branches=branches, rounded=True)
    once = detached(before, folder / "once", backbone, "sentiment", 1, form, layer)
    return (
        before,
        once,
        detached(once, folder / "twice", backbone, "entities", 2),
        backbone,
    )  # at another layer, perhaps


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8"])
def models(packs, request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return [umbel.load(pack.folder, precision=request.param) for pack in packs[:3]]


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_tasks_that_stay_answer_with_the_same_bits(models, texts):
    before, once, twice = (model(texts, TASKS) for model in models)
    for first, second, third in zip(before, once, twice, strict=True):
        for task in TASKS:
            if task not in FORKED:
                assert_same(first[task], third[task])
        assert_same(first["entities"], second["entities"])
        assert_same(second["sentiment"], third["sentiment"])  # nor does another fork change this one


@SETTINGS
@given(text=TEXTS)
def test_a_text_that_was_read_answers_detached_tasks_too(models, text):
    for model in models:
        found, fresh = model.answer(model.read(text), TASKS), model(text, TASKS)
        assert list(found) == TASKS
        for task in TASKS:
            assert_same(found[task], fresh[task])


def test_a_detached_task_answers_by_its_own_layers(models):
    texts = ["good to Paris", "bad 这"]
    before, after = models[0](texts, ["sentiment"]), models[1](texts, ["sentiment"])
    for first, second in zip(before, after, strict=True):
        assert first["sentiment"].probabilities != second["sentiment"].probabilities


@SETTINGS
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_detached_tasks_are_isolated_and_free_of_the_batch(models, texts):
    assert_isolated(models[2], texts, TASKS)
    assert_batch_free(models[2], texts, TASKS)


def test_the_lower_layers_run_once(models, monkeypatch):
    model = models[2]
    ran = []
    for name in ("encode", "encode_lower"):
        run = getattr(model.engine, name)
        monkeypatch.setattr(model.engine, name, lambda *a, run=run, name=name: ran.append(name) or run(*a))
    before = model.counters.windows
    model(["good to Paris"], TASKS)
    assert ran == ["encode_lower"]
    assert model.counters.windows == before + 1
    ran.clear()
    model(["good to Paris"], ["topics"])
    assert ran == ["encode"]  # a fork that is not asked costs nothing


def test_both_engines_agree_on_detached_tasks(models, packs):
    *_, pack, backbone = packs
    within = {"float32": 5e-3, "bfloat16": 0.2, "int8": 0.4}[models[2].engine.precision]
    texts = ["good to Paris", "bad", "to Paris good " * 40]
    wanted = torch_predictor(pack, backbone)(texts, TASKS)
    for first, second in zip(models[2](texts, TASKS), wanted, strict=True):
        assert set(second) == set(TASKS)
        for task in ("sentiment", "topics", "urgency", "vector"):
            assert_same(first[task], second[task], within)


def test_no_byte_of_another_task_changes(packs, models):
    before, once, twice, _ = packs
    assert prove(models[0], models[1], "sentiment")["answers"] > 0
    for task in TASKS:
        heads = [pack.manifest.tasks[task].head for pack in (before, twice)]
        if heads[0]:
            assert (before.folder / heads[0].file).read_bytes() == (twice.folder / heads[1].file).read_bytes()
    formats = [format_of(pack.manifest.model_copy(update={"roundings": None})) for pack in (before, once)]
    assert formats == [1 if not before.manifest.branches else 2, 4]
    assert '"fork"' not in before.manifest.model_dump_json()
    assert read_pack(twice.folder).forks.keys() == set(FORKED)
    twice.verify()


def test_questions_are_answered_as_before(packs, models):
    if packs[0].manifest.branches:
        asked = [Predicate("good"), Predicate("to Paris")]
        assert models[0].ask("good to Paris", asked) == models[2].ask("good to Paris", asked)


def test_a_task_can_be_attached_again(packs, tmp_path):
    before, once, *_ = packs
    again = write_task(
        once, tmp_path / "again", "sentiment", before.manifest.tasks["sentiment"], before.head("sentiment")
    )
    assert not again.forks
    assert not (tmp_path / "again" / "forks" / "sentiment.safetensors").exists()


def test_a_fork_at_a_layer_that_is_not_there_is_refused(packs, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    before, *_, backbone = packs
    entry = before.manifest.tasks["sentiment"].model_copy(
        update={"fork": ForkFile(file="", sha256="", kind="full", layer=2)}
    )
    bad = write_task(
        before, tmp_path / "bad", "sentiment", entry, before.head("sentiment"), fork_of(backbone, 1, "full", 1)
    )
    with pytest.raises(PackError, match="forks at layer 2 of 2"):
        umbel.load(bad.folder)
