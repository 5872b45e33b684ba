"""Messages from arguments, files and standard input: what is passed over, mended or refused, and what is counted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from umbel import messages
from umbel.errors import InputError
from umbel.messages import of_stream, opened

Refused = list[tuple[int, str]]


@pytest.fixture
def refused() -> Refused:
    return []


def read(raw: bytes, refused: Refused) -> tuple[list[tuple[int, str]], messages.Messages]:
    source = of_stream(io.BytesIO(raw), lambda line, reason: refused.append((line, reason)), "here.txt")
    return [(message.line, message.text) for message in source], source


def test_blank_lines_are_counted_and_keep_their_numbers(refused: Refused) -> None:
    found, source = read("one\n\n \t\r\n\u3000\n四\r\n".encode(), refused)
    assert found == [(1, "one"), (5, "四")]
    assert source.blank == 3
    assert source.done == len("one\n\n \t\r\n\u3000\n四\r\n".encode())


def test_a_file_may_end_without_a_line_end_and_begin_with_a_mark(refused: Refused) -> None:
    assert read(b"\xef\xbb\xbfone\ntwo", refused)[0] == [(1, "one"), (2, "two")]


def test_bytes_that_are_not_utf8_are_mended_and_counted(refused: Refused) -> None:
    found, source = read(b"caf\xe9\nok\n\xff\xfe", refused)
    assert found == [(1, "caf\ufffd"), (2, "ok"), (3, "\ufffd\ufffd")]
    assert source.mended == 2
    assert not refused


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_refused_with_the_command_that_converts_it(encoding: str, refused: Refused) -> None:
    with pytest.raises(InputError, match=r"here.txt: found UTF-16 text, expected UTF-8\n  convert it first: iconv"):
        read("\ufeffone\n".encode(encoding), refused)


def test_a_line_without_end_is_refused_and_the_rest_read(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setattr(messages, "LONGEST", 8)
    for length in (9, 17, 18, 19, 27, 28, 40):
        found, _ = read(b"x" * length + b"\nnext\n" + b"y" * 7 + b"\n", refused)
        assert [line for line, _ in refused] == [1], length
        assert found[0] == (2, "next")
        refused.clear()


def test_the_last_line_may_be_too_long(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setattr(messages, "LONGEST", 8)
    assert read(b"ok\n" + b"x" * 30, refused)[0] == [(1, "ok")]
    assert [line for line, _ in refused] == [2]


def test_arguments_may_hold_bytes_that_the_shell_could_not_decode() -> None:
    with opened(["caf\udce9", " ", "ok"], None, False, print) as source:
        assert [message.text for message in source] == ["caf\ufffd", "ok"]
        assert (source.blank, source.mended, source.live, source.streamed) == (1, 1, False, False)


def test_a_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("message\n" * 100_000)
    with opened([], path, False, print) as source:
        next(iter(source))
        assert (source.done, source.size) == (8, 800_000)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"nowhere.txt: cannot be read: No such file"),
        opened([], tmp_path / "nowhere.txt", False, print),
    ):
        pass


@pytest.mark.parametrize(("texts", "file"), [(["-"], None), ([], Path("-"))])
def test_a_dash_is_standard_input(texts: list[str], file: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("你好\n".encode())))
    with opened(texts, file, False, print) as source:
        assert [message.text for message in source] == ["你好"]
        assert source.size == 7 or source.size is None


def test_the_samples_begin_with_the_known_sentence() -> None:
    with opened([], None, True, print) as source:
        texts = [message.text for message in source]
    assert texts[0] == "这是一个关于AI的多任务处理案例。"
    assert 8 <= len(texts) <= 10
    assert source.blank == source.mended == 0
