"""Several inquiries answered together: each text encoded once, answers as alone, faults alone."""

import pickle

import numpy as np
import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.errors import BusyError, DataError, InputError, MissingExtraError, UmbelError
from umbel.inquiries import Inquiry, Reply
from umbel.questions import Choice, Option, Predicate

TEAMS = Choice("Which team?", (Option("billing"), Option("technical")))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inquiries")
    pack = write_tiny_pack(folder / "tiny", write_tiny_backbone(folder / "backbone"), branches=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        yield umbel.load(pack.folder)


@pytest.fixture(autouse=True)
def forget(model):
    model.encodings.__init__(model.encodings.most_bytes)


def same(one, other):
    assert list(one) == list(other)
    for name in one:
        if name == "vector":
            assert np.array_equal(one[name].vector, other[name].vector)
        else:
            assert one[name] == other[name]


def test_a_text_is_encoded_once_whoever_asks_what(model):
    wanted = [
        Inquiry("good to Paris", ["sentiment"]),
        Inquiry("good to Paris", ["entities", "vector"], [TEAMS]),
        Inquiry("good to Paris", [], [Predicate("It is good")]),
        Inquiry("bad", ["urgency"]),
    ]
    before = model.counters.encodings
    replies = model.inquire(wanted)
    assert model.counters.encodings - before == 2
    assert [list(reply.result) for reply in replies] == [["sentiment"], ["entities", "vector"], [], ["urgency"]]
    assert [len(reply.answers) for reply in replies] == [0, 1, 1, 0]


def test_answers_have_the_bits_that_they_have_alone(model):
    wanted = [Inquiry("good to Paris", None, [TEAMS]), Inquiry("bad to Paris"), Inquiry("good " * 90, ["entities"])]
    together = model.inquire([*wanted, Inquiry("Paris bad to")])
    for inquiry, reply in zip(wanted, together, strict=False):
        model.encodings.__init__(model.encodings.most_bytes)
        same(reply.result, model(inquiry.text, inquiry.tasks))
        assert list(reply.answers) == (model.ask(inquiry.text, inquiry.questions) if inquiry.questions else [])


def test_an_encoding_that_is_kept_is_not_made_again_and_gives_the_same(model):
    fresh = model("good to Paris")
    model.keep("good to Paris")
    before, hits = model.counters.encodings, model.encodings.hits
    (reply,) = model.inquire([Inquiry("good to Paris")])
    assert (model.counters.encodings - before, model.encodings.hits - hits) == (0, 1)
    same(reply.result, fresh)
    assert reply.result.cost.encoding == 0
    assert reply.result.cost.tasks["sentiment"] > 0


def test_a_fault_is_told_and_the_others_are_answered(model):
    wanted = [
        Inquiry(" "),
        Inquiry("bad", ["sentimant"]),
        Inquiry("bad", [], [Choice("Which?", (Option("a"),))]),
        Inquiry("bad", ["sentiment"]),
    ]
    *faults, reply = model.inquire(wanted)
    assert [type(fault) for fault in faults] == [InputError] * 3
    assert "did you mean 'sentiment'" in faults[1].message
    assert "questions[0].options: found 1" in faults[2].message
    assert isinstance(reply, Reply)


def test_nothing_is_answered_with_nothing(model):
    assert model.inquire([]) == []


@pytest.mark.parametrize(
    "error",
    [
        InputError("a", "b"),
        BusyError("full", retry_after=3.5),
        DataError("file", ["line 1", "line 2"], "mend it"),
        MissingExtraError("torch", "train"),
    ],
)
def test_errors_pass_whole_between_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, UmbelError)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
