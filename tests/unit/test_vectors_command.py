"""`umbel teach-vectors`: a pack's bent vectors are read through a map, and all else stays."""

import itertools
import json

import numpy as np
import pytest
import torch
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

import umbel
from umbel.cli import app
from umbel.errors import PackError, RetrievalError
from umbel.manifest import WITH_MAP
from umbel.pack import read_pack
from umbel.retrieval import Document, Index

DECLARATION = """
pack: tiny
backbone: tiny
tasks:
  mood:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  asked:
    kind: asked
    data: [{train: train.jsonl, dev: dev.jsonl, column: asked}]
  vector:
    kind: feature-extraction
train: {sharing: full, epochs: 2, batch-rows: 8, learning-rate: 3.0e-3, precision: float32}
"""
WORDS = ("good", "bad", "Paris", "to", "这")


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def told_by(done):
    return " ".join(done.output.split())


def row(words):
    text = " ".join(words)
    answer = {"question": " ".join(words[:3]), "answers": [{"start": 0, "text": words[0]}]}
    return {"text": text, "mood": "good" if words.count("good") > words.count("bad") else "bad", "asked": answer}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("vectors")
    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(1)
        patch.chdir(home)
        patch.setenv("UMBEL_CACHE", str(home / "cache"))
        write_tiny_backbone(home / "tiny")
        rows = [row(words) for words in itertools.product(WORDS, repeat=4)]
        for split, some in (("train", rows[::2]), ("dev", rows[1::8])):
            (home / f"{split}.jsonl").write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in some))
        (home / "pack.yaml").write_text(DECLARATION)
        done = invoke("train", "pack.yaml", "--out", "run")
        assert done.exit_code == 0, done.output
        yield home


def test_vectors_are_read_through_a_map_and_all_else_stays(trained):
    before = umbel.load("run/pack", precision="float32")
    done = invoke("teach-vectors", "run/pack", "--out", "own", "--version", "1.2.3")
    assert done.exit_code == 0, done.output
    assert "the nearest other text is the backbone's for" in told_by(done)
    assert "questions held back" in told_by(done)
    assert "all else is as it was" in told_by(done)
    pack, after = read_pack("own"), umbel.load("own", precision="float32")
    pack.verify()
    assert (pack.manifest.version, pack.manifest.format) == ("1.2.3", WITH_MAP)
    head, scores = pack.head("vector"), pack.manifest.tasks["vector"].scores
    assert not head["query"].any()
    assert scores["nearest"] + scores["found"] > scores["nearest-before"] + scores["found-before"]
    assert "## Vectors" in (trained / "own/CARD.md").read_text()
    for text in ("good Paris to bad", "这 bad bad 这"):
        assert before(text)["mood"] == after(text)["mood"]
        mean = before.read(text).kept[0].hidden.mean(axis=0)
        expected = head["weight"] @ mean + head["bias"]
        assert np.allclose(after(text)["vector"].vector, expected / np.linalg.norm(expected), atol=1e-5)
        assert np.linalg.norm(after(text)["vector"].vector) == pytest.approx(1, abs=1e-5)
    changed = json.loads(invoke("diff", "run/pack", "own", "--json").output)["tasks"]
    states = {name: each["state"] for name, each in changed.items()}
    assert states == {"mood": "same", "asked": "same", "vector": "changed"}


def test_both_engines_read_the_map(trained):
    from umbel.loading import backbone_of_pack
    from umbel.scoring import torch_predictor

    assert invoke("teach-vectors", "run/pack", "--out", "both", "--anyway").exit_code == 0
    pack = read_pack("both")
    (said,) = torch_predictor(pack, backbone_of_pack(pack))(["good Paris to bad"], ["vector"])
    runtime = umbel.load("both", precision="float32")("good Paris to bad")["vector"].vector
    assert float(said["vector"].vector @ runtime) > 0.99999  # the runtime keeps weights in 16 bits


