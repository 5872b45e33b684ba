"""`umbel index` and `umbel search`: what they print, what they tell of mistakes, and their exit codes."""

import json
import shutil

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner

from umbel.cli import app
from umbel.errors import InputError
from umbel.finding import conditions
from umbel.pack import TaskEntry
from umbel.retrieval import Index


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    backbone = write_tiny_backbone(folder / "backbone")
    write_tiny_pack(folder / "tiny", backbone)
    other = write_tiny_backbone(folder / "other-backbone")
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"Paris"', '"Rome"'))
    write_tiny_pack(folder / "other", other)
    return folder


@pytest.fixture
def run(packs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "good.txt").write_text("good to Paris")
    (tmp_path / "docs" / "rows.jsonl").write_text('{"text": "bad to Paris", "lang": "en"}\n{"text": "这 bad"}\n')

    def call(*words, code=0):
        result = CliRunner().invoke(
            app, [*map(str, words)], env={"UMBEL_CACHE": str(packs / "cache"), "COLUMNS": "200"}
        )
        assert result.exit_code == code, result.output
        return result

    call("index", "docs", "--out", "my.index", "--pack", packs / "tiny")
    return call


def test_an_update_tells_what_changed(run, tmp_path):
    (tmp_path / "docs" / "good.txt").unlink()
    (tmp_path / "docs" / "more.txt").write_text("good good")
    (tmp_path / "docs" / "empty.txt").write_text(" ")
    result = run("index", "docs", "--out", "my.index")
    assert "my.index: 3 documents, 3 passages (1 added, 0 changed, 1 removed, 2 unchanged, 1 empty; 1 vector made)" in (
        result.output
    )
    assert "making vectors: 1 of 1 passages" in result.stderr
    told = json.loads(run("index", "docs", "--out", "my.index", "--json").stdout)
    assert told == {
        **{"index": "my.index", "added": 0, "changed": 0, "removed": 0, "unchanged": 3, "vectors": 0},
        **{"empty": 1, "documents": 3, "passages": 3},
    }


def test_files_that_cannot_be_read_are_told_and_keep_what_the_index_has(run, tmp_path):
    (tmp_path / "docs" / "good.txt").write_bytes(b"\xff\xfe")
    result = run("index", "docs", "--out", "my.index", code=1)
    assert "left out: docs/good.txt: UTF-16" in result.stderr
    assert "0 removed" in result.stdout
    with Index.open("my.index") as index:
        assert "docs/good.txt" in index.sources()


def test_a_source_is_removed(run):
    assert "1 removed" in run("index", "--out", "my.index", "--remove", "docs/good.txt").stdout
    result = run("index", "--out", "my.index", "--remove", "docs/god.txt", code=1)
    assert "no document of the index has the source 'docs/god.txt'" in result.stderr


def test_hits_are_shown(run):
    shown = run("search", "my.index", "good", "Paris").stdout
    assert "docs/good.txt 0–13  score " in shown
    assert "docs/rows.jsonl:1 0–12" in shown
    assert shown.count("good to Paris") == 2
    assert "nothing was found" in run("search", "my.index", "to", "--where", "lang=zh").stdout


def test_json_has_a_line_for_each_query(run):
    lines = run("search", "my.index", "bad", "good", "-k", 1, "--by", "words", "--where", "lang=en", "--json").stdout
    first, second = map(json.loads, lines.splitlines())
    assert (first["query"], second) == ("bad", {"query": "good", "hits": []})
    (hit,) = first["hits"]
    assert -1 <= hit.pop("cosine") <= 1
    assert hit.pop("score") == hit.pop("words") > 0
    assert hit == {
        **{"text": "bad to Paris", "source": "docs/rows.jsonl", "line": 1, "start": 0, "end": 12},
        **{"metadata": {"lang": "en"}, "also": []},
    }


def test_another_pack_is_refused(run, packs):
    for command in (["search", "my.index", "good"], ["index", "docs", "--out", "my.index"]):
        told = run(*command, "--pack", packs / "other", code=1).stderr
        assert "my.index: its vectors come from pack" in told
        assert "take the pack it was made with, or make the index again" in told


def test_a_pack_that_moved_is_named(run, packs):
    shutil.copytree(packs / "tiny", packs / "moved", dirs_exist_ok=True)
    assert run("search", "my.index", "good", "--pack", packs / "moved").stdout


def test_python_finds_the_pack_by_itself(run, packs, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(packs / "cache"))
    with Index.open("my.index") as index:
        assert index.search("good", k=1)[0].source == "docs/good.txt"


def test_a_pack_without_vectors_is_refused(run, packs):
    write_tiny_pack(packs / "plain", packs / "backbone", vector=TaskEntry(kind="regression"))
    told = run("index", "docs", "--out", "new.index", "--pack", packs / "plain", code=1).stderr
    assert "tiny: the pack gives no vectors" in told


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["index", "--out", "my.index"], 2, "give folders or files to index"),
        (["index", "nowhere", "--out", "my.index"], 1, "nowhere: there is no such file or folder"),
        (["index", "docs", "--out", "my.index", "--tokens", "20"], 1, "have at most 62 tokens, found --tokens 20"),
        (["search", "none.index", "x"], 1, "none.index: there is no such index"),
        (["search", "docs/good.txt", "x"], 1, "this file is no index"),
        (["search", "my.index", " "], 1, "the query is blank"),
        (["search", "my.index", "x", "--where", "lang"], 1, "found 'lang', expected NAME=VALUE"),
        (["search", "my.index", "x", "--where", "source=docs/godo.txt"], 1, "did you mean 'docs/good.txt'?"),
    ],
)
def test_mistakes_are_told(run, words, code, message):
    assert message in run(*words, code=code).stderr


def test_conditions():
    assert conditions(["source=a=b.txt", "lang=zh"]) == {"source": "a=b.txt", "lang": "zh"}
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        conditions(["=x"])
