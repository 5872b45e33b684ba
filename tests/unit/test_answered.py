"""Calibration and scores of questions whose answers are known."""

import numpy as np
import pytest

from umbel import answered
from umbel.answered import Answered
from umbel.decide import UNCALIBRATED, Calibration
from umbel.overhangs import Sheds
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score

OFFSETS = np.array([(0, 0), (0, 4), (5, 8), (9, 12), (0, 0)], np.int32)
TEXT = "Anna met Bob"
ANNA, BOB, ALL = ((0, 4, "Anna"),), ((9, 12, "Bob"),), ((0, 12, TEXT),)
OPTIONS = (Option("a"), Option("b"), Option("c"))


def asked(question, gold, *logits):
    return Answered(question, gold, TEXT, [(OFFSETS, [np.asarray(part, np.float32) for part in logits])])


def overconfident(count=400, seed=0):
    """Choices whose logits are five times what they should be."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        honest = random.normal(0, 1.5, 3)
        gold = int(random.choice(3, p=np.exp(honest) / np.exp(honest).sum()))
        found.append(asked(Choice("?", OPTIONS), gold, 5 * honest))
    return found


def test_a_temperature_undoes_overconfidence():
    found = overconfident()
    calibration = answered.fit(found)
    assert calibration.temperatures["choice"] == pytest.approx(5, rel=0.2)
    before, after = (answered.scores(found, each)["choice"] for each in (UNCALIBRATED, calibration))
    assert after["ece"] < 0.06 < before["ece"]
    assert after["score"] == before["score"]


def test_brevity_is_taken_where_short_answers_are_right_and_left_where_long_ones_are():
    start, end = [0, 3, 0, 0, 0], [0, 1.5, 0, 2, 0]  # "Anna" is nearly as likely as "Anna met Bob"
    short, long = ([asked(Extract("who"), gold, start, end)] * 30 for gold in (ANNA, ALL))
    assert answered.fit(long).brevity == 0
    fitted = answered.fit(short)
    assert fitted.brevity > 0
    assert answered.scores(short, fitted)["extract"]["score"] == 100
    before = answered.scores(short, UNCALIBRATED)["extract"]
    assert (before["score"], before["f1"]) == (0, pytest.approx(50))


def test_any_of_several_gold_answers_is_right():
    values = [0, 0, 0, 5, 0]
    found = [asked(Extract("who"), (*ANNA, *BOB), values, values), asked(Extract("who"), ANNA, values, values)]
    scores = answered.scores(found, UNCALIBRATED)["extract"]
    assert (scores["score"], scores["f1"]) == (50, 50)


def test_what_a_calibration_starts_with_stays():
    start = Calibration(blank=0.3, sheds=Sheds("a", "b"))
    fitted = answered.fit(overconfident(), start)
    assert (fitted.blank, fitted.sheds) == (0.3, start.sheds)
    assert fitted.temperatures["choice"] == pytest.approx(5, rel=0.2)


def test_more_questions_than_are_needed_fit_the_same():
    many = overconfident(3 * answered.MOST_ASKED)
    assert answered.fit(many) == answered.fit(many[::3])


def test_every_kind_is_scored_by_its_own_rule():
    spans = np.full((3, 1, 5), -9.0)
    spans[:, 0, 3] = 9
    found = [
        asked(Predicate("x"), True, [2.0]),
        asked(Predicate("x"), True, [-2.0]),
        asked(Score("x", OPTIONS), np.float32([0, 0.4, 0.6]), [0, 1, 2]),
        asked(Extract("who"), BOB, [0, 0, 0, 5, 0], [0, 0, 0, 5, 0]),
        asked(Extract("who"), (), [0, 0, 0, 5, 0], [0, 0, 0, 5, 0]),
        asked(Mentions((Option("person"),)), ((0, 0, 4), (0, 9, 12)), *spans),
    ]
    scores = answered.scores(found, UNCALIBRATED)
    assert {name: each["score"] for name, each in scores.items()} == {
        "predicate": 50.0,
        "score": 100.0,
        "extract": 50.0,
        "mentions": pytest.approx(200 / 3),
    }
    assert scores["predicate"]["asked"] == 2
    assert "ece" not in scores["mentions"]


def test_too_few_questions_fit_nothing():
    assert answered.fit(overconfident(answered.MIN_ASKED - 1)) == Calibration()


def test_the_threshold_of_mentions_is_the_one_with_the_best_f1():
    """True mentions lie at a probability of 0.3, false ones at 0.2."""
    logits = {True: np.log(0.3 / 0.7), False: np.log(0.2 / 0.8)}
    found = []
    for number in range(40):
        values = np.full((3, 1, 5), -20.0)
        values[:, 0, 3] = logits[number % 2 == 0]
        found.append(asked(Mentions((Option("person"),)), ((0, 9, 12),) if number % 2 == 0 else (), *values))
    calibration = answered.fit(found)
    assert 0.2 < calibration.mention <= 0.3
    assert answered.scores(found, calibration)["mentions"]["score"] == 100


def test_temperatures_of_spans_and_levels_are_fitted_too():
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        level = int(random.integers(0, 3))
        shown = level if random.random() < 0.7 else int(random.integers(0, 3))
        found.append(asked(Score("x", OPTIONS), np.eye(3, dtype=np.float32)[level], 8 * np.eye(3)[shown]))
        place = 3 if random.random() < 0.7 else 1
        values = np.zeros(5)
        values[place] = 12
        found.append(asked(Extract("who"), BOB, values, values))
    calibration = answered.fit(found)
    assert calibration.temperatures["score"] > 1.5
    assert calibration.temperatures["extract"] > 1.5
