"""A report from a pack's manifest, from dev rows and from a study: what it holds, says and writes."""

import json
import re
from html.parser import HTMLParser

import pytest
from tiny_pack import TASKS, write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner

from umbel.advice import advice
from umbel.cli import app
from umbel.document import Heading, Items, Paragraph, Plot, Said, Table
from umbel.report import report_of, sizes_of, small, summary
from umbel.report_blocks import blocks
from umbel.report_pages import html_page, markdown_page
from umbel.report_plots import Drawing

DECLARATION = """
pack: tiny
backbone: tiny
tasks:
  sentiment:
    kind: text-classification
    labels: [bad, good]
    metric: accuracy
    data: [{dev: rows.jsonl, train: train.jsonl, column: mood}]
  entities:
    kind: token-classification
    labels: [place]
    data: [{dev: rows.jsonl, train: train.jsonl, column: names}]
"""
STUDY = {
    "mode": "cheap",
    "budget": {"rows": 60, "drawn": 120},
    "seeds": [1, 2, 3],
    "trainings": 9,
    "tasks": {
        "sentiment": {"alone": [70, 69, 71], "joint": [72, 71, 73], "change": [2, 1, 3], "metric": "accuracy"},
        "entities": {"alone": [50, 48, 52], "joint": [49, 47, 51], "change": [-1, -3, 1], "metric": "f1"},
    },
    "mean_change": [0.5, -0.5, 1.5],
    "worst_change": {"task": "entities", "change": [-1, -3, 1]},
    "gaining": ["sentiment"],
    "losing": [],
    "sizes": [{"rows": 10, "mean_change": [4.0, 3.0, 5.0], "changes": {}}],
    "pairs": [{"from": "sentiment", "to": "entities", "change": [-1, -3, 1], "seeds": [-1]}],
    "order": ["sentiment", "entities"],
    "estimated": {"lookahead": [[0.1, -0.01], [0.02, 0.2]], "cosine": [[1, 0.1], [0.1, 1]]},
    "agreement": {"lookahead": {"pairs": 4, "rank_correlation": [0.2, -0.4, 0.7]}, "between_seeds": 0.5},
    "conflict": [
        {"fraction": f, "groups": {"layer 1": {"mean": 0.1 * f, "conflicting": 0.4}}} for f in (0.02, 0.5, 0.9)
    ],
    "drift": [{"fraction": f, "mean": f, "tasks": {"sentiment": f, "entities": f / 2}} for f in (0.02, 0.5, 0.9)],
}


def span(start):
    return {"start": start, "end": start + 5, "label": "place"}


