"""Trials: their declarations are sound, sets that are missing are skipped, finished ones are kept, spans made flat."""

import gzip
import json

import pytest
import trials
from tiny_pack import write_tiny_backbone

from umbel.errors import InputError
from umbel.spec import load_spec

COLUMNS = {
    "cluener": {"entities": [{"start": 0, "end": 4, "label": "name"}]},
    "conll2003": {"entities": [{"start": 0, "end": 4, "label": "person"}]},
    "sst2": {"sentiment": "positive", "sentiment5": "very_positive"},
    "trec": {"question_type": "NUM", "question_subtype": "NUM:date"},
    "shopping": {"category": "书籍", "sentiment": "positive"},
}


def write_set(sets, name, rows=24):
    folder = sets / trials.TRIALS[name].set
    folder.mkdir(parents=True)
    for split in trials.SPLITS:
        lines = [json.dumps({"text": f"good to Paris {split} {number}"} | COLUMNS[name]) for number in range(rows)]
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Sets for two of the trials; declarations and figures are a copy of the real ones, over a tiny backbone."""
    write_tiny_backbone(tmp_path / "trials" / "tiny")
    for path in trials.SPECS.glob("*.yaml"):
        tiny = path.read_text().replace("backbone: e5-small", "backbone: tiny")
        (tmp_path / "trials" / path.name).write_text(tiny)
    monkeypatch.chdir(tmp_path / "trials")
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trials, "SPECS", tmp_path / "trials")
    monkeypatch.setattr(trials, "FIGURES", tmp_path / "trials.json")
    for name in ("cluener", "sst2"):
        write_set(tmp_path / "sets", name)
    return tmp_path / "sets"


@pytest.mark.parametrize("name", trials.TRIALS)
def test_every_declaration_is_sound_and_names_its_sets_files(sets, name):
    if trials.missing(sets, trials.TRIALS[name]):
        write_set(sets, name)
    trials.prepare(sets, trials.TRIALS[name], trials.SPECS / "data")
    spec = load_spec(trials.SPECS / f"{name}.yaml")
    assert {entry.column for task in spec.tasks for entry in task.data} == set(COLUMNS[name])
    assert trials.TRIALS[name].published.keys() <= {task.name for task in spec.tasks}


def test_trials_are_scored_and_kept_and_the_missing_ones_skipped(sets, capsys, monkeypatch):
    arguments = ["--sets", str(sets), "--only", "cluener,trec,sst2", "--out", str(sets / "runs")]
    trials.main(arguments)
    shown = capsys.readouterr().out
    assert "trec: skipped: " in shown
    kept = json.loads(trials.FIGURES.read_text())
    assert list(kept) == ["cluener", "sst2"]
    assert kept["sst2"]["rows"] == 8 * 24
    assert kept["sst2"]["tasks"]["sentiment"]["metric"] == "accuracy"
    assert kept["sst2"]["tasks"]["sentiment"]["score"] == kept["sst2"]["tasks"]["sentiment"]["accuracy"] == 100
    assert kept["cluener"]["tasks"]["entities"]["dev rows"] == 24
    assert "BiLSTM-CRF 70.0" in shown
    monkeypatch.setattr(trials, "run", lambda *_: pytest.fail("trained again"))
    trials.main(arguments)
    assert capsys.readouterr().out.endswith(shown[shown.index("trial ") :])


def test_a_try_on_a_few_rows_keeps_no_figures(sets, capsys):
    trials.main(["--sets", str(sets), "--only", "sst2", "--out", str(sets / "runs"), "--rows", "8"])
    assert "8 rows in all" in capsys.readouterr().out
    assert not trials.FIGURES.exists()


def test_without_a_folder_of_sets_all_are_skipped(monkeypatch, capsys):
    monkeypatch.delenv("UMBEL_DATA", raising=False)
    trials.main(["--only", "trec", "--rows", "1"])
    assert "trec: skipped: no folder of sets: give --sets" in capsys.readouterr().out


def test_an_unknown_trial_is_told():
    with pytest.raises(InputError, match="'clunner' is not a trial; did you mean 'cluener'"):
        trials.main(["--only", "clunner"])


def test_of_spans_that_overlap_the_longest_is_kept():
    spans = [{"start": 1, "end": 3}, {"start": 2, "end": 6}, {"start": 6, "end": 8}, {"start": 5, "end": 6}]
    row = trials.flat({"text": "x" * 9, "entities": spans, "label": "a"})
    assert row == {"text": "x" * 9, "entities": [spans[1], spans[2]], "label": "a"}
