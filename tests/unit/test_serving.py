"""What `umbel serve` is told: packs and indexes by name, and an extra that is not there."""

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel import serving
from umbel.errors import InputError, MissingExtraError, PackError
from umbel.server.keys import KeyEntry
from umbel.server.settings import Settings
from umbel.terminal import output


@pytest.fixture
def pack(tmp_path):
    return write_tiny_pack(tmp_path / "pack", write_tiny_backbone(tmp_path / "backbone")).folder


def test_packs_have_their_own_name_or_one_that_is_given(pack):
    assert serving.sources_of([str(pack), f"mine={pack}"]) == {"tiny": str(pack), "mine": str(pack)}
    with pytest.raises(InputError, match="two packs are called tiny"):
        serving.sources_of([str(pack), f"tiny={pack}"])
    with pytest.raises(PackError):
        serving.sources_of(["nothing"])


def test_indexes_are_named(tmp_path):
    (tmp_path / "docs.index").write_text("")
    assert serving.named([f"docs={tmp_path}/docs.index"], "--index") == {"docs": tmp_path / "docs.index"}
    for wrong in ("docs", "=docs.index", f"docs={tmp_path}/no.index"):
        with pytest.raises(InputError, match="--index"):
            serving.named([wrong], "--index")


def test_a_missing_extra_names_its_command(monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as raised:
        serving.serve(["base"], Settings())
    assert raised.value.hint == 'pip install "umbel[serve]"'


def test_keys_are_shown_in_a_table(capsys):
    entries = [KeyEntry(name="shop", sha256="abc", per_minute=1000), KeyEntry(name="boss", sha256="d", role="admin")]
    output().print(serving.keys_table(entries))
    shown = capsys.readouterr().out
    assert "1,000" in shown
    assert "abc" not in shown
