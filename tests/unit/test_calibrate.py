"""Temperatures and thresholds on made logits whose right answers are known."""

import numpy as np
import pytest

from umbel import calibrate


def drawn(rows, temperature, seed=0):
    """Return logits that are `temperature` times too large, and golds drawn from their true probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 5)) * 2
    golds = np.array([random.choice(5, p=row) for row in calibrate.softmax(logits)])
    return logits * temperature, golds


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature):
    logits, golds = drawn(6000, temperature)
    found = calibrate.fit_temperature(lambda t: calibrate.cross_entropy(logits / t, golds))
    assert found == pytest.approx(temperature, rel=0.1)


def test_a_language_has_its_own_where_it_has_rows_enough():
    first, second, third = drawn(3000, 0.5, 1), drawn(3000, 2.0, 2), drawn(20, 9.0, 3)
    logits, golds = (np.concatenate(parts) for parts in zip(first, second, third, strict=True))
    found = calibrate.fit_temperatures(
        logits, golds, ["zh"] * 3000 + ["en"] * 3000 + ["fr"] * 20, calibrate.cross_entropy
    )
    assert found["zh"] == pytest.approx(0.5, rel=0.15)
    assert found["en"] == pytest.approx(2.0, rel=0.15)
    assert set(found) == {"*", "zh", "en"}


def test_thresholds_part_the_golds():
    random = np.random.default_rng(0)
    golds = (random.random((400, 3)) < [0.5, 0.2, 0.005]).astype(float)
    probabilities = np.clip(golds * 0.3 + random.random((400, 3)) * 0.3, 0, 1)
    chosen = calibrate.fit_thresholds(probabilities, golds)
    for label in (0, 1):
        given = probabilities[:, label] >= chosen[label]
        assert (given == (golds[:, label] > 0)).all()
    assert chosen[2] == pytest.approx(calibrate._best_threshold(probabilities.ravel(), golds.ravel()))


def test_large_logits_stay_finite():
    logits = np.array([[1e4, -1e4, 0.0]])
    assert np.isfinite(calibrate.softmax(logits)).all()
    assert np.isfinite(calibrate.sigmoid(logits)).all()
    assert calibrate.cross_entropy(logits, np.array([0])) == 0
    assert np.isfinite(calibrate.binary_cross_entropy(logits, np.array([[1.0, 0.0, 1.0]])))
