"""The vector teacher: its targets are the backbone's own vectors, and training with it keeps them."""

import numpy as np
import pytest
import torch
from test_train import trainer_of
from tiny_pack import write_tiny_backbone

from umbel.catalogue import load_backbone
from umbel.vectors import VectorTeacher


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("vectors") / "backbone"))


def vectors_loss(trainer, teacher):
    windows = [item.window for item in trainer.items["a"][:40]]
    ids, mask = trainer.model.pad_windows(windows)
    with torch.no_grad():
        return teacher.loss(trainer.model.encode(ids, mask), mask, windows)


def test_the_backbone_itself_is_at_no_distance(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path)
    assert vectors_loss(trainer, VectorTeacher(backbone)).abs().max() < 1e-5


def test_a_prefix_moves_the_target(backbone, tmp_path):
    from dataclasses import replace

    prefixed = VectorTeacher(replace(backbone, prefix="good "))
    assert vectors_loss(trainer_of(backbone, tmp_path), prefixed).mean() > 1e-4


def test_a_text_as_long_as_the_window_still_fits_with_its_prefix(backbone):
    from dataclasses import replace

    teacher = VectorTeacher(replace(backbone, prefix="good bad "))
    (window, *_) = backbone.tokenizer.windows("Paris " * 10_000)
    assert len(teacher._prefixed(window)) == len(window.ids)
    assert teacher._prefixed(window)[-1] == window.ids[-1]


def test_training_with_it_keeps_vectors_near(backbone, tmp_path):
    free, kept = trainer_of(backbone, tmp_path / "free"), trainer_of(backbone, tmp_path / "kept", keep_vectors=20.0)
    free.run()
    kept.run()
    teacher = VectorTeacher(backbone)
    assert vectors_loss(kept, teacher).mean() < 0.5 * vectors_loss(free, teacher).mean()
    assert np.mean([record["scores"]["sentiment"] for record in kept.progress.history[-1:]]) > 90
