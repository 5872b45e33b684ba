"""Reading rows: formats agree with each other, and what cannot be read is told by file and line."""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.errors import DataError, MissingExtraError
from umbel.rows import Faults, read_rows, source_rows

ROWS = [
    {"text": "a,b\tc", "label": "x"},
    {"text": 'he said "hi"\nand left', "label": ""},
    {"text": "多任务", "label": "y"},
]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = 'text,label\n"a,b\tc",x\n"he said ""hi""\nand left",\n\n多任务,y\n'
TSV = 'text\tlabel\n"a,b\tc"\tx\n"he said ""hi""\nand left"\t\n\n多任务\ty\n'


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    return [fault.removeprefix(str(path)) for fault in caught.value.faults]


class TestFormats:
    @pytest.mark.parametrize("end", ["", ".gz"])
    @pytest.mark.parametrize(
        ("name", "content", "lines"),
        [("a.jsonl", JSONL, [1, 2, 3]), ("a.csv", CSV, [2, 3, 6]), ("a.tsv", TSV, [2, 3, 6])],
    )
    def test_all_give_the_same_rows(self, tmp_path: Path, name: str, content: str, lines: list[int], end: str) -> None:
        rows = list(read_rows(write(tmp_path / (name + end), content)))

        assert [row for _, row in rows] == ROWS
        assert [line for line, _ in rows] == lines

    def test_a_byte_order_mark_and_blank_lines_are_passed_over(self, tmp_path: Path) -> None:
        for name, content in (("a.jsonl", '\ufeff{"text": "a"}\n\n{"text": "b"}'), ("a.csv", "\ufefftext\na\n\nb")):
            assert [row["text"] for _, row in read_rows(write(tmp_path / name, content))] == ["a", "b"]

    def test_rows_stream(self, tmp_path: Path) -> None:
        rows = read_rows(write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text"'))
        assert next(rows) == (1, {"text": "a"})

    def test_parquet(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = pyarrow.Table.from_pylist([{"text": "a", "spans": [{"start": 0, "end": 1, "label": "x"}]}])
        parquet.write_table(table, tmp_path / "a.parquet")
        assert list(read_rows(tmp_path / "a.parquet")) == [(1, table.to_pylist()[0])]

        write(tmp_path / "b.parquet", b"PAR1 and no more")
        assert faults(tmp_path / "b.parquet")[0].startswith(": cannot be read after row 0: ")

    def test_parquet_needs_its_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtraError, match=r'pip install "umbel\[data\]"'):
            list(read_rows(write(tmp_path / "a.parquet", b"")))

    @settings(max_examples=50)
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1), min_size=1))
    def test_jsonl_gives_back_any_text(self, texts: list[str]) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
            path = write(Path(folder) / "a.jsonl.gz", lines)
            assert [row["text"] for _, row in read_rows(path)] == texts


class TestFaults:
    def test_every_bad_line_of_a_file_is_told(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text"\n[1]\n\xff\n{"text": "b"}\n7\n' + b"[" * 99999)
        found = faults(path)

        assert found[0].startswith(":2: not JSON: Expecting ':' delimiter")
        assert found[1:4] == [
            ":3: found [1], expected an object of columns",
            ":4: not UTF-8 at byte 0 of the line",
            ":6: found 7, expected an object of columns",
        ]
        assert found[4].startswith(":7: not JSON: maximum recursion depth exceeded")

    def test_sound_rows_come_in_spite_of_faults(self, tmp_path: Path) -> None:
        collected = Faults()
        path = write(tmp_path / "a.jsonl", 'x\n{"text": "a"}\n')
        assert list(read_rows(path, collected)) == [(2, {"text": "a"})]
        assert len(collected) == 1

    def test_delimited(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", b"text,b,text\n1,2\n1,2,3\n1,\xff,3\n1,2,3,4\n")
        assert faults(path) == [
            ":1: column 'text' stands twice in the header",
            ":2: found 2 cells, expected 3 as in the header",
            ":4: not UTF-8 at byte 2 of the line",
            ":5: found 4 cells, expected 3 as in the header",
        ]

    def test_a_stray_quote_does_not_swallow_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", 'text\tlabel\n"so\tx\nb\ty\n')
        assert faults(path)[0].startswith(":2: not readable from here on: unexpected end of data")

    @pytest.mark.parametrize("content", [b"no gzip", gzip.compress(JSONL.encode())[:-12], gzip.compress(b"x") + b"y"])
    def test_damaged_gzip(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.csv.gz"
        path.write_bytes(content)
        assert any("damaged gzip file" in fault for fault in faults(path))

    def test_files_that_are_not_there_or_of_no_known_format(self, tmp_path: Path) -> None:
        assert faults(tmp_path / "a.jsonl") == [": cannot be read: No such file or directory"]
        assert faults(write(tmp_path / "a.json", "{}"))[0].startswith(": unknown format; expected .jsonl")

    def test_one_fault_of_many_rows_is_told_once(self, tmp_path: Path) -> None:
        assert faults(write(tmp_path / "a.jsonl", "7\n" * 9)) == [
            ":1: found 7, expected an object of columns (9 rows have this fault)"
        ]

    def test_fifty_faults_are_shown_and_all_counted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", "\n".join(map(str, range(60))))
        with pytest.raises(DataError) as caught:
            list(read_rows(path))
        assert len(caught.value.faults) == 50
        assert str(caught.value).startswith(f"{path} (the first 50 of 60): 50 faults")


class TestHub:
    SOURCE = "hub:org/name:train"

    def test_it_needs_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(MissingExtraError, match=r'pip install "umbel\[data\]"'):
            list(source_rows(self.SOURCE, Path(), Faults()))

    def test_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(name: str, split: str) -> list[dict[str, str]]:
            return [{"text": name}, {"text": split}]

        monkeypatch.setitem(sys.modules, "datasets", _module(load))
        rows = source_rows(self.SOURCE, Path(), Faults())
        assert list(rows) == [(1, {"text": "org/name"}), (2, {"text": "train"})]

    def test_a_hub_out_of_reach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(name: str, split: str) -> Iterator[dict[str, str]]:
            raise ConnectionError("no route\nto host")

        monkeypatch.setitem(sys.modules, "datasets", _module(load))
        collected = Faults()
        assert list(source_rows(self.SOURCE, Path(), collected)) == []
        assert collected.listed() == [
            (
                "hub:org/name:train: cannot be had from the hub (ConnectionError: no route to host); "
                "save it as a file and name that instead"
            )
        ]


def _module(load: Any) -> ModuleType:
    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    return module
