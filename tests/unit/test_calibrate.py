"""Temperatures and thresholds on made logits whose right answers are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from umbel import calibrate, metrics

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 6)), elements=st.floats(-50, 50))


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


@given(LOGITS)
def test_probabilities_equal_scipy(logits):
    assert np.allclose(calibrate.softmax(logits), special.softmax(logits, axis=-1), atol=1e-12)
    assert np.allclose(calibrate.sigmoid(logits), special.expit(logits), atol=1e-12)


@given(LOGITS, st.data())
def test_losses_equal_the_obvious_ones(logits, data):
    rows, labels = logits.shape
    golds = np.array(data.draw(st.lists(st.integers(0, labels - 1), min_size=rows, max_size=rows)))
    obvious = -special.log_softmax(logits, axis=-1)[np.arange(rows), golds].mean()
    assert calibrate.cross_entropy(logits, golds) == pytest.approx(obvious, abs=1e-9)
    many = (np.arange(labels) == golds[:, None]).astype(float)
    obvious = -np.where(many > 0, special.log_expit(logits), special.log_expit(-logits)).mean()
    assert calibrate.binary_cross_entropy(logits, many) == pytest.approx(obvious, abs=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_no_other_temperature_has_a_lower_loss(seed, temperature):
    logits, golds = drawn(60, temperature, seed)

    def loss(divisor):
        return calibrate.cross_entropy(logits / divisor, golds)

    found = loss(calibrate.fit_temperature(loss))
    assert found <= min(map(loss, np.geomspace(0.1, 10, 60))) + 1e-4


def test_calibration_lowers_the_error():
    logits, golds = drawn(3000, 3.0)
    divisor = calibrate.fit_temperature(lambda t: calibrate.cross_entropy(logits / t, golds))
    before, after = (
        metrics.calibration_error(p.max(-1), p.argmax(-1) == golds)
        for p in (calibrate.softmax(logits), calibrate.softmax(logits / divisor))
    )
    assert after < before / 3


def f1_at(threshold, probabilities, golds):
    chosen = probabilities >= threshold
    return metrics.f1((chosen & golds).sum(), chosen.sum(), golds.sum())


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=10, max_size=60))
def test_no_other_threshold_has_a_better_f1(pairs):
    probabilities, golds = np.array([p for p, _ in pairs]), np.array([gold for _, gold in pairs])
    (found,) = calibrate.fit_thresholds(probabilities[:, None], golds[:, None].astype(float))
    best = max(f1_at(threshold, probabilities, golds) for threshold in np.linspace(0.05, 0.95, 91).round(4))
    assert f1_at(found, probabilities, golds) == pytest.approx(best)


def test_a_label_without_positives_is_given_from_a_half_on():
    probabilities = np.array([[0.07], [0.2], [0.4]])
    assert calibrate.fit_thresholds(probabilities, np.zeros((3, 1))).tolist() == [0.5]


def test_a_threshold_stands_in_the_middle_between_both_sides():
    probabilities = np.array([[0.2]] * 20 + [[0.8]] * 20)
    (found,) = calibrate.fit_thresholds(probabilities, (probabilities > 0.5).astype(float))
    assert found == pytest.approx(0.5, abs=0.02)
