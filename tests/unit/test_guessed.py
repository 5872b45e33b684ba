"""Rows that a pack labels itself: which column they get, what they keep, and the declaration that names them."""

import gzip
import json
from pathlib import Path

import guessed
import pytest
from ruamel.yaml import YAML
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.errors import InputError

BASE = Path(__file__).parents[2] / "packs/base"
TEXTS = ["去北京的票", "a ticket to Paris", "没有", "nothing"]


def entries(tasks, task):
    return {(each.get("train"), each["column"]): each for each in tasks[task]["data"]}


def test_a_file_gets_what_the_pack_says_and_keeps_the_rest(tmp_path):
    pack = write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"))
    model = umbel.load(str(pack.folder))
    path = tmp_path / "rows.jsonl.gz"
    rows = [{"text": text, "label": str(place), guessed.COLUMN: ["old"]} for place, text in enumerate(TEXTS)]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    named = guessed.with_guesses(model, path, "entities", 3)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    assert [(row["text"], row["label"]) for row in found] == [(row["text"], row["label"]) for row in rows]
    assert guessed.COLUMN not in found[3]
    for row in found[:3]:
        spans = model(row["text"], tasks=["entities"])["entities"].spans
        assert row[guessed.COLUMN] == [{"start": s.start, "end": s.end, "label": s.label} for s in spans]
    assert named == sum(bool(row[guessed.COLUMN]) for row in found[:3])


def test_the_declaration_differs_in_guesses_and_shares_alone():
    text = (BASE / "base.yaml").read_text("utf-8")
    base, more = (YAML(typ="safe").load(each) for each in (text, guessed.declared(text)))
    for file, (task, _) in guessed.GUESSED.items():
        train = f"data/{file}.train.jsonl.gz"
        added = entries(more["tasks"], task)[train, guessed.COLUMN]
        more["tasks"][task]["data"].remove(added)
        known = [each for tasks in base["tasks"].values() for each in tasks.get("data", ()) if each["train"] == train]
        assert (added["licence"], added["language"]) == (known[0]["licence"], known[0]["language"])
        assert added["source"].startswith(f"texts of {known[0]['source'].split(';')[0]}")
        assert "dev" not in added
    drawn = set()
    for each in (each for task in more["tasks"].values() for each in task.get("data", ())):
        file = Path(each["train"]).name.split(".")[0]
        if file in guessed.SHARES:
            assert each.pop("share") == guessed.SHARES[file]
            drawn.add(file)
    assert drawn == set(guessed.SHARES)
    assert more == base


def test_a_declaration_that_lacks_the_task_is_refused():
    text = (BASE / "base.yaml").read_text("utf-8").replace("  entities-social-zh:", "  social:")
    with pytest.raises(InputError, match="found no task entities-social-zh"):
        guessed.declared(text)