def test_questions_bring_their_passage_and_the_text_that_it_is_of(trained):
    from umbel.data import load
    from umbel.spec import load_spec
    from umbel.vector_adding import gathered, questions

    model, spec = umbel.load("run/pack", precision="float32"), load_spec(trained / "pack.yaml")
    rows = [row for some in load(spec).train.values() for row in some]
    for found, asked in zip(questions(model, rows[:9], ["asked"]), rows, strict=False):
        assert found.question == " ".join(asked.text.split(" ")[:3])
        assert found.document == asked.text
        assert found.passage in asked.text
    texts = gathered(model, spec)
    assert len(texts.documents) == len(texts.means) == len(texts.files)
    assert (texts.documents[texts.pairs[:, 0]] == texts.documents[texts.pairs[:, 1]]).all()
    assert len(np.unique(texts.documents)) == len({row.text for row in rows})


def test_a_map_is_held_against_the_one_that_is_there(trained):
    assert invoke("teach-vectors", "run/pack", "--out", "once", "--anyway").exit_code == 0
    before = (trained / "once/manifest.json").read_bytes()
    done = invoke("teach-vectors", "once")
    assert done.exit_code == 0, done.output
    assert "no better" in done.output
    assert (trained / "once/manifest.json").read_bytes() == before


def test_an_index_of_other_vectors_is_refused(trained):
    assert invoke("teach-vectors", "run/pack", "--out", "other", "--anyway").exit_code == 0
    with Index.create(trained / "old.index", umbel.load("run/pack")) as index:
        index.add([Document("good Paris", "one")])
    with pytest.raises(RetrievalError, match=r"(?s)map .*take the pack it was made with"):
        Index.open(trained / "old.index", umbel.load("other"))
    with Index.open(trained / "old.index", umbel.load("run/pack")) as index:
        assert index.search("good Paris")[0].source == "one"


def test_a_pack_whose_vectors_are_the_backbones_is_left_as_it_is(trained):
    (trained / "heads.yaml").write_text(DECLARATION.replace("sharing: full", "sharing: heads"))
    assert invoke("train", "heads.yaml", "--out", "heads").exit_code == 0
    plain = DECLARATION.split("  asked:")[0] + "  vector:" + DECLARATION.split("  vector:")[1]
    (trained / "plain.yaml").write_text(plain)
    done = invoke("teach-vectors", "heads/pack", "--data", "plain.yaml", "--out", "none")
    assert done.exit_code == 0, done.output
    assert "no better" in done.output
    assert not (trained / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run/pack", "--version", "newest"), "three numbers like 1.0.0"),
        (("base",), "stays as it is"),
        (("run/pack", "--data", "no.yaml"), "no.yaml"),
    ],
)
def test_faults_are_told(trained, arguments, told):
    done = invoke("teach-vectors", *arguments)
    assert done.exit_code != 0
    assert told in told_by(done)


def test_a_pack_without_vectors_is_told(trained):
    none = DECLARATION.replace("  vector:\n    kind: feature-extraction\n", "")
    (trained / "none.yaml").write_text(none)
    assert invoke("train", "none.yaml", "--out", "without").exit_code == 0
    done = invoke("teach-vectors", "without/pack", "--data", "none.yaml")
    assert done.exit_code != 0
    assert "the pack gives no vectors" in told_by(done)


def test_too_few_texts_are_told(trained):
    lines = (trained / "train.jsonl").read_text().splitlines(keepends=True)
    (trained / "few.jsonl").write_text("".join(lines[:60]))
    (trained / "few.yaml").write_text(DECLARATION.replace("train: train.jsonl", "train: few.jsonl"))
    assert "found 60 train texts, expected 200" in told_by(invoke("teach-vectors", "run/pack", "--data", "few.yaml"))


def test_a_map_of_another_width_is_damage(trained):
    from umbel.card import card_of
    from umbel.packing import write_taught

    pack = read_pack("run/pack")
    head = {"query": np.zeros(32, np.float32), "weight": np.zeros((5, 32), np.float32), "bias": np.zeros(5, np.float32)}
    write_taught(pack, trained / "damaged", "vector", pack.manifest.tasks["vector"], head, "0.1.0", card_of)
    with pytest.raises(PackError, match="not a head of feature-extraction"):
        read_pack(trained / "damaged").verify()
