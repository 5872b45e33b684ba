"""DRCD's passages in simplified characters: what is converted, made anew, and left out."""

import gzip
import json
import sys

import pytest
import simplified
from made import made

from umbel.errors import InputError

TEXT = "國立故宮博物院位於台北市士林區，建於1965年，面積約16公頃。"
ASKED = [{"question": "故宮在哪裡？", "answers": [{"start": 9, "text": "台北市士林區"}]}]


def test_text_questions_and_answers_are_converted_where_they_stand():
    row = {"text": TEXT, "asked": [*ASKED, *made(TEXT), {"question": "誰畫的？", "answers": []}]}
    (found,) = simplified.simplified([row], simplified.converter())
    assert found["text"] == "国立故宫博物院位于台北市士林区，建于1965年，面积约16公顷。"
    assert found["asked"][:2] == [
        {"question": "故宫在哪里？", "answers": [{"start": 9, "text": "台北市士林区"}]},
        {"question": "谁画的？", "answers": []},
    ]
    assert found["asked"][2:] == made(found["text"])
    assert all(
        found["text"][answer["start"] :].startswith(answer["text"])
        for each in found["asked"]
        for answer in each["answers"]
    )


def test_a_passage_whose_length_changes_is_left_out():
    rows = [{"text": TEXT, "asked": ASKED}]
    assert simplified.simplified(rows, lambda text: text.replace("國立", "")) == []


def test_the_file_is_written_beside_the_one_that_is_read(tmp_path, monkeypatch, capsys):
    with gzip.open(tmp_path / simplified.READ, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"text": TEXT, "asked": ASKED}) + "\n")
    monkeypatch.setattr(sys, "argv", ["simplified.py", "--data", str(tmp_path)])
    simplified.main()
    with gzip.open(tmp_path / simplified.WRITTEN, "rt", encoding="utf-8") as file:
        (row,) = map(json.loads, file)
    assert row["asked"][0]["question"] == "故宫在哪里？"
    assert "1 of 1 passages" in capsys.readouterr().out


def test_faults_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["simplified.py", "--data", str(tmp_path)])
    with pytest.raises(InputError, match=r"drcd\.train\.jsonl\.gz: not found"):
        simplified.main()
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(InputError, match="OpenCC is not installed"):
        simplified.converter()