TABLE = {"labels": ["a", "b"], "matrix": [[50, 50], [0, 9]], "pairs": [{"gold": "a", "given": "b", "rows": 50}]}
POINTS = [{"coverage": 0.8, "risk": 0.02, "least_sure": 0.61}, {"coverage": 1.0, "risk": 0.2, "least_sure": 0.3}]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    backbone = write_tiny_backbone(tmp_path / "tiny")
    scores = {"metric": "accuracy", "score": 81.25, "alone": 84.0, "rows": 40, "languages": {"en": 80.0, "zh": 60.0}}
    entry = TASKS["sentiment"].model_copy(update={"scores": scores, "description": "Mood <of> a text"})
    write_tiny_pack(tmp_path / "pack", backbone, sentiment=entry)
    rows = [
        {"text": f"{mood} to Paris <b>{n}", "mood": mood, "names": [span(len(mood) + 4)]}
        for n, mood in enumerate(["good", "bad"] * 6)
    ]  # fmt: skip
    for name in ("rows", "train"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_manifest_alone_gives_scores_and_changes(home):
    done = run(home / "pack", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["mean_change"] == [-2.75, -2.75, -2.75]
    assert found["worst_change"] == {"task": "sentiment", "change": -2.75}
    assert found["intervals"]["sentiment"] == [81.25, None, None]
    assert "2.8 points worse together than alone" in found["advice"][0]["en"]
    assert not (home / "tiny-report").exists()


class Loads(HTMLParser):
    """Collects what a page would fetch, and the ids it gives."""

    def __init__(self):
        super().__init__()
        self.fetched, self.ids, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "action") and not value.startswith(("#", "data:")):
                self.fetched.append(value)
            if name == "id":
                self.ids.append(value)


def test_dev_rows_and_a_study_give_the_whole_report(home):
    published = home / "published.json"
    published.write_text(json.dumps({"sentiment": [{"score": 90, "by": "Someone 2020", "on": "test"}]}))
    done = run(home / "pack", "--data", home / "pack.yaml", "-i", home / "study.json", "--published", published)
    assert done.exit_code == 0, done.output
    folder = home / "tiny-report"
    report = json.loads((folder / "report.json").read_text())
    sentiment = report["tasks"]["sentiment"]
    assert sentiment["rows"]["read"] == 12
    assert sentiment["score"][1] <= sentiment["score"][0] <= sentiment["score"][2]
    assert sentiment["confusions"]["labels"] == ["bad", "good"]
    assert report["costs"]["encoding_ms"] > 0
    assert report["costs"]["task_ms"].keys() == TASKS.keys()
    assert report["tasks"]["entities"]["calibration"] is None or "after" in report["tasks"]["entities"]["calibration"]
    page = (folder / "report.html").read_text()
    loads = Loads()
    loads.feed(page)
    assert loads.fetched == []
    assert len(loads.ids) == len(set(loads.ids))
    assert "http" not in re.sub(
        r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", re.sub(r"<metadata>.*?</metadata>", "", page, flags=re.S)
    )
    assert page.count("<svg") >= 8
    for said in ("What to do next", "下一步", "Someone 2020", "Do not trust the estimated transfer", "layer 1"):
        assert said in page
    assert "Mood &lt;of&gt; a text" in page
    markdown = (folder / "report.md").read_text()
    assert "## Interference" in markdown
    assert "下一步" not in markdown


def test_texts_are_left_out_on_request_and_the_same_report_has_the_same_bytes(home):
    arguments = ("--data", home / "pack.yaml", "--no-texts", "--limit", "6", "--language", "zh")
    assert run(home / "pack", *arguments, "--out", home / "a").exit_code == 0
    page = (home / "a" / "report.html").read_text()
    assert "to Paris" not in page
    assert "## 下一步" in (home / "a" / "report.md").read_text()
    assert '<html lang="zh">' in page
    report = json.loads((home / "a" / "report.json").read_text())
    with Drawing() as draw:
        pages = {html_page("x", list(blocks(report, draw))) for _ in range(2)}
    assert len(pages) == 1


@pytest.mark.parametrize(
    ("name", "content", "option", "told"),
    [
        ("a.json", "{}", "--interference", "not the figures of a study"),
        ("a.json", "{", "--interference", "cannot be read"),
        ("a.json", '{"sentiment": [{"score": 1}]}', "--published", "with `score`, `by` and `on`"),
        ("a.json", "[]", "--published", "with `score`, `by` and `on`"),
    ],
)
def test_what_is_given_beside_it_is_checked(home, name, content, option, told):
    (home / name).write_text(content)
    done = run(home / "pack", option, home / name, "--json")
    assert done.exit_code == 1
    assert told in done.output


def test_a_missing_plotting_library_is_told_before_anything_is_done(home, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    done = run(home / "pack", "--data", home / "nothing.yaml")
    assert 'pip install "umbel[report]"' in done.output
    assert run(home / "pack", "--json").exit_code == 0


def test_the_mean_change_has_an_interval_over_tasks():
    found = summary({"a": 1.0, "b": -3.0, "c": 5.0})
    assert found["mean_change"][0] == 1.0
    assert found["mean_change"][1] < 1.0 < found["mean_change"][2]
    assert found["worst_change"] == {"task": "b", "change": -3.0}
    assert (found["gaining"], found["losing"]) == (["a", "c"], ["b"])
    assert summary({})["mean_change"] is None


def test_small_tasks_have_a_mean_of_their_own():
    assert small({"a": 1.0, "b": 4.0}) == {"rows_below": 2000, "tasks": ["a", "b"], "mean_change": 2.5}
    assert small({})["mean_change"] is None


def test_sizes_are_those_of_the_files(home):
    from umbel.pack import read_pack

    pack = read_pack(home / "pack")
    found = sizes_of(pack)
    assert found["tasks"]["sentiment"] == {
        "parameters": 2 * 32 + 2 + 32,
        "bytes": (home / "pack/heads/sentiment.safetensors").stat().st_size,
    }
    assert found["bytes"] == sum(path.stat().st_size for path in (home / "pack").rglob("*.safetensors"))


def row(**changed):
    usual = {
        "change": None, "score": [90.0, 89.5, 90.5], "rows": {"train": 9000, "dev": 900, "read": 900}, "labels": 2,
        "calibration": None, "by_language": {}, "confusions": None, "risk": None,
    }  # fmt: skip
    return usual | changed


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"change": -1.5}, "1.5 points worse together"),
        ({"rows": {"train": 300, "dev": 9, "read": 9}, "score": [60.0, None, None]}, "learns from 300 rows only"),
        ({"calibration": {"after": {"ece": 0.09}}}, "off by 0.090"),
        ({"by_language": {"zh": {"score": [60.0]}, "en": {"score": [80.0]}}}, "60.0 in zh and 80.0 in en"),
        ({"score": [50.0, 40.0, 60.0]}, "known to ±10.0 points only"),
        ({"confusions": TABLE}, "takes a for b in 50 rows (50% of its rows)"),
        (
            {"risk": POINTS, "confusions": {"matrix": None, "pairs": []}},
            "from 20.0% to 2.0%: set `abstain-below: 0.61`",
        ),
    ],
)
def test_advice_follows_from_figures(changed, told):
    (said,) = advice({"tasks": {"one": row(**changed)}, "interference": None})
    assert told in said["en"]
    assert re.search("[一-鿿]", said["zh"])


