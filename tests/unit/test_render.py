"""Results as a user sees them at 80 columns without colour."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from umbel.records import (
    LabelPrediction,
    LabelsPrediction,
    Prediction,
    Result,
    ScorePrediction,
    Span,
    SpansPrediction,
    VectorPrediction,
)
from umbel.render import Cost, closing_line, headline, marked, result_table, rows_of

CHINESE = "这是一个关于AI的多任务处理案例。"
LABELS = {"refund": 0.25, "cancel": 0.7, "other": 0.05}


def drawn(shown: RenderableType, width: int = 80, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, markup=False, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(shown)
    return file.getvalue()


def result(text: str = CHINESE, **predictions: Prediction) -> Result:
    return Result(text, {name.replace("_", "-"): prediction for name, prediction in predictions.items()}, "zh")


def answers(prediction: Prediction, text: str = CHINESE, top: int = 0) -> list[tuple[str, str]]:
    return [(row.answer.plain, row.probability) for row in rows_of(prediction, text, top)]


def test_a_table_shows_each_task_its_answer_and_probability() -> None:
    shown = result(
        intent=LabelPrediction("cancel", 0.7, LABELS),
        entities_zh=SpansPrediction((Span(6, 8, "product", "AI", 0.91),)),
        vector=VectorPrediction(np.zeros(384, np.float32)),
    )
    lines = [line.rstrip() for line in drawn(result_table(shown, "line 3")).splitlines()]
    assert lines[0] == f"line 3  zh  {CHINESE}"
    assert lines[1].split() == ["task", "answer", "probability"]
    assert lines[3].split() == ["intent", "cancel", "0.70"]
    assert lines[4].split(maxsplit=1) == ["entities-zh", "这是一个关于[AI: product 0.91]的多任务处理案例。"]
    assert lines[5].split(maxsplit=1) == ["vector", "384 numbers"]


def test_wide_characters_stay_aligned_and_nothing_passes_the_edge() -> None:
    long = "我上周买的耳机左边没有声音,客服一直不回复,请尽快给我退款!" * 9
    spans = SpansPrediction(tuple(Span(4 + 30 * n, 6 + 30 * n, "product", "耳机", 0.9) for n in range(9)))
    intent = LabelPrediction("cancel", 0.7, LABELS)
    lines = drawn(result_table(result(long, 意图=intent, entities=spans, second=intent))).splitlines()
    assert max(cell_len(line) for line in lines) <= 80
    ends = {cell_len(line.rstrip()) for line in lines if line.endswith("0.70")}
    assert len(ends) == 1


def test_colour_marks_spans_and_is_absent_without_it() -> None:
    text = marked(CHINESE, [Span(6, 8, "product", "AI", 0.91)])
    assert "\x1b[" in drawn(text, colour=True)
    assert "\x1b[" not in drawn(text)


def test_labels_show_the_answer_or_the_likeliest() -> None:
    prediction = LabelPrediction("cancel", 0.7, LABELS)
    assert answers(prediction) == [("cancel", "0.70")]
    assert answers(prediction, top=2) == [("cancel", "0.70"), ("refund", "0.25")]
    assert len(answers(prediction, top=99)) == 3


def test_an_abstaining_or_out_of_scope_answer_says_so() -> None:
    assert answers(LabelPrediction(None, 0.7, LABELS, abstained=True)) == [("unsure (likeliest: cancel)", "0.70")]
    assert answers(LabelPrediction("other", 0.7, LABELS, out_of_scope=True))[0][0] == "other (out of scope)"


def test_several_labels_stand_one_a_line() -> None:
    assert answers(LabelsPrediction(("refund", "cancel"), LABELS)) == [("cancel", "0.70"), ("refund", "0.25")]
    assert answers(LabelsPrediction((), LABELS)) == [("none", "")]
    assert answers(LabelsPrediction((), LABELS), top=1) == [("none", ""), ("cancel", "0.70")]
    assert answers(LabelsPrediction(("refund",), LABELS), top=2) == [("cancel", "0.70"), ("refund", "0.25")]


def test_a_low_threshold_label_outside_the_top_is_still_shown() -> None:
    assert ("other", "0.05") in answers(LabelsPrediction(("other",), LABELS), top=1)


def test_scores_and_no_spans() -> None:
    assert answers(ScorePrediction(3.14159)) == [("3.14", "")]
    assert answers(SpansPrediction(())) == [("none", "")]


def test_of_a_long_text_only_the_surroundings_of_spans_are_shown() -> None:
    text = "x" * 100_000 + "北京" + "y" * 100_000
    shown = marked(text, [Span(100_000, 100_002, "place", "北京", 1.0)]).plain
    assert shown == f"…{'x' * 60}[北京: place 1.00]{'y' * 60}…"
    assert headline(text) == "x" * 240 + "… (200,002 characters)"


def test_touching_spans_and_spans_at_the_ends() -> None:
    shown = marked("abcd", [Span(0, 2, "P", "ab", 0.5), Span(2, 4, "Q", "cd", 0.6)]).plain
    assert shown == "[ab: P 0.50][cd: Q 0.60]"


@pytest.mark.parametrize("sign", ["\x1b", "\x07", "\x00", "\x9b", "\u202e", "\u2066", "\ud800", "\x7f"])
def test_control_characters_never_reach_the_terminal(sign: str) -> None:
    text = f"a{sign}[31mb\n[bold]c[/bold]"
    shown = drawn(result_table(result(text, entities=SpansPrediction((Span(1, 2, "P", sign, 1.0),)))))
    assert sign not in shown
    assert "[bold]c[/bold]" in shown
    assert "[�: P 1.00][31mb↵" in shown
    assert cell_len(headline(text)) == len(text)


def test_the_closing_line_counts_and_times() -> None:
    assert closing_line(Cost(1, 18, 0.0053, 0.0019)) == (
        "1 encoding run, 18 tasks answered; encoding 5.3 ms, all heads 1.9 ms"
    )
    assert closing_line(Cost(1200, 21600, 12.5, 1.5)) == (
        "1,200 encodings run, 21,600 tasks answered; encoding 12,500 ms, all heads 1,500 ms"
    )


def test_answers_for_other_languages_are_only_counted() -> None:
    shown = result(a=ScorePrediction(1.0), b=ScorePrediction(2.0), c=ScorePrediction(3.0))
    text = drawn(result_table(shown, hidden={"b", "c"}))
    assert "1.00" in text
    assert "2.00" not in text
    assert "2 answers of tasks for other languages: --all shows them" in text
