"""Records: temperatures by language, spans as a sequence, results as a mapping, the language of a text."""

import pytest

from umbel.records import LabelPrediction, Result, Span, SpansPrediction, Task, language_of


def test_a_temperature_is_of_the_language_else_of_all_else_one():
    task = Task("t", "text-classification", temperature={"*": 2.0, "zh": 3.0})
    assert [task.temperature_for(language) for language in ("zh", "en")] == [3.0, 2.0]
    assert Task("t", "text-classification").temperature_for("zh") == 1.0


def test_spans_are_read_as_a_sequence():
    spans = (Span(0, 2, "a"), Span(3, 4, "b"))
    prediction = SpansPrediction(spans)
    assert (len(prediction), prediction[1], tuple(prediction)) == (2, spans[1], spans)


def test_a_result_is_read_by_task():
    answer = LabelPrediction("a", 0.5, {"a": 0.5, "b": 0.5})
    result = Result("text", {"second": answer, "first": answer}, "en")
    assert list(result) == ["second", "first"]
    assert dict(result) == {"second": answer, "first": answer}
    assert len(result) == 2
    with pytest.raises(KeyError):
        result["third"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("这是一个关于AI的多任务处理案例。", "zh"),
        ("Good morning", "en"),
        ("The word for tea is 茶, as everyone who went there knows", "en"),
        ("iPhone 14 的电池", "zh"),
        ("豈更", "zh"),
        ("𠀀", "zh"),
        ("鲜の味道，每天都有不一样的惊喜", "zh"),
        ("ありがとう", "ja"),
        ("東京の天気を教えてください", "ja"),
        ("ｶﾀｶﾅ", "ja"),
        ("서울에서 맛있는 식당을 찾아 주세요", "ko"),
        ("Привет, как дела?", "und"),
        ("Мой iPhone 14 не работает", "und"),
        ("The Russian word is чай", "en"),
        ("مرحبا بالعالم", "und"),
        ("שלום עולם", "und"),
        ("สวัสดีครับ", "und"),
        ("Καλημέρα κόσμε", "und"),
        ("नमस्ते दुनिया", "und"),
        ("Où est la gare ?", "en"),  # Latin letters all count as English
        ("12345 😀", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_told_by_the_script(text, language):
    assert language_of(text) == language
