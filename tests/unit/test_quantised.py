"""Maps in 8 bits: how near they come, what outliers cost, and what a file may hold."""

from dataclasses import replace

import numpy as np
import pytest

from umbel.quantised import HIGH, LOW, Rounding, fitted, from_tensors, to_tensors

WIDTH, OUTPUTS = 48, 24


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def weight(random):
    return random.normal(size=(OUTPUTS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def inputs(random):
    """Rows of channels that reach differently far, off zero; in few rows one channel reaches very far."""
    reach = np.exp(random.normal(size=WIDTH))
    rows = random.normal(size=(2000, WIDTH)) * reach + random.normal(size=WIDTH)
    rows[::100, 7] = 300 + 20 * random.normal(size=20)
    return rows.astype(np.float32)


def answered(rounding, weight, inputs):
    whole, scale = rounding.weights(weight)
    return rounding.rounded(inputs) @ (whole * scale).T + rounding.bias


def error(rounding, weight, inputs):
    """Return the error over rows without an outlier, over their variance."""
    kept = np.arange(len(inputs)) % 100 != 0
    wanted = inputs[kept] @ weight.T
    return float(((answered(rounding, weight, inputs[kept]) - wanted) ** 2).mean() / wanted.var())


def fit(inputs, weight, stretches=0):
    return fitted(inputs, inputs.min(axis=0), inputs.max(axis=0), weight, stretches)


def test_a_map_comes_near_and_says_how_near(inputs, weight):
    plain = np.delete(inputs, np.s_[::100], axis=0)
    rounding, told = fit(plain, weight)
    wanted = plain @ weight.T
    found = ((answered(rounding, weight, plain) - wanted) ** 2).mean() / wanted.var()
    assert found < 5e-4
    assert told == pytest.approx(found, rel=1)


def test_channels_that_reach_far_are_cut_so_that_other_rows_keep_their_precision(inputs, weight):
    (whole, _), (cut, _) = fit(inputs, weight), fit(inputs, weight, stretches=16)
    assert len(whole.channels) == WIDTH
    assert WIDTH < len(cut.channels) <= WIDTH + 16
    assert sorted(set(cut.channels.tolist())) == list(range(WIDTH))
    assert np.bincount(cut.channels).argmax() == 7
    assert error(cut, weight, inputs) < error(whole, weight, inputs) / 4
    far = inputs[::100]
    wanted = far @ weight.T
    assert np.abs(answered(cut, weight, far) - wanted).max() < 0.02 * np.abs(wanted).max()


def test_numbers_stay_within_8_bits_whatever_comes(inputs, weight):
    rounding, _ = fit(inputs, weight, stretches=16)
    found = rounding.rounded(np.full((1, WIDTH), 1e30, np.float32))
    assert found.min() >= LOW
    assert found.max() <= HIGH
    assert np.abs(rounding.weights(weight)[0].astype(int)).max() == HIGH


def test_a_channel_that_never_moves_and_a_row_of_no_weights_are_no_harm(inputs, weight):
    still, bare = inputs.copy(), weight.copy()
    still[:, 3], bare[5] = 1.5, 0
    rounding, told = fit(np.delete(still, np.s_[::100], axis=0), bare)
    assert told < 5e-4
    assert np.isfinite(answered(rounding, bare, still)).all()
    assert not answered(rounding, bare, still)[:, 5].any()


def test_a_row_is_rounded_the_same_in_any_company(inputs, weight):
    rounding, _ = fit(inputs, weight)
    assert np.array_equal(rounding.rounded(inputs)[5], rounding.rounded(inputs[5:6])[0])


def test_files_hold_what_was_written_and_nothing_else(inputs, weight):
    roundings = {"a.b": fit(inputs, weight)[0], "a": fit(inputs, weight, stretches=4)[0]}
    tensors = to_tensors(roundings)
    again = from_tensors(tensors)
    assert set(again) == set(roundings)
    for name, rounding in roundings.items():
        for part in ("channels", "scale", "shift", "bias"):
            assert np.array_equal(getattr(again[name], part), getattr(rounding, part))
    damaged = [
        {name: tensor for name, tensor in tensors.items() if name != "a.bias"},
        tensors | {"a.more": np.zeros(3)},
        tensors | {"a.scale": tensors["a.scale"][:-1]},
        tensors | {"a.scale": tensors["a.scale"][None]},
        tensors | {"loose": np.zeros(3)},
    ]
    for each in damaged:
        with pytest.raises(ValueError, match="rounding"):
            from_tensors(each)


def test_a_bias_is_what_the_rounding_leaves_out(inputs, weight):
    rounding, _ = fit(inputs, weight)
    bare = replace(rounding, bias=np.zeros(OUTPUTS, np.float32))
    assert isinstance(bare, Rounding)
    assert error(bare, weight, inputs) > 10 * error(rounding, weight, inputs)
