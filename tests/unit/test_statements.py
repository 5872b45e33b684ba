"""Chinese questions that want yes or no become statements; all else stays as it was written."""

import pytest

from umbel.statements import as_statement, is_question


@pytest.mark.parametrize(
    ("asked", "stated"),
    [
        ("顾客满意吗？", "顾客满意"),
        ("顾客满意吗", "顾客满意"),
        ("顧客滿意嗎?", "顧客滿意"),
        ("质量有没有问题？", "质量有问题"),
        ("質量有沒有問題？", "質量有問題"),
        ("是不是好评？ ", "是好评"),
        ("顾客满不满意呢？", "顾客满意"),
        ("可以不可以退货?", "可以退货"),
        ("顾客是否不满？", "顾客不满"),
        ("能否退款？", "能退款"),
        ("付款了没有？", "付款了"),
        ("有什么问题吗？", "有什么问题"),
    ],
)
def test_a_chinese_question_becomes_its_statement(asked, stated):
    assert as_statement(asked) == stated
    assert not is_question(asked)


@pytest.mark.parametrize(
    "words",
    [
        "顾客很满意",
        "产品没有问题",
        "他一不留神就丢了手机",
        "不知道客户是否满意",
        "It is late",
        "吗？",
        "是否？",
        " ",
        "？",
    ],
)
def test_statements_and_words_that_would_be_left_without_any_stay(words):
    assert as_statement(words) == words


@pytest.mark.parametrize("words", ["Is it late?", "客户想要什么？", "客户怎么了呢？"])
def test_other_questions_stay_and_are_known_as_such(words):
    assert as_statement(words) == words
    assert is_question(words)
