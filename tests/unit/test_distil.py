"""Teachers: kept logits come back for the same rows alone, blend into targets, and a pupil follows them."""

import numpy as np
import pytest
import torch
from test_train import TASKS, Silent, data_of, declared, rows_of, trainer_of  # noqa: F401
from tiny_pack import write_tiny_backbone

from umbel.catalogue import load_backbone
from umbel.data import Data
from umbel.distil import read_teacher, write_teacher
from umbel.errors import InputError
from umbel.kinds.base import kind_of
from umbel.model import window_logits
from umbel.records import Task


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("distil") / "backbone"))


@pytest.fixture(scope="module")
def taught(backbone, tmp_path_factory):
    """A trained model, and the folder of what it says of its train rows."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.set_num_threads(1)
    trainer = trainer_of(backbone, folder, epochs=10.0)
    trainer.run()
    trainer.teach(folder / "said")
    return trainer, folder / "said"


def test_kept_logits_are_those_of_each_row(taught):
    trainer, folder = taught
    for name, task in TASKS.items():
        said = read_teacher(folder, name, trainer.data.train)
        for source, items in trainer.items.items():
            windows = [item.window for item in items if name in item.golds]
            expected = [each[name] for each in window_logits(trainer.model, windows, [name])]
            assert len(said[source]) == len(expected)
            for found, wanted in zip(said[source], expected, strict=True):
                reads = kind_of(task.kind).reads
                np.testing.assert_allclose(found if reads == "tokens" else found[0], wanted, atol=0.01, rtol=0.002)


def test_other_rows_are_refused(taught):
    _, folder = taught
    with pytest.raises(InputError, match="a: holds other rows"):
        read_teacher(folder, "sentiment", {"a": rows_of(10, 9)})
    with pytest.raises(InputError, match="c: holds no rows of it"):
        read_teacher(folder, "sentiment", {"c": rows_of(10, 9)})


def test_a_task_without_a_file_has_no_teacher(taught):
    _, folder = taught
    assert read_teacher(folder, "other", {"a": rows_of(10, 1)}) is None


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "sentiment.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"sentiment\.safetensors: cannot be read"):
        read_teacher(tmp_path, "sentiment", {"a": rows_of(4, 1)})


@pytest.mark.parametrize(
    ("task", "target", "logits"),
    [
        (TASKS["sentiment"], np.array(1), np.array([3.0, 0.5], np.float32)),
        (Task("m", "text-classification", ("x", "y"), True), np.float32([1, 0]), np.float32([-1, 2])),
        (TASKS["amount"], np.float32([2.0]), np.float32([5.0])),
        (TASKS["place"], np.array([-100, 1, 2, 0, -100]), np.random.default_rng(0).normal(size=(5, 3)).astype("f4")),
    ],
)
def test_a_blend_goes_from_the_teacher_to_the_gold_answer(task, target, logits):
    kind = kind_of(task.kind)
    tensor = torch.from_numpy(np.random.default_rng(1).normal(size=logits.shape).astype("f4"))[None]

    def loss(share):
        blended = np.asarray(kind.blend(task, target, logits, share), np.float32)
        return float(kind.loss(task, tensor, torch.from_numpy(blended)[None])[0])

    gold = float(kind.loss(task, tensor, torch.from_numpy(np.asarray(target))[None])[0])
    assert loss(1.0) == pytest.approx(gold, rel=1e-5)
    assert loss(0.0) != pytest.approx(gold, rel=1e-2)
    if task.kind != "regression":  # cross entropies are linear in the target
        assert loss(0.25) == pytest.approx(0.25 * gold + 0.75 * loss(0.0), rel=1e-4)


def test_a_pupil_follows_a_teacher_early(backbone, taught, tmp_path):
    """With the gold answers turned round, the first steps still learn what the teacher says."""
    _, folder = taught
    data = data_of()
    other = {"good": "bad", "bad": "good"}
    rows = {
        source: [
            type(row)(row.text, row.golds | {"sentiment": other[row.golds["sentiment"]]}, row.source, "en")
            for row in rows
        ]
        for source, rows in data.train.items()
    }
    pupil = trainer_of(backbone, tmp_path, Data(data.tasks, rows, data.dev, data.shares), teachers=str(folder))
    items = pupil.items["a"][:32]
    model, optimizer = pupil.model, pupil.optimizer
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    for _ in range(60):
        pupil._loss(items, 0.0).backward()
        optimizer.step()
        optimizer.zero_grad()
    said = window_logits(model, [item.window for item in items], ["sentiment"])
    agrees = [
        TASKS["sentiment"].labels[each["sentiment"].argmax()] == other[i.golds["sentiment"]]
        for each, i in zip(said, items, strict=True)
    ]
    assert np.mean(agrees) > 0.9


def test_teachers_logits_with_mixed_widths_round_trip(tmp_path):
    rows = rows_of(3, 1)
    said = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((4, 3), np.float32), np.zeros((1, 3), np.float32)]
    write_teacher(tmp_path, "sentiment", {"data/a.jsonl.gz": (rows, said)})
    found = read_teacher(tmp_path, "sentiment", {"data/a.jsonl.gz": rows})["data/a.jsonl.gz"]
    for one, other in zip(found, said, strict=True):
        np.testing.assert_array_equal(one, other)
