"""How doubt is fitted: it is found where new choices are too sure, and not where they are as right as they are sure."""

import numpy as np
import pytest
from unfamiliar import Said, fitted


def said(options, scale, novelty, rows=2000):
    """Return answers that are right as often as their logits say, and are `scale` times as sure."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(rows, options)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    golds = np.array([random.choice(options, p=row) for row in shares])
    return Said(list(logits * scale), golds, np.full(rows, novelty), 1.0)


def test_doubt_undoes_what_is_too_sure():
    two, four = said(2, 3.0, 0.1), said(4, 1.0, 0.1)
    first, second = fitted([two, four])
    assert np.exp(0.1 * (first + second * np.log(2))) == pytest.approx(3, rel=0.15)
    assert np.exp(0.1 * max(first + second * np.log(4), 0)) == pytest.approx(1, abs=0.1)
    assert two.error((first, second)) < 0.03 < two.error((0, 0))
    assert two.loss((first, second)) < two.loss((0, 0))


def test_what_is_known_is_not_doubted():
    known = said(2, 3.0, 0.0)
    assert known.error((16, -10)) == known.error((0, 0))
    np.testing.assert_array_equal(known.shares((16, -10)), known.shares((0, 0)))
