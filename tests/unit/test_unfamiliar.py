"""How doubt is fitted: choices among new options become as sure as they are right, and known ones stay."""

import numpy as np
import pytest
from unfamiliar import GROUPS, NONE, TASKS, Said, fitted


def said(scale, newness, nearer, rows=2000):
    """Return answers that are right as often as their logits say, and are `scale` times as sure."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(rows, 4)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    golds = np.array([random.choice(4, p=row) for row in shares])
    return Said(list(logits * scale), golds, np.tile([newness, nearer], (rows, 1)), 1.0)


def test_doubt_undoes_what_is_too_sure_and_too_little_sure():
    far, near = said(3.0, 0.1, 0.005), said(0.5, 0.1, 0.05)
    numbers = fitted([far, near])
    plain, steep = numbers
    assert np.exp(0.1 * steep * np.log(plain / 0.005)) == pytest.approx(3, rel=0.15)
    assert np.exp(0.1 * steep * np.log(plain / 0.05)) == pytest.approx(0.5, rel=0.15)
    for each in (far, near):
        assert each.error(numbers) < 0.035 < 0.1 < each.error()
        assert each.loss(numbers) < each.loss()


def test_what_is_known_is_not_doubted():
    known = said(2.0, 0.0, 0.001)
    assert known.error((0.03, 8.0)) == known.error()
    np.testing.assert_array_equal(known.shares((0.03, 8.0)), known.shares(NONE))


def test_numbers_for_a_group_come_from_groups_that_share_no_task_with_it():
    for tasks in GROUPS.values():
        assert {*tasks} < {*TASKS}
        assert sum(not {*others} & {*tasks} for others in GROUPS.values()) >= 2
