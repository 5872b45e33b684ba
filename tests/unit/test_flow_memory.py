"""Conversations: each turn is read once, the last ones are kept within bounds and asked again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel import Conversation, Flow
from umbel.errors import InputError
from umbel.questions import ExtractAnswer

STEPS = """\
flow: talk
pack: pack
steps:
  read: {tasks: sentiment}
  before: {ask: {said: {question: to, must-answer: true}, seen: {types: [place]}}, of: earlier}
  reply: {reply: "{message.turn} {said.text|nothing}"}
"""


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    folder = tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_pack(folder / "pack", write_tiny_backbone(folder / "backbone"), branches=True)
        (folder / "flow.yaml").write_text(STEPS)
        yield Flow.load(folder / "flow.yaml")


def test_earlier_turns_are_asked_without_reading_them_again(flow: Flow) -> None:
    talk = Conversation(flow, turns=4)
    first = talk("Paris to good")
    assert (first.step("before").state, first.step("before").why) == ("skipped", "there is no earlier turn")
    assert first.reply == "0 nothing"
    before = replace(flow.model.counters)
    second = talk("bad bad bad")
    said = second["said"]
    assert isinstance(said, ExtractAnswer)
    assert said.span is not None
    assert said.span.text in "Paris to good"
    assert flow.model.counters.encodings - before.encodings == 1


def test_the_newest_turn_that_says_something_answers(flow: Flow) -> None:
    talk = Conversation(flow)
    for text in ("good", "Paris", "bad"):
        talk(text)
    result = talk("to")
    said = result["said"]
    assert isinstance(said, ExtractAnswer)
    assert said.span is not None
    assert said.span.text == "bad"


def test_fifty_turns_stay_within_bounds_and_cost_the_same(flow: Flow) -> None:
    talk = Conversation(flow, turns=5)
    sizes, questions = [], []
    for number in range(50):
        before = replace(flow.model.counters)
        talk(f"good to Paris {'bad ' * (number % 7)}")
        sizes.append(talk.nbytes)
        questions.append(flow.model.counters.questions - before.questions)
        assert flow.model.counters.encodings - before.encodings <= 1
    assert len(talk.turns) == 5
    assert talk.forgotten == 45
    assert max(questions[5:]) <= 2 * 5
    assert max(sizes[5:]) <= 5 * max(turn.nbytes for turn in talk.turns) * 2


def test_bytes_are_bounded_too(flow: Flow) -> None:
    one = flow.model.read("good to Paris").nbytes
    talk = Conversation(flow, turns=100, most_bytes=3 * one)
    for _ in range(10):
        talk("good to Paris")
    assert talk.nbytes <= 3 * one
    assert len(talk.turns) == 3
    talk("good to Paris " * 50)
    assert talk.nbytes <= 3 * one
    talk.clear()
    assert (len(talk.turns), talk.forgotten, talk.nbytes) == (0, 0, 0)


def test_a_bad_message_leaves_the_conversation_as_it_was(flow: Flow) -> None:
    talk = Conversation(flow)
    talk("good")
    with pytest.raises(InputError):
        talk("  ")
    assert [turn.text for turn in talk.turns] == ["good"]
    with pytest.raises(InputError, match="expected 1 or more"):
        Conversation(flow, turns=0)


def test_it_is_at_hand_under_its_name() -> None:
    assert umbel.Conversation is Conversation
