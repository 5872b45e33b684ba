"""Passages in pieces with the questions answered in them, and pairs of sentences as levels of closeness."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "packs/base"))
import reading  # type: ignore[import-not-found]

from umbel.kinds.asked import Asked
from umbel.questions import Extract, Score
from umbel.records import Task

TASK = Task("own", "asked")
FIRST = "安娜住在罗马。" * 40
SECOND = "鲍勃去了巴黎！" + "他很高兴。" * 60
TEXT = FIRST + SECOND


def question(words, answer):
    return {"text": TEXT, "question": words, "answers": [{"start": TEXT.index(answer), "text": answer}]}


@given(st.text("ab。！\n", max_size=900))
def test_pieces_cover_the_text_in_order(text):
    found = reading.pieces(text)
    assert "".join(text[start:end] for start, end in found) == text
    for start, end in found:
        assert end - start <= reading.LONGEST or not any(
            mark in text[start : end - 1].rstrip("。！\n") for mark in "。！\n"
        )


def test_a_question_stands_with_the_piece_that_answers_it_and_one_that_does_not():
    rows = reading.passages(
        [question("谁住在罗马？", "安娜"), question("鲍勃去了哪里？", "巴黎"), question(" ", "罗马")]
    )
    assert "".join(row["text"] for row in rows) == TEXT
    answered = {}
    for row in rows:
        for asked, golds in Asked().parse(TASK, row["asked"], row["text"]):
            assert isinstance(asked, Extract)
            answered.setdefault(asked.question, set()).add(golds[0][2] if golds else None)
    assert {question: found - {None} for question, found in answered.items()} == {
        "谁住在罗马？": {"安娜"},
        "鲍勃去了哪里？": {"巴黎"},
    }
    assert any(None in found for found in answered.values())


def test_a_question_is_not_unanswerable_where_its_answer_stands_by_chance():
    rows = reading.passages([question("谁很高兴？", "他很高兴"), question("谁住在罗马？", "安娜")])
    second = next(row for row in rows if row["text"].endswith("他很高兴。"))
    assert [asked for asked in second["asked"] if asked["question"] == "谁很高兴？" and not asked["answers"]] == []


@pytest.mark.parametrize("similarity", [0.0, 2.5, 5.0])
def test_pairs_become_scores_both_ways(similarity):
    rows = reading.pairs([{"text": "A man eats.", "text_pair": "A man is eating.", "similarity": similarity}])
    assert {row["text"] for row in rows} == {"A man eats.", "A man is eating."}
    for row in rows:
        ((asked, gold),) = Asked().parse(TASK, row["asked"], row["text"])
        assert isinstance(asked, Score)
        place = sum(number * share for number, share in enumerate(gold)) / (len(asked.levels) - 1)
        assert place == pytest.approx(similarity / 5, abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "answer", "left"),
    [
        ("王冠球场建于哪一年？", "建于1968年。", "1968年"),
        ("乌克兰国徽是何时被采纳成功的？", "1992年2月19日经乌克兰最高拉达采纳作为国徽。", "1992年2月19日"),
        ("哪一年成立？", "成立于1968年2月20日", "1968年"),
        ("相传野利仁荣在哪一年奉命创造蕃书？", "大庆元年（1036年）", "大庆元年（1036年）"),
        ("美土关系破裂是在什么时候？", "2016年土耳其政变后", "2016年土耳其政变后"),
        ("起讫于何时？", "2008年8月16日开始，2009年5月24日结束", "2008年8月16日开始，2009年5月24日结束"),
        ("2008年夏季奥林匹克运动会耗资多少美元？", "共耗资430亿美元", "430亿美元"),
        ("有多少枚臀鳍软条？", "臀鳍软条74至81枚", "74至81枚"),
        ("是巴黎地铁几号线的换乘站？", "地铁1、4、7、11和14号线", "地铁1、4、7、11和14号线"),
        ("国民年金保险是什么？", "是中华民国的一项社会保险制度", "中华民国的一项社会保险制度"),
        ("宋少帝陵在哪儿？", "位于深圳市南山区的赤湾小南山上，", "深圳市南山区的赤湾小南山上"),
        ("沼鹿消失的原因是什么？", "沼鹿消失的原因是被猎杀、烹食及失去栖息地", "被猎杀、烹食及失去栖息地"),
        ("慕尼黑旧市政厅位于什么地方？", "慕尼黑市中心玛利亚广场东侧", "慕尼黑市中心玛利亚广场东侧"),
        ("出于什么目的设计了评分方法？", "为了评估麻醉过程", "为了评估麻醉过程"),
        ("密度是多少？", "密度为 2.70 g/cm³", "2.70 g/cm³"),
        ("他怎么了？", "是", "是"),
        ("谁进了球？", "于乐", "于乐"),
        ("被称为什么？", "号称国民角色扮演游戏", "国民角色扮演游戏"),
        (
            "什么是棱柱？",
            "棱柱是几何学中的一种常见的三维多面体，指两个平行的平面被三个或以上的平面所垂直截得的封闭几何体",
            None,
        ),
    ],
)
def test_loose_answers_are_cut_down_to_what_is_asked_for(asked, answer, left):
    rows = reading.tightened([{"text": f"好。{answer}", "question": asked, "answers": [{"start": 2, "text": answer}]}])
    assert [row["answers"][0]["text"] for row in rows] == ([left] if left else [])
    for row in rows:
        (found,) = row["answers"]
        assert row["text"][found["start"] :].startswith(found["text"])


@given(st.text("是在1234年月，。何时哪多少米", max_size=12), st.text("是在1234年月，。米a", min_size=1, max_size=30))
def test_what_is_left_of_an_answer_is_part_of_it_and_not_empty(asked, answer):
    rows = reading.tightened([{"text": answer, "question": asked, "answers": [{"start": 0, "text": answer}]}])
    for row in rows:
        (found,) = row["answers"]
        assert found["text"]
        assert answer[found["start"] :].startswith(found["text"])
