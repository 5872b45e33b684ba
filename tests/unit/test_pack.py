"""A pack on disk: what is written is read, damage is told, nothing is half-written."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.decide import Calibration
from umbel.errors import CacheError, PackError
from umbel.manifest import BackboneName, Manifest, ReadingFile
from umbel.pack import FORMAT, MANIFEST, find_pack, format_of, read_pack
from umbel.packing import write_pack


@pytest.fixture
def pack(tmp_path):
    return write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"))


def change(pack, **fields):
    path = pack.folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_reads_what_was_written(pack):
    found = read_pack(pack.folder)
    assert found.manifest == pack.manifest
    assert list(found.tasks) == ["sentiment", "topics", "urgency", "entities", "vector"]
    assert found.head("sentiment")["weight"].shape == (2, 32)
    assert found.head("vector") == {}
    found.verify()


def test_holds_no_pickle(pack):
    names = {path.suffix for path in pack.folder.rglob("*") if path.is_file()}
    assert names <= {".json", ".safetensors", ".md"}


def test_the_same_pack_is_the_same_bytes(pack, tmp_path):
    again = write_tiny_pack(tmp_path / "again", tmp_path / "backbone")
    for path in pack.folder.rglob("*.safetensors"):
        assert path.read_bytes() == (again.folder / path.relative_to(pack.folder)).read_bytes()


def test_another_task_leaves_the_bytes_of_the_rest(pack, tmp_path):
    entry = pack.manifest.tasks["sentiment"].model_copy(update={"head": None})
    more = write_tiny_pack(tmp_path / "more", tmp_path / "backbone", another=entry)
    for task in ("sentiment", "topics", "urgency", "entities"):
        name = f"heads/{task}.safetensors"
        assert (pack.folder / name).read_bytes() == (more.folder / name).read_bytes()


def test_a_missing_head_is_told(pack):
    (pack.folder / "heads/topics.safetensors").unlink()
    with pytest.raises(PackError, match=r"topics\.safetensors: cannot be read"):
        read_pack(pack.folder).verify()


def test_a_damaged_head_is_told_and_only_its_task_suffers(pack):
    path = pack.folder / "heads/topics.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = read_pack(pack.folder)
    with pytest.raises(PackError, match="found SHA-256"):
        found.head("topics")
    assert found.head("sentiment")["bias"].shape == (2,)


def test_a_head_of_other_labels_is_told(pack):
    tasks = json.loads((pack.folder / MANIFEST).read_text())["tasks"]
    tasks["sentiment"]["labels"] = ["bad", "good", "so-so"]
    change(pack, tasks=tasks)
    with pytest.raises(PackError, match="not a head of text-classification"):
        read_pack(pack.folder).head("sentiment")


def test_a_newer_format_is_refused_before_its_fields_are_read(pack):
    change(pack, format=FORMAT + 1, field_of_the_future=1)
    with pytest.raises(PackError, match=f"found format {FORMAT + 1}, this Umbel reads up to {FORMAT}") as caught:
        read_pack(pack.folder)
    assert caught.value.hint == "update umbel"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\x00"])
def test_a_damaged_manifest_is_told(pack, text):
    (pack.folder / MANIFEST).write_text(text)
    with pytest.raises(PackError, match="manifest"):
        read_pack(pack.folder)


def test_an_unknown_pack_is_told_with_what_there_is(tmp_path):
    with pytest.raises(PackError, match="no shipped pack and no folder"):
        find_pack(tmp_path / "nothing")


def test_writing_replaces_a_pack_at_once(pack):
    heads = {name: pack.head(name) for name in ("sentiment", "topics", "urgency", "entities")}
    adapter = {"x.delta": np.ones(3, np.float32)}
    again = write_pack(pack.folder, pack.manifest, heads, adapter, "full", "# card\n")
    assert read_pack(pack.folder).adapter()["x.delta"].tolist() == [1, 1, 1]
    assert again.manifest.adapter is not None
    assert [path.name for path in pack.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_failed_write_leaves_the_old_pack(pack, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("umbel.packing.save_file", fail)
    with pytest.raises(CacheError, match="No space"):
        write_pack(pack.folder, pack.manifest, {"sentiment": pack.head("sentiment")}, {})
    monkeypatch.undo()
    read_pack(pack.folder).verify()
    assert [path.name for path in pack.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_ngrams_take_the_newest_format(tmp_path, pack):
    folder = Path(pack.manifest.backbone.name)
    assert write_tiny_pack(tmp_path / "read", folder, ngrams=True).manifest.format == 9
    assert '"ngrams"' not in pack.manifest.model_dump_json()


def test_a_bias_takes_the_newest_format(pack):
    entries = pack.manifest.tasks
    biased = {"entities": entries["entities"].model_copy(update={"outside_bias": -0.5})}
    assert format_of(pack.manifest.model_copy(update={"tasks": entries | biased})) == 11
    assert '"outside_bias"' not in pack.manifest.model_dump_json()


def test_roundings_take_the_newest_format_and_go_with_the_weights_they_were_fitted_for(tmp_path, pack):
    folder = Path(pack.manifest.backbone.name)
    rounded = write_tiny_pack(tmp_path / "rounded", folder, rounded=True)
    assert read_pack(rounded.folder).manifest.format == FORMAT
    assert '"roundings"' not in (pack.folder / MANIFEST).read_text()
    heads = {name: rounded.head(name) for name in rounded.tasks if rounded.head(name)}
    again = write_pack(tmp_path / "again", rounded.manifest, heads, {})
    assert again.manifest.roundings is None
    assert again.manifest.format == 1


@pytest.mark.parametrize(
    ("known", "number"), [({}, 3), ({"brevity": 0.5}, 6), ({"trim_end": "的"}, 6), ({"heads": 2}, 8)]
)
def test_a_reading_head_takes_the_oldest_format_that_holds_it(known, number):
    reading = ReadingFile(file="", sha256="", **known)
    backbone = BackboneName(name="tiny", sha256="")
    manifest = Manifest(name="one", version="1", backbone=backbone, tasks={}, reading=reading)
    assert format_of(manifest) == number
    kept = reading.model_dump()
    assert kept.keys() & {"brevity", "trim_start", "trim_end", "heads"} == known.keys()
    other = reading.calibration(Calibration({"choice": 2.0}, blank=0.3))
    assert other.temperatures == {"choice": 2.0, "extract": 1.0}
    assert (other.brevity, other.sheds.end) == (known.get("brevity", 0), known.get("trim_end", ""))