def test_where_nothing_stands_out_it_says_so():
    (said,) = advice({"tasks": {"one": row()}, "interference": None})
    assert "Nothing stands out" in said["en"]
    study = {"agreement": {"lookahead": {"pairs": 40, "rank_correlation": [0.8, 0.6, 0.9]}}}
    (said,) = advice({"tasks": {"one": row()}, "interference": study})
    assert "may guide" in said["en"]


def test_pages_keep_texts_from_being_read_as_marks():
    parts = [
        Heading(2, Said("A <b>", "甲")),
        Paragraph("x & y"),
        Items([Said("set `a: 1`", "设")]),
        Table(["t", "n"], [["a|b*c\nd", "1"]], (1,)),
        Plot('<svg><g id="a"/><use href="#a" fill="url(#a)"/></svg>', "c"),
    ]
    page = html_page("<t>", parts)
    assert "A &lt;b&gt;" in page
    assert "<code>a: 1</code>" in page
    assert '<g id="p4-a"/><use href="#p4-a" fill="url(#p4-a)"/>' in page
    assert markdown_page(parts).splitlines() == [
        "## A <b>", "", "x & y", "", "- set `a: 1`", "", "| t | n |", "| --- | ---: |", "| a\\|b\\*c d | 1 |",
    ]  # fmt: skip


def test_a_report_of_a_pack_without_scores_is_plain(home):
    from umbel.pack import read_pack

    found = report_of(read_pack(home / "pack"))
    assert found["tasks"].keys() == {"sentiment"}
    with Drawing() as draw:
        assert any(isinstance(part, Table) for part in blocks(found, draw))
