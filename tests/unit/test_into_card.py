"""Figures on unseen sets go into a pack's manifest and card, and nothing else changes."""

import into_card
import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.errors import InputError
from umbel.pack import CARD, read_pack

PACK = {"rows": 400, "accuracy": 71.25, "macro-f1": 70.0, "ece": 0.061}
FIGURES = {
    "pack": {"sst2.sentiment": PACK, "conll2003.entities": {"rows": 9, "f1": 33.0}},
    "cosine": {"sst2.sentiment": {"rows": 400, "accuracy": 60.5}},
}
PASSAGES = {name: {"questions": 7, "exact": 20.0, "f1": 31.0, "ece": 0.2} for name in ("cmrc2018", "drcd, free", "new")}


def test_the_card_shows_unseen_sets_with_the_cosine_beside_them(tmp_path):
    pack = write_tiny_pack(tmp_path / "pack", write_tiny_backbone(tmp_path / "backbone"), branches=True)
    into_card.write(pack.folder, into_card.unseen(FIGURES, PASSAGES), into_card.read_sets(PASSAGES))
    found = read_pack(pack.folder).manifest
    assert set(found.branches.unseen) == {"sst2.sentiment", "conll2003.entities", "new"}
    lines = (pack.folder / CARD).read_text().splitlines()
    assert "| sst2.sentiment | 400 | 71.2 | 70.0 |  | 0.061 | 60.5 |" in lines
    assert "| conll2003.entities | 9 |  |  | 33.0 |  |  |" in lines
    assert found.model_copy(update={"branches": pack.manifest.branches}) == pack.manifest


def test_figures_of_a_pack_are_needed(tmp_path):
    with pytest.raises(InputError, match="no figures of a pack"):
        into_card.unseen({}, {})
    pack = write_tiny_pack(tmp_path / "pack", write_tiny_backbone(tmp_path / "backbone"))
    with pytest.raises(InputError, match="no branches"):
        into_card.write(pack.folder, {}, {})
