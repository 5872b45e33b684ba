"""Bars, plain progress, errors and how lengths and sizes are said."""

from __future__ import annotations

import sys

import pytest

from umbel import terminal
from umbel.errors import SpecError, UmbelError
from umbel.terminal import byte_bar, complain, duration, file_size, row_bar, show, spinner


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (6720, "1 h 52 min"), (-1, "0 s")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (71_622_400, "71.6 MB"), (2 * 10**9, "2.0 GB")],
)
def test_sizes(size: int, said: str) -> None:
    assert file_size(size) == said


def test_a_fetch_is_told_now_and_then_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with byte_bar("fetching x") as advance:
        advance(1_000_000, 9_000_000)
        advance(2_000_000, 9_000_000)
        advance(9_000_000, 9_000_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["fetching x: 1 of 9 MB", "fetching x: 9 of 9 MB"]


def test_nothing_is_told_where_nothing_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    with byte_bar("fetching x"), row_bar("scoring") as told:
        told(5)
    assert capsys.readouterr() == ("", "")


def test_bars_on_a_terminal_vanish_when_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with byte_bar("fetching x") as advance:
        advance(1_000_000, 9_000_000)
        advance(2_000_000, 0)
    with spinner("compiling"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert "fetching x" in err
    assert "compiling ..." in err


def test_an_error_is_told_with_its_hint_and_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    complain(UmbelError("no task '\x1b[2J[bold]'", "try another"))
    complain(SpecError("pack.yaml", ["one fault " + "x" * 100, "another"]))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["Error: no task '�[2J[bold]'", "  try another"]
    assert lines[2:] == ["Error: pack.yaml: 2 faults", "  one fault " + "x" * 100, "  another"]


def test_json_is_utf8_whatever_the_terminal(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show({"text": "北京\ud800"}, "table", as_json=True)
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == '{\n  "text": "北京\\ud800"\n}\n'.encode()


def test_one_screen_needs_two_terminals() -> None:
    assert terminal.one_screen() is False
