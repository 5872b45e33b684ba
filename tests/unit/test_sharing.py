"""Ways to share a backbone: what each trains, stores and reports, and differences in four bits."""

import json

import numpy as np
import pytest
import sharing
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_pack import write_tiny_backbone

from umbel.errors import InputError
from umbel.spec import load_spec

DECLARATION = """
pack: base
backbone: tiny
tasks:
  mood:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  left-out:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
train: {batch-rows: 8, learning-rate: 1.0e-3, head-learning-rate: 1.0e-2, teachers: runs, keep-vectors: 20}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    write_tiny_backbone(tmp_path / "tiny")
    rows = [{"text": text, "mood": text.split()[0]} for text in ("good to Paris", "bad to Paris")] * 20
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "base.yaml").write_text(DECLARATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sharing, "HERE", tmp_path)
    monkeypatch.setattr(sharing, "FIGURES", tmp_path / "sharing.json")
    monkeypatch.setattr(sharing, "TASKS", ("mood",))
    monkeypatch.setattr(sharing, "ROWS", 800)
    return tmp_path


def test_a_way_changes_sharing_alone(home):
    before = load_spec(home / "base.yaml")
    spec = sharing.declared(before, sharing.Way("adapter", 16, 2e-3))
    assert [task.name for task in spec.tasks] == ["mood"]
    assert (spec.train.sharing, spec.train.rank, spec.train.learning_rate) == ("adapter", 16, 2e-3)
    assert (spec.train.teachers, spec.train.keep_vectors) == ("", 0.0)
    full = sharing.declared(before, sharing.Way("full")).train
    assert full == before.train.model_copy(update={"teachers": "", "keep_vectors": 0.0})


def test_ways_are_trained_on_the_same_rows_stored_and_kept(home, capsys, monkeypatch):
    arguments = ["--only", "full,rank-4,heads", "--rows", "800", "--threads", "1"]
    sharing.main(arguments)
    shown = capsys.readouterr().out
    kept = json.loads(sharing.FIGURES.read_text())
    assert kept.keys() == {"full", "full, 4 bits", "rank-4", "heads"}
    assert {each["rows"] for each in kept.values()} == {800}
    assert kept["heads"]["bytes"] == 0 < kept["rank-4"]["bytes"] < kept["full, 4 bits"]["bytes"] < kept["full"]["bytes"]
    assert kept["full"]["scores"] == {"mood": kept["full"]["mean"]}
    assert kept["full"]["mean"] == kept["full, 4 bits"]["mean"] == 100
    monkeypatch.setattr(sharing, "measure", lambda *_: pytest.fail("trained again"))
    sharing.main(arguments)
    assert capsys.readouterr().out == shown[shown.index("way ") :]


def test_an_unknown_way_is_told():
    with pytest.raises(InputError, match="'rank-5' is not a way; did you mean 'rank-4'"):
        sharing.main(["--only", "rank-5"])


@given(arrays(np.float32, st.sampled_from([(2, 32), (3, 64)]), elements=st.floats(-1, 1, width=16)))
def test_four_bits_are_off_by_half_a_step_of_their_block(change):
    rounded, size = sharing.in_four_bits(change)
    assert size == change.size // 2 + 2 * change.size // sharing.BLOCK
    for block, found in zip(change.reshape(-1, 32), rounded.reshape(-1, 32), strict=True):
        step = np.abs(block).max() / 7
        assert np.abs(found - block).max() <= 0.51 * step + 1e-6
        assert len(np.unique(found)) <= 15
