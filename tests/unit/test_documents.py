"""Documents out of folders and files: what is read, what is told, and what counts as gone."""

import gzip
import json
from pathlib import Path

import pytest

from umbel.errors import InputError
from umbel.retrieval import Document, documents
from umbel.retrieval.documents import Documents


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "b.txt").write_text("Text b.")
    (tmp_path / "docs" / "a.MD").write_bytes("\ufeff# 标题".encode())
    (tmp_path / "docs" / "deep" / "c.markdown").write_text("Text c.")
    (tmp_path / "docs" / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "docs" / ".hidden.txt").write_text("hidden")
    return Path("docs")


def test_a_folder_gives_its_texts_in_order(folder):
    found = list(Documents([folder]))
    assert found == [
        Document("# 标题", "docs/a.MD"),
        Document("Text b.", "docs/b.txt"),
        Document("Text c.", "docs/deep/c.markdown"),
    ]


def test_a_file_named_twice_is_read_once(folder):
    assert [each.source for each in Documents([folder / "b.txt", Path("docs/../docs/b.txt"), folder])][1:] == [
        "docs/a.MD",
        "docs/deep/c.markdown",
    ]


def test_rows_are_documents_and_their_other_cells_metadata(folder):
    row = {"text": "One.", "year": 2024, "ok": True, "tags": ["x"], "note": None, "empty": "", "source": "elsewhere"}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n\n" + json.dumps({"text": " "}))
    with gzip.open(folder / "rows.csv.gz", "wt") as file:
        file.write("id,answer\n7,Two.\n")
    reading = Documents([folder / "rows.jsonl"])
    assert list(reading) == [Document("One.", "docs/rows.jsonl", 1, {"year": 2024, "ok": True})]
    assert reading.empty == 1
    assert list(Documents([folder / "rows.csv.gz"], "answer")) == [Document("Two.", "docs/rows.csv.gz", 2, {"id": "7"})]


def test_what_cannot_be_read_is_told_and_the_rest_is_read(folder, monkeypatch):
    monkeypatch.setattr(documents, "LARGEST", 20)
    (folder / "gbk.txt").write_bytes("退款".encode("gb18030"))
    (folder / "utf16.txt").write_text("x", encoding="utf-16")
    (folder / "huge.txt").write_text("x" * 21)
    (folder / "empty.txt").write_text("")
    (folder / "rows.jsonl").write_text('{"txt": "x"}\n{"text": 3}\n{"text": "fine"}\nno json\n')
    reading = Documents([folder])
    assert [each.text for each in reading] == ["# 标题", "Text b.", "Text c.", "fine"]
    told = "\n".join(reading.faults.listed())
    assert "docs/gbk.txt: not UTF-8 at byte 0; convert it first" in told
    assert "docs/utf16.txt: UTF-16" in told
    assert "docs/huge.txt: larger than 0 MB; split it" in told
    assert "docs/rows.jsonl:1: no column 'text'; did you mean 'txt'?; --text names the column" in told
    assert "docs/rows.jsonl:2: text: found 3, expected a text" in told
    assert "docs/rows.jsonl:4: not JSON" in told
    assert reading.empty == 1


def test_paths_that_cannot_be_indexed_are_told(folder):
    with pytest.raises(InputError, match=r"docs/none\.txt: there is no such file or folder"):
        Documents([folder / "none.txt"])
    with pytest.raises(InputError, match=r"found another kind of file, expected \.txt"):
        Documents([folder / "picture.png"])


def test_what_is_covered(folder):
    (folder / "bad.txt").write_bytes(b"\xff")
    reading = Documents([folder])
    list(reading)
    assert reading.covers("docs/deep/gone.txt")
    assert not reading.covers("docs/bad.txt")
    assert not reading.covers("docs2/gone.txt")
    assert not reading.covers("other.txt")
    here = Documents([Path()])
    assert here.covers("docs/gone.txt")
    assert not here.covers("../gone.txt")
    assert not here.covers("/gone.txt")
