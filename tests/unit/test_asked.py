"""Questions that rows bring: every form is read, and every fault told."""

import numpy as np
import pytest

from umbel.kinds.base import kind_of
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.records import Task

TEXT = "Anna called twice about her invoice."
KIND, TASK = kind_of("asked"), Task("own", "asked")


@pytest.mark.parametrize(
    ("cell", "question", "gold"),
    [
        ({"question": "Who?", "answers": [{"start": 0, "text": "Anna"}]}, Extract("Who?"), ((0, 4, "Anna"),)),
        ({"question": "Where?", "answers": []}, Extract("Where?"), ()),
        (
            {"choice": "Team?", "options": ["billing: money", "technical"], "answer": "technical"},
            Choice("Team?", (Option("billing", "money"), Option("technical"))),
            1,
        ),
        ({"predicate": "She is calm", "answer": False}, Predicate("She is calm"), False),
        (
            {"types": ["person", "place"], "spans": [{"start": 0, "end": 4, "label": "person"}]},
            Mentions((Option("person"), Option("place"))),
            ((0, 0, 4),),
        ),
    ],
)
def test_every_form_is_read(cell, question, gold):
    assert KIND.parse(TASK, cell, TEXT) == ((question, gold),)
    assert KIND.parse(TASK, [cell, cell], TEXT) == ((question, gold),) * 2


def test_a_place_on_a_scale_is_shared_by_its_neighbours():
    ((question, gold),) = KIND.parse(TASK, {"score": "Angry?", "levels": ["a", "b", "c"], "answer": 1.25}, TEXT)
    assert isinstance(question, Score)
    np.testing.assert_allclose(gold, [0, 0.75, 0.25])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("Who?", "expected a question: a mapping with one of"),
        ({"question": "x", "choice": "y"}, "expected a question"),
        ({"question": " "}, "question: it is blank"),
        ({"question": "x", "answers": [{"start": 1, "text": "Anna"}]}, "does not stand there in the text"),
        ({"question": "x", "answers": "Anna"}, "answers: found 'Anna', expected a list"),
        (
            {"choice": "x", "options": ["billing", "tech"], "answer": "biling"},
            "is not an option; did you mean 'billing'",
        ),
        ({"choice": "x", "options": ["one"], "answer": "one"}, "options: found 1, expected 2 to 255"),
        ({"predicate": "x", "answer": "yes"}, "found 'yes', expected true or false"),
        ({"score": "x", "levels": ["a", "b"], "answer": 2}, "found 2, expected a place on the scale, 0 to 1"),
        ({"types": ["a"], "spans": [{"start": 0, "end": 99, "label": "a"}]}, "outside the text of 36 characters"),
        ({"types": ["a"], "spans": [{"start": 0, "end": 3, "label": "b"}]}, "'b' is not one of the types"),
    ],
)
def test_faults_are_told(cell, message):
    with pytest.raises(ValueError, match=message):
        KIND.parse(TASK, cell, TEXT)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ({"question": "Who?", "answers": ["Anna"]}, "answers: found 'Anna'"),
        ({"types": ["person", "place"], "spans": ["Anna"]}, "spans: found 'Anna'"),
    ],
)
def test_words_without_their_place_are_told(cell, told):
    with pytest.raises(ValueError, match=told):
        kind_of("asked").parse(Task("reading", "asked"), cell, "Anna called")
