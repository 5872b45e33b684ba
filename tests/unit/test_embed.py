"""Feature extraction: vectors of length 1, no data, no head that training knows of."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from umbel.kinds.embed import FeatureExtraction
from umbel.records import Task, VectorPrediction, Window

KIND = FeatureExtraction()
TASK = Task("vector", "feature-extraction")
WINDOW = Window(np.zeros(4, np.int32), np.zeros((4, 2), np.int32))


@given(arrays(np.float32, 8, elements=st.floats(-100, 100, width=32)))
def test_vectors_have_length_one_and_keep_their_direction(hidden):
    prediction = KIND.predict(TASK, hidden, "text", WINDOW.offsets, "en")
    assert isinstance(prediction, VectorPrediction)
    assert prediction.vector.dtype == np.float32
    length = float(np.linalg.norm(hidden))
    if length > 1e-6:
        assert np.linalg.norm(prediction.vector) == pytest.approx(1, abs=1e-5)
        assert np.allclose(prediction.vector * length, hidden, atol=1e-3)


def test_a_zero_vector_stays_zero():
    assert not KIND.predict(TASK, np.zeros(3, np.float32), "", WINDOW.offsets, "en").vector.any()


def test_windows_merge_weighted_by_tokens():
    windows = [WINDOW, Window(np.zeros(12, np.int32), np.zeros((12, 2), np.int32), 1)]
    merged = KIND.merge(TASK, [np.array([0, 4], np.float32), np.array([4, 0], np.float32)], windows)
    assert merged.tolist() == [3, 1]


def test_data_is_refused():
    with pytest.raises(ValueError, match="takes no data; leave out `data`"):
        KIND.parse(TASK, "x", "text")


def test_nothing_is_trained_scored_or_calibrated():
    assert not KIND.trained
    assert KIND.width(TASK) == 0
    assert KIND.target(TASK, None, WINDOW).shape == (0,)
    assert KIND.loss(TASK, torch.ones(3, 2), torch.zeros(3, 0)).tolist() == [0, 0, 0]
    assert (KIND.labels_in("x"), KIND.score(TASK, [], [])) == ((), {})
    assert KIND.observe(TASK, []) == TASK
    assert KIND.calibrate(TASK, [], [], []) == (TASK, {})
