"""What a task alone is trained with, so that it is fair to compare it with itself among others."""

import pytest

from umbel.detaching import FEWEST_ROWS, STEPS, settings_alone
from umbel.spec import TrainSpec

DECLARED = TrainSpec(batch_rows=96, learning_rate=2e-4, head_learning_rate=5e-3)


@pytest.mark.parametrize(
    ("rows", "batch"),
    [(96 * STEPS, 96), (10**7, 96), (48 * STEPS, 48), (STEPS, FEWEST_ROWS), (30, FEWEST_ROWS)],
)
def test_a_small_task_alone_takes_many_small_steps(rows, batch):
    found = settings_alone(DECLARED, rows)
    assert found.batch_rows == batch
    assert found.learning_rate == pytest.approx(2e-4 * (batch / 96) ** 0.5)
    assert found.head_learning_rate == pytest.approx(5e-3 * (batch / 96) ** 0.5)
    changed = {"batch_rows", "learning_rate", "head_learning_rate"}
    assert found.model_dump(exclude=changed) == DECLARED.model_dump(exclude=changed)


def test_a_batch_is_never_larger_than_declared():
    assert settings_alone(DECLARED.model_copy(update={"batch_rows": 4}), 100).batch_rows == 4
