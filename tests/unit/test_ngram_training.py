"""N-grams are learnt as scikit-learn's logistic regression learns them, and count as much as dev rows bear out."""

import numpy as np
import pytest
from scipy import special
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from umbel import ngram_training
from umbel.kinds.base import kind_of
from umbel.ngram_training import STRENGTH, Judged, Rows, fit, judge, learn
from umbel.records import Example, Task

WORDS = ("alpha", "beta", "金山", "delta", "epsilon")
TASK = Task("topic", "text-classification", ("a", "b", "c"), metric="accuracy")


def texts_of(count, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 3)) for _ in range(count)]


def label_of(text):
    return "a" if "alp" in text else "b" if "金" in text else "c"


def rows_of(texts, task=TASK, gold=label_of):
    examples = [Example(text, {task.name: gold(text)}, f"rows:{at}", "en") for at, text in enumerate(texts)]
    kind = kind_of(task.kind)
    return Rows(examples, np.stack([kind.target(task, each.golds[task.name], None) for each in examples]))


def test_it_is_scikit_learns_regression_of_tfidf(monkeypatch):
    monkeypatch.setattr(ngram_training, "STEPS", 500)
    texts, rows = texts_of(60), rows_of(texts_of(60))
    found = fit(TASK, texts, rows.targets)
    features = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    inputs = features.fit_transform(texts)
    other = LogisticRegression(C=1 / STRENGTH, max_iter=5000, tol=1e-8).fit(inputs, rows.targets)
    assert len(found.vocabulary.keys) == len(features.vocabulary_)
    more = texts_of(30, seed=1)
    ours = special.softmax(np.stack([found.of(text) for text in more]), axis=1)
    np.testing.assert_allclose(ours, other.predict_proba(features.transform(more)), atol=3e-3)  # 16 bits are stored


def test_several_labels_are_learnt_each_by_itself():
    task = Task("topics", "text-classification", ("alp", "金", "zzz"), multi_label=True, metric="micro-f1")
    rows = rows_of(texts_of(80), task, lambda text: frozenset(label for label in task.labels if label in text))
    found = fit(task, texts_of(80), rows.targets)
    for text in texts_of(20, seed=2):
        assert [bool(logit > 0) for logit in found.of(text)] == [label in text for label in task.labels]


def test_what_a_head_knows_by_itself_is_left_to_it():
    train, dev = rows_of(texts_of(80)), rows_of(texts_of(60, seed=3))
    right = np.eye(3, dtype=np.float32)[dev.targets] * 8
    _, judged = learn(TASK, train, dev, right)
    assert judged.without == 100
    assert not judged.helps(TASK.metric)


def test_a_head_that_knows_nothing_gains():
    train, dev = rows_of(texts_of(80)), rows_of(texts_of(60, seed=3))
    ngrams, judged = learn(TASK, train, dev, np.zeros((60, 3), np.float32))
    assert judged.score == 100 > judged.without
    assert judged.helps(TASK.metric)
    for text in texts_of(20, seed=4):
        assert TASK.labels[ngrams.of(text).argmax()] == label_of(text)


def test_the_share_is_fitted_on_other_rows_than_are_scored():
    random = np.random.default_rng(6)
    dev = rows_of(texts_of(400, seed=5), gold=lambda text: str(random.choice(["a", "b", "c"])))
    noise = random.normal(size=(400, 3)).astype(np.float32)
    judged = judge(TASK, noise, random.normal(size=(400, 3)).astype(np.float32), dev)
    assert abs(judged.score - judged.without) < 8  # both guess: some 33 %
    assert judged.score < 45


def test_an_error_is_better_where_it_is_less():
    assert Judged(0.5, 3.0, 2.0).helps("mean-absolute-error") or not Judged(0.5, 3.0, 2.0).helps("accuracy")
    assert not Judged(0.0, 2.0, 3.0).helps("accuracy")


def test_rows_that_share_no_character_are_learnt_from_all_the_same():
    found = fit(TASK, ["x", "y", "z"], np.array([0, 1, 2]))
    assert [found.of(text).argmax() for text in "xyz"] == [0, 1, 2]


@pytest.mark.parametrize("longest", [1, 5])
def test_no_ngram_is_longer_than_asked(longest):
    found = fit(TASK, texts_of(40), rows_of(texts_of(40)).targets, longest)
    assert found.longest == longest
