"""The losses of the first steps on a seed, and the dev scores after them: a change here is a change of training."""

import pytest
import torch
from test_train import Silent, data_of, trainer_of
from tiny_pack import write_tiny_backbone

from umbel.catalogue import load_backbone

LOSSES = {
    "full": [1.43862, 1.37901, 1.50144, 1.30669, 1.30421],
    "adapter": [1.4143, 1.38554, 1.53766, 1.37694, 1.38361],
    "heads": [1.43862, 1.3799, 1.55004, 1.39537, 1.39419],
}
SCORES = {"sentiment": 100.0, "place": 100.0, "amount": 93.02}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(folder, sharing):
    reporter, losses = Silent(), []
    backbone = load_backbone(write_tiny_backbone(folder / "backbone"))
    trainer = trainer_of(
        backbone, folder / "run", data_of(64), reporter, sharing=sharing, rank=2, dropout=0.0, epochs=3.0
    )
    loss_of = trainer._loss
    trainer._loss = lambda items, fraction: losses.append(loss_of(items)) or losses[-1]
    trainer.run()
    return [loss.item() for loss in losses[:5]], reporter.records[-1]["scores"]


@pytest.mark.parametrize("sharing", list(LOSSES))
def test_the_first_losses(tmp_path, sharing):
    losses, _ = trained(tmp_path, sharing)
    assert losses == pytest.approx(LOSSES[sharing], rel=1e-3)


def test_the_scores_after_three_epochs(tmp_path):
    _, scores = trained(tmp_path, "full")
    assert scores == pytest.approx(SCORES, abs=3.0)
