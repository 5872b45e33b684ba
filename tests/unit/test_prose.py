"""Lines of Chinese, English and marks break where a reader expects it, and never pass the edge."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from umbel.prose import Prose, line_breaks


def lines(text: str, width: int) -> list[str]:
    places = [0, *line_breaks(text, width), len(text)]
    return [text[start:end].rstrip() for start, end in pairwise(places)]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 13, ["one two three"]),
        ("客服一直不回复", 6, ["客服一", "直不回", "复"]),
        ("我上周买的[耳机: product 0.43]左边", 20, ["我上周买的[耳机:", "product 0.43]左边"]),
        ("他说，好。", 4, ["他", "说，", "好。"]),
        ("看（很好）", 4, ["看", "（很", "好）"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("", 5, [""]),
        ("ab北京", 3, ["ab", "北", "京"]),
    ],
)
def test_lines_end_where_a_reader_expects_it(text: str, width: int, expected: list[str]) -> None:
    assert lines(text, width) == expected


@given(st.text(alphabet="ab 北京，。（e\u0301👩\u200d.", max_size=60), st.integers(2, 12))
def test_no_line_is_too_wide_and_no_character_is_lost(text: str, width: int) -> None:
    broken = lines(text, width)
    assert "".join("".join(broken).split()) == "".join(text.split())
    assert all(sum(map(cell_len, line)) <= width for line in broken)


def test_a_table_gives_it_the_width_it_needs_and_keeps_its_styles() -> None:
    file = io.StringIO()
    table = Table.grid()
    table.add_row(Prose(Text.assemble("客服", ("一直不回复", "bold"))), "|")
    Console(file=file, width=10, force_terminal=True, color_system="standard").print(table)
    assert "\x1b[1m" in file.getvalue()
    assert len(file.getvalue().splitlines()) == 2
