"""Rows more for a small task: which texts are taken, and what the teacher's answers become."""

import numpy as np
import pytest

from umbel import taught
from umbel.data import Data
from umbel.records import (
    Example,
    LabelPrediction,
    LabelsPrediction,
    ScorePrediction,
    Span,
    SpansPrediction,
    Task,
    language_of,
)
from umbel.taught import taught_rows

NAMES = Task("names", "token-classification", ("person",), metric="f1")


class Teacher:
    """Answers with a given function; a text's vector is how often it has each of the letters."""

    def __init__(self, task, answer, letters="abcdef"):
        self.tasks, self.answer, self.letters = {task.name: task}, answer, letters
        self.compared, self.asked = [], []

    def means(self, texts):
        self.compared += texts
        return np.array([[1 + text.count(letter) for letter in self.letters] for text in texts], np.float32)

    def __call__(self, texts, tasks):
        self.asked += texts
        (task,) = tasks
        return [{task: self.answer(text)} for text in texts]


def row(text, **golds):
    return Example(text, golds, "rows:1", language_of(text))


def data_of(task, train, dev=()):
    return Data({task.name: task}, {place: list(rows) for place, rows in train.items()}, {"dev": list(dev)}, {})


def first_word(text):
    return SpansPrediction((Span(0, len(text.split()[0]), "person", text.split()[0], 0.9),))


def test_the_nearest_texts_of_other_tasks_are_taken_each_once(monkeypatch):
    monkeypatch.setattr(taught, "TIMES", 2)
    own = [row("aaaa a", names=()), row("bbbb b", names=())]
    others = [row(text, topic="x") for text in ("aaa ac", "cccc c", "bbb bc", "dddd d", "aaa aa", "ff ee", "aaa ac")]
    teacher = Teacher(NAMES, first_word)
    found = taught_rows(data_of(NAMES, {"own": own, "others": others}), "names", teacher)
    assert {each.text for each in found} == set(teacher.asked) >= {"aaa ac", "bbb bc", "aaa aa"}
    assert len(found) == 4
    assert all(each.golds == {"names": ((0, len(each.text.split()[0]), "person"),)} for each in found)
    assert {each.source for each in found} == {"taught:rows:1"}


def test_no_text_of_its_own_is_taken_nor_one_of_another_language():
    own, dev = [row("one two", names=())], [row("three", names=())]
    others = [row(text, topic="x") for text in ("one two", "three", "四五六", "  ", "seven")]
    teacher = Teacher(NAMES, first_word)
    found = taught_rows(data_of(NAMES, {"own": own, "others": others}, dev), "names", teacher)
    assert [each.text for each in found] == ["seven"]
    assert set(teacher.compared) == {"one two", "seven"}


def test_so_many_are_compared_and_told(monkeypatch):
    monkeypatch.setattr(taught, "LOOKED_AT", 70)
    monkeypatch.setattr(taught, "TIMES", 30)
    others = [row(f"word{number}", topic="x") for number in range(90)]
    told = []
    teacher = Teacher(NAMES, first_word)
    found = taught_rows(
        data_of(NAMES, {"own": [row("word", names=())], "others": others}), "names", teacher, told.append
    )
    assert (len(teacher.compared), len(found)) == (71, 30)
    assert sum(told) == 71 + 30
    again = taught_rows(data_of(NAMES, {"own": [row("word", names=())], "others": others}), "names", teacher)
    assert again == found


@pytest.mark.parametrize("train", [{"own": [row("one", names=())]}, {"others": [row("one", topic="x")]}])
def test_without_rows_of_either_there_is_nothing_to_teach(train):
    assert taught_rows(data_of(NAMES, train), "names", Teacher(NAMES, first_word)) == []


TOPIC = Task("topic", "text-classification", ("a", "b"))
MANY = Task("many", "text-classification", ("a", "b"), multi_label=True)
STARS = Task("stars", "regression")


@pytest.mark.parametrize(
    ("task", "said", "gold"),
    [
        (TOPIC, LabelPrediction("b", 0.9, {"a": 0.1, "b": 0.9}), "b"),
        (MANY, LabelsPrediction(("a", "b"), {"a": 0.8, "b": 0.9}), frozenset("ab")),
        (MANY, LabelsPrediction((), {"a": 0.1, "b": 0.1}), frozenset()),
        (STARS, ScorePrediction(2.5), 2.5),
        (NAMES, SpansPrediction(()), ()),
    ],
)
def test_answers_of_each_kind_become_golds(task, said, gold):
    data = data_of(task, {"own": [row("own", **{task.name: gold})], "others": [row("another", other="x")]})
    (found,) = taught_rows(data, task.name, Teacher(task, lambda _: said))
    assert found.golds == {task.name: gold}


def test_what_the_teacher_does_not_answer_is_left_out():
    data = data_of(TOPIC, {"own": [row("own", topic="a")], "others": [row("another", other="x")]})
    unsure = LabelPrediction(None, 0.5, {"a": 0.5, "b": 0.5}, abstained=True)
    assert taught_rows(data, "topic", Teacher(TOPIC, lambda _: unsure)) == []
