"""The declaration of the shipped pack against the real sets, and the shipped scores against the runtime's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import prepare
import pytest

from umbel.check import check
from umbel.pack import read_pack
from umbel.scoring import runtime_predictor, score
from umbel.spec import PackSpec, load_spec

DECLARATION = Path(__file__).parents[2] / "packs" / "base" / "base.yaml"
MAY_SHIP = {"permissive", "share-alike", "research-terms"}
QUICK = ("command-intent", "command-slots", "service-intent", "service-entities", "entities-social-zh")
WITHIN = 1.0  # training scores in its own precision; of 255 rows one is 0.4


@pytest.fixture(scope="module")
def spec(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PackSpec:
    folder = tmp_path_factory.mktemp("base")
    shutil.copy(DECLARATION, folder)
    assert prepare.main(["--sets", str(data_folder), "--out", str(folder / "data")]) == 0
    return load_spec(folder / DECLARATION.name)


def test_the_data_can_be_trained_on(spec: PackSpec) -> None:
    found = check(spec)
    assert (found.faults, found.warnings) == ((), ())
    assert len(spec.tasks) >= 12


def test_every_source_names_its_licence(spec: PackSpec) -> None:
    assert [task.name for task in spec.tasks for entry in task.data if not (entry.licence and entry.source)] == []


def test_no_set_is_used_that_may_not_be(data_folder: Path) -> None:
    listed = json.loads((data_folder / "index.json").read_text("utf-8"))
    classes = {entry["name"]: entry["licence_class"] for entry in listed}
    assert {name: classes[name] for name in prepare.SETS if classes[name] not in MAY_SHIP} == {}


@pytest.mark.usefixtures("default_backbone")
def test_the_runtime_scores_what_the_card_says(spec: PackSpec) -> None:
    import umbel

    manifest = read_pack("base").manifest
    model = umbel.load("base")
    found = score(runtime_predictor(model), {name: model.tasks[name] for name in QUICK}, spec)
    for name in QUICK:
        assert found[name]["score"] == pytest.approx(manifest.tasks[name].scores["score"], abs=WITHIN), name
