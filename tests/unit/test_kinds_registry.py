"""Kinds are found by entry point: the built-in ones, those of other packages, and never a broken one."""

import importlib
import logging
import sys

import pytest

from umbel.errors import SpecError
from umbel.kinds import base, kind_of, kinds
from umbel.records import Task

BUILT_IN = {"text-classification", "regression", "token-classification", "feature-extraction"}
ORDINAL = """
from umbel.kinds.regress import Regression

class Ordinal(Regression):
    name = "ordinal"
    metrics = ("spearman",)

    def parse(self, task, value, text):
        return float(task.labels.index(value))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution of one module that registers kinds; gone again afterwards."""

    def install(source, **entries):
        (tmp_path / "third_party_kinds.py").write_text(source)
        info = tmp_path / "third_party_kinds-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party-kinds\nVersion: 1.0\n")
        lines = [f"{name} = third_party_kinds:{value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{base.GROUP}]", *lines, ""]))
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        kinds.cache_clear()

    yield install
    kinds.cache_clear()
    sys.modules.pop("third_party_kinds", None)


def test_the_built_in_kinds_are_there_under_their_names():
    assert set(kinds()) >= BUILT_IN
    assert all(kind.name == name for name, kind in kinds().items())
    assert all(kind.reads in ("pooled", "tokens", "nothing") for kind in kinds().values())


def test_an_unknown_kind_is_named_with_the_nearest_known_one():
    with pytest.raises(SpecError, match=r"'regresion' is not a kind; did you mean 'regression'\?"):
        kind_of("regresion")


def test_another_package_adds_a_kind(installed):
    installed(ORDINAL, ordinal="Ordinal")
    assert set(kinds()) >= BUILT_IN | {"ordinal"}
    task = Task("mood", "ordinal", ("low", "middle", "high"), metric="spearman")
    kind = kind_of(task.kind)
    assert kind.parse(task, "high", "text") == 2.0
    assert kind.width(task) == 1


@pytest.mark.parametrize("source", ["raise RuntimeError('bad build')", "", "def Ordinal(): return 1 / 0"])
def test_a_broken_kind_is_left_out_and_named(installed, source, caplog):
    installed(source, ordinal="Ordinal")
    with caplog.at_level(logging.WARNING, "umbel"):
        assert set(kinds()) >= BUILT_IN
    assert "ordinal" not in kinds()
    assert "kind 'ordinal' of third_party_kinds:Ordinal cannot be loaded" in caplog.text
