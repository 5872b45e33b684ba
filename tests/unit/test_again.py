"""The declaration that goes on from a pack: base.yaml, with the weights and settings that are named and no others."""

from pathlib import Path

import again
import pytest
from ruamel.yaml import YAML

from umbel.errors import InputError
from umbel.kinds.base import kinds

BASE = Path(__file__).parents[2] / "packs/base"


def test_it_differs_from_base_in_what_is_named():
    base = YAML(typ="safe").load(BASE / "base.yaml")
    text = again.again((BASE / "base.yaml").read_text("utf-8"), "base")
    found = YAML(typ="safe").load(text)
    for name, task in found["tasks"].items():
        weight = task.pop("weight", None)
        trains = kinds()[task["kind"]].trained and name != "vector"
        assert (weight == again.WEIGHTS[name]) if trains else (weight is None), name
    assert found.pop("train") == {
        **{key: value for key, value in base.pop("train").items() if key != "teachers"},
        **again.SETTINGS,
        "start": "base",
    }
    assert found == base


def test_a_folder_is_named_in_full_and_the_mean_asked_for(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    text = again.again((BASE / "base.yaml").read_text("utf-8"), "own", "base")
    found = YAML(typ="safe").load(text)["train"]
    assert (found["start"], found["average-with"]) == (str(tmp_path / "own"), "base")


def test_a_declaration_that_lacks_something_is_refused():
    text = (BASE / "base.yaml").read_text("utf-8").replace("  news-topic:", "  news:")
    with pytest.raises(InputError, match=r"found 0 places like .*news-topic"):
        again.again(text, "base")
