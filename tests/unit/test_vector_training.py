"""The map of vectors: it undoes a bent space, brings questions to their passages, and is judged on unseen texts."""

import numpy as np
import pytest

from umbel.vector_training import Judged, Texts, fit, judge, learn, numbered

HIDDEN = 16
NO_PAIRS = np.zeros((0, 2), np.int64)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bent(targets, rng):
    """Return vectors in which two directions drown all others, and all lie near each other."""
    stretch = np.ones(HIDDEN)
    stretch[:2] = 12
    turn = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0]
    return ((targets * stretch) @ turn + 3).astype(np.float32)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    targets = unit(rng.normal(size=(900, HIDDEN))).astype(np.float32)
    return Texts(bent(targets, rng), targets, rng.integers(0, 3, 900), np.arange(900), NO_PAIRS)


def test_a_map_brings_the_backbones_neighbours_back(texts):
    (weight, bias), judged = learn(texts)
    assert (weight.shape, bias.shape) == ((HIDDEN, HIDDEN), (HIDDEN,))
    before, after = judged.nearest
    assert after > before + 20
    assert judged.helps
    assert judged.found is None
    assert judged.scores() == {"nearest-before": round(before, 4), "nearest": round(after, 4)}


def test_the_same_seed_gives_the_same_map(texts):
    first, second = learn(texts, 5), learn(texts, 5)
    assert np.array_equal(first[0][0], second[0][0])
    assert first[1] == second[1]


def test_questions_come_nearer_to_their_passages():
    rng = np.random.default_rng(1)
    passages = unit(rng.normal(size=(500, HIDDEN)))
    questions = unit(passages + 0.15 * rng.normal(size=passages.shape))
    questions[:, 0] += 2  # all questions are alike in one direction
    means = np.concatenate([questions, passages]).astype(np.float32)
    pairs = np.stack([np.arange(500), 500 + np.arange(500)], axis=1)
    documents = np.arange(1000) % 500
    judged = learn(Texts(means, unit(means), numbered(["q"] * 500 + ["p"] * 500), documents, pairs))[1]
    assert judged.found[1] > judged.found[0] + 20
    assert set(judged.scores()) == {"nearest-before", "nearest", "found-before", "found"}


def test_a_map_that_is_there_is_what_another_is_held_against(texts):
    found, over_none = learn(texts, 5)
    assert learn(texts, 5, found)[1].nearest == (over_none.nearest[1],) * 2
    assert not learn(texts, 5, found)[1].helps


def test_of_a_document_all_is_held_back_or_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    targets = unit(rng.normal(size=(900, HIDDEN))).astype(np.float32)
    targets[:, 0] = np.arange(900) % 300  # the document, which none of what is done with it changes
    documents, seen = np.arange(900) % 300, []
    monkeypatch.setattr("umbel.vector_training.fit", lambda texts, rng: seen.append(texts) or "map")
    monkeypatch.setattr("umbel.vector_training.judge", lambda texts, found, before: seen.append(texts))
    learn(Texts(targets, targets, np.zeros(900, np.int64), documents, np.array([(300, 600), (301, 601)])))
    learnt, held = ({*texts.means[:, 0].tolist()} for texts in seen)
    assert learnt | held == {*range(300)}
    assert not learnt & held
    assert len(held) > 10
    assert sum(len(texts.pairs) for texts in seen) == 2
    for texts in seen:
        assert (texts.means[:, 0] == texts.documents).all()
        assert (texts.means[texts.pairs, 0] == texts.documents[texts.pairs]).all()


def test_no_map_leaves_the_figures_as_they_are(texts):
    judged = judge(texts, (np.eye(HIDDEN, dtype=np.float32), np.zeros(HIDDEN, np.float32)))
    assert judged.nearest[0] == judged.nearest[1]
    assert not judged.helps


def test_what_the_backbone_says_itself_needs_no_map():
    rng = np.random.default_rng(2)
    targets = unit(rng.normal(size=(400, HIDDEN))).astype(np.float32)
    same = Texts(targets, targets, np.zeros(400, np.int64), np.arange(400), NO_PAIRS)
    assert judge(same, fit(same, rng)).nearest[0] == 100
    assert not learn(same)[1].helps


def test_files_of_one_text_do_not_stop_it():
    rng = np.random.default_rng(3)
    targets = unit(rng.normal(size=(300, HIDDEN))).astype(np.float32)
    files = np.arange(300)  # each text a file of its own
    weight, bias = fit(Texts(targets, targets, files, files, NO_PAIRS), rng)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_a_gain_in_one_figure_may_outweigh_a_loss_in_the_other():
    assert Judged((50.0, 49.0), (60.0, 65.0)).helps
    assert not Judged((50.0, 45.0), (60.0, 61.0)).helps
