"""Questions to a toy decoder: no answer depends on the order of options or on other questions."""

from __future__ import annotations

import pytest
from toy_decoder import TEMPLATE, ToyDecoder

from umbel.decide import LabelPrediction
from umbel.decoding.zeroshot import Asker, Readout
from umbel.errors import InputError
from umbel.questions import (
    Choice,
    Extract,
    ExtractAnswer,
    Mentions,
    Option,
    Predicate,
    PredicateAnswer,
    Score,
    ScoreAnswer,
)

TEXT = "Anna paid 20 pounds in Leeds"
NAMES = ("billing", "shipping", "technical_help", "其他")
TEAM = Choice("Which team?", tuple(map(Option, NAMES)))
ANGRY = Predicate("Someone is angry")
URGENT = Score("How urgent?", (Option("low"), Option("middle"), Option("high")))
WHO = Extract("Who paid?")


@pytest.mark.parametrize("readout", [Readout(), Readout("sum", False, True), Readout("mean", True, True)])
def test_order_and_company_change_nothing(readout: Readout) -> None:
    asker = Asker(ToyDecoder(), readout)
    together = asker.ask(TEXT, [TEAM, ANGRY, URGENT, WHO])
    assert [type(each) for each in together] == [LabelPrediction, PredicateAnswer, ScoreAnswer, ExtractAnswer]
    turned = Choice(TEAM.instruction, TEAM.options[::-1])
    alone = Asker(ToyDecoder(), readout)
    team, angry = alone.ask(TEXT, [turned])[0], alone.ask(TEXT, [ANGRY])[0]
    assert isinstance(team, LabelPrediction)
    assert isinstance(together[0], LabelPrediction)
    assert team.probabilities == pytest.approx(together[0].probabilities, abs=1e-6)
    assert list(team.probabilities) == list(NAMES[::-1])
    assert angry == together[1]
    assert alone.ask(TEXT, [WHO])[0] == together[3]


def test_what_an_option_has_without_a_text_is_taken_off() -> None:
    """Without a text to tell options apart, all are as likely."""
    answer = Asker(ToyDecoder(), Readout("sum")).ask("N/A", [TEAM])[0]
    assert isinstance(answer, LabelPrediction)
    assert list(answer.probabilities.values()) == pytest.approx([0.25] * 4)


def test_an_answer_stands_in_the_text_or_there_is_none() -> None:
    def says(word: str) -> Asker:
        return Asker(ToyDecoder(lambda asked: word.encode()))

    (found,) = says("Leeds").ask(TEXT, [Extract("Where?")])
    assert isinstance(found, ExtractAnswer)
    assert found.span is not None
    assert TEXT[found.span.start : found.span.end] == found.span.text == "Leeds"
    (none,) = says("none").ask(TEXT, [Extract("Why?")])
    assert isinstance(none, ExtractAnswer)
    assert none.span is None
    (other,) = says("London").ask(TEXT, [Extract("Where?", must_answer=True)])  # not in the text: must be of it
    assert isinstance(other, ExtractAnswer)
    assert other.span is None or other.span.text in TEXT
    (chinese,) = says("张三").ask("昨天张三来了", [Extract("谁来了？")])
    assert isinstance(chinese, ExtractAnswer)
    assert chinese.span is not None
    assert chinese.span.start == 2


def test_a_text_is_read_once_for_all_questions_and_once_for_their_calibration() -> None:
    decoder = ToyDecoder()
    asker = Asker(decoder)
    asker.ask(TEXT, [TEAM, ANGRY, URGENT, Predicate("有人生气")])
    assert len(decoder.read) == 3  # the text, and what stands for none in English and Chinese
    asker.ask("Another", [TEAM, ANGRY])
    assert len(decoder.read) == 4


def test_bad_questions_and_texts_are_told() -> None:
    asker = Asker(ToyDecoder(context=400))
    with pytest.raises(InputError, match="blank"):
        asker.ask(" ", [ANGRY])
    with pytest.raises(InputError, match="does not mark spans"):
        asker.ask(TEXT, [Mentions((Option("person"),))])
    with pytest.raises(InputError, match="options: found 1"):
        asker.ask(TEXT, [ANGRY, Choice("Which?", (Option("one"),))])
    with pytest.raises(InputError, match=r"is asked of at most 144"):
        asker.ask("long " * 100, [ANGRY])


def test_a_base_model_is_asked_without_a_chat() -> None:
    decoder = ToyDecoder(template="")
    asker = Asker(decoder)
    assert asker.ask(TEXT, [ANGRY])[0] == Asker(ToyDecoder(template="")).ask(TEXT, [ANGRY])[0]
    assert all(token < 256 for token in decoder.read[0])
    assert TEMPLATE
