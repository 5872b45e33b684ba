"""Teaching a task: heads from examples and words, tasks from a description, and the proof that nothing else moves."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tiny_pack import write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner

import umbel
from umbel import forward, teach
from umbel.cli import app
from umbel.errors import InputError, UmbelError
from umbel.manifest import ForkFile
from umbel.pack import read_pack
from umbel.teach import Row

GOOD, BAD = "good to Paris", "bad to Paris"
ROWS = [
    Row(f"{word} {'to ' * (n % 4)}Paris {word}", label)
    for n in range(8)
    for word, label in (("good", "fine"), ("bad", "poor"))
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def model(folder):
    pack = write_tiny_pack(folder / "tiny", write_tiny_backbone(folder / "backbone"), branches=True)
    return umbel.load(pack.folder)


def run(*words):
    return CliRunner().invoke(app, ["teach", *map(str, words)])


def write_rows(path, rows):
    path.write_text("".join(json.dumps({"text": row.text, "label": row.label}) + "\n" for row in rows))
    return path


def test_a_new_task_is_learned_from_examples(model, folder):
    entry = teach.entry_for(model.pack, "mood", "", [], ROWS)
    taught = teach.teach(model, folder / "out", "mood", entry, ROWS, [])
    again = umbel.load(folder / "out")
    assert again(GOOD)["mood"].label == "fine"
    assert again(BAD)["mood"].label == "poor"
    assert taught.after == 100
    assert taught.before is None
    assert set(read_pack(folder / "out").tasks) == {*model.tasks, "mood"}


def test_everything_else_is_the_same_bytes_and_answers(model, folder):
    files = {path.name: path.read_bytes() for path in model.pack.folder.rglob("*.safetensors")}
    before = model(GOOD)
    entry = teach.entry_for(model.pack, "sentiment", "", [], [])
    rows = [Row(row.text, {"fine": "good", "poor": "bad"}[row.label]) for row in ROWS]
    taught = teach.teach(model, model.pack.folder, "sentiment", entry, rows, rows)
    after = {path.name: path.read_bytes() for path in taught.pack.folder.rglob("*.safetensors")}
    assert {name for name in files if files[name] != after[name]} == {"sentiment.safetensors"}
    again = umbel.load(taught.pack.folder)(GOOD)
    assert all(again[name] == before[name] for name in ("topics", "urgency", "entities"))
    assert taught.after > taught.before
    assert taught.unchanged["answers"] == 4 * len(teach.PROBES)


def test_a_description_alone_is_asked_of_the_text(model, folder):
    labels = [("good news", "something good"), ("bad news", "")]
    entry = teach.entry_for(model.pack, "news", "good or bad", labels, [])
    teach.teach(model, folder / "out", "news", entry, [], [])
    described = umbel.load(folder / "out")
    found = described(GOOD)["news"]
    from umbel.questions import Choice, Option

    question = Choice("good or bad", (Option("good news", "something good"), Option("bad news")))
    (asked,) = model.ask(GOOD, [question])
    assert found.probabilities == asked.probabilities
    counters = described.counters
    assert (counters.encodings, counters.tasks) == (1, 6)


def test_a_description_too_long_to_be_read_is_refused_before_anything_is_written(model, folder):
    entry = teach.entry_for(model.pack, "news", "good or bad", [("a", "good " * 40), ("b", "")], [])
    with pytest.raises(InputError, match=r"options\[0\]: found \d+ tokens, expected at most 32; say it in fewer words"):
        teach.teach(model, folder / "out", "news", entry, [], [])
    assert not (folder / "out").exists()


def test_a_described_task_moves_no_other_answer_beside_it(model, folder):
    entry = teach.entry_for(model.pack, "news", "good or bad", [("a", ""), ("b", "")], [])
    teach.teach(model, folder / "out", "news", entry, [], [])
    described = umbel.load(folder / "out")
    texts = [GOOD, BAD, "to to to Paris good bad bad Paris"]
    assert [r["sentiment"] for r in described(texts)] == [r["sentiment"] for r in described(texts, ["sentiment"])]
    assert [r["sentiment"] for r in described(texts)] == [r["sentiment"] for r in model(texts)]


def test_a_described_task_becomes_a_head_when_taught(model, folder):
    entry = teach.entry_for(model.pack, "mood", "Mood?", [("fine", "good"), ("poor", "bad")], [])
    teach.teach(model, folder / "out", "mood", entry, [], [])
    described = umbel.load(folder / "out")
    entry = teach.entry_for(described.pack, "mood", "", [], ROWS)
    taught = teach.teach(described, folder / "out", "mood", entry, ROWS, ROWS)
    assert taught.before is not None
    assert taught.after == 100
    assert taught.pack.head("mood")
    assert taught.pack.manifest.tasks["mood"].descriptions == {"fine": "good", "poor": "bad"}


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_the_regression_is_that_of_scikit_learn(strength):
    random = np.random.default_rng(0)
    golds = random.integers(0, 3, 60)
    features = (random.normal(size=(60, 5)) + np.eye(3, 5)[golds]).astype(np.float32)
    weight, bias = teach.logistic(features, golds, 3, strength)
    theirs = LogisticRegression(C=1 / (strength * 60), max_iter=1000, tol=1e-8).fit(features, golds)
    mine = features @ weight.T + bias
    other = theirs.decision_function(features)
    np.testing.assert_allclose(mine - mine.mean(1, keepdims=True), other - other.mean(1, keepdims=True), atol=0.03)


def test_a_proof_that_fails_is_told(model, folder, monkeypatch):
    monkeypatch.setattr(teach, "_same", lambda one, other: False)
    entry = teach.entry_for(model.pack, "mood", "", [], ROWS)
    with pytest.raises(UmbelError, match="changing mood moved the answer of sentiment"):
        teach.teach(model, folder / "out", "mood", entry, ROWS, [])
    assert not (folder / "out").exists()


def test_mistakes_are_told(model):
    with pytest.raises(InputError, match="expected at least two"):
        teach.entry_for(model.pack, "mood", "Mood?", [("fine", "")], [])
    with pytest.raises(InputError, match="line 3: 'god' is not a label; did you mean 'good'"):
        teach.entry_for(model.pack, "sentiment", "", [], [Row("x", "god", 3)])
    with pytest.raises(InputError, match="a task of kind token-classification"):
        teach.entry_for(model.pack, "entities", "", [], ROWS)
    with pytest.raises(InputError, match="with several labels"):
        teach.entry_for(model.pack, "topics", "", [], ROWS)
    entry = teach.entry_for(model.pack, "mood", "", [("a", ""), ("b", "")], [])
    with pytest.raises(InputError, match="neither examples nor an instruction"):
        teach.teach(model, model.pack.folder, "mood", entry, [], [])


def test_the_command_teaches_and_tells(model, folder):
    rows, dev = write_rows(folder / "rows.jsonl", ROWS), write_rows(folder / "dev.jsonl", ROWS[:6])
    result = run(model.pack.folder, "mood", "--file", rows, "--dev", dev, "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert "a head learned from 16 examples" in result.output
    assert "100.0 now (6 dev rows)" in result.output
    assert "25 answers of other tasks compared" in result.output
    described = run(folder / "out", "urgent", "-i", "How urgent?", "-l", "now: today | later", "-o", folder / "more")
    assert described.exit_code == 0, described.output
    assert "asked by its instruction" in described.output


def test_the_command_tells_bad_rows_and_keeps_shipped_packs(model, folder):
    bad = folder / "bad.jsonl"
    bad.write_text('{"text": "good", "label": ""}\n{"text": " ", "label": "a"}\n')
    result = run(model.pack.folder, "mood", "--file", bad)
    assert result.exit_code == 1
    assert "label: found ''" in result.output
    assert "text: found ' '" in result.output


def test_a_described_task_answers_long_and_many_texts_without_keeping_them_all(model, folder, monkeypatch):
    entry = teach.entry_for(model.pack, "mood", "Which?", [("good", ""), ("bad", "")], [])
    teach.teach(model, folder / "out", "mood", entry, [], [])
    texts = ["good to Paris", "bad to " * 200, "Paris", "to good"]
    taught = umbel.load(folder / "out")
    whole = [found["mood"].probabilities for found in taught(texts)]
    monkeypatch.setattr(forward, "MOST_HELD", 2)
    before = taught.counters.encodings
    assert [found["mood"].probabilities for found in taught(texts)] == whole
    assert taught.counters.encodings == before + len(texts)


def test_a_correction_is_learned_and_moves_the_task_little(model, folder):
    texts = [GOOD, BAD, "Paris Paris to", "to bad good", "good " * 9]
    before = [result["sentiment"] for result in model(texts)]
    wrong = next(label for label in model.tasks["sentiment"].labels if label != before[0].label)
    rows = [Row(GOOD, wrong)]
    entry = teach.entry_for(model.pack, "sentiment", "", [], rows)
    taught = teach.teach(model, folder / "out", "sentiment", entry, rows, [], correcting=True)
    after = [result["sentiment"] for result in umbel.load(folder / "out")(texts)]
    assert max(after[0].probabilities, key=after[0].probabilities.get) == wrong
    anew = teach.teach(model, folder / "anew", "sentiment", entry, rows, [])
    replaced = [result["sentiment"] for result in umbel.load(folder / "anew")(texts)]

    def moved(found):
        pairs = zip(before[1:], found[1:], strict=True)
        return sum(abs(one.probabilities[wrong] - two.probabilities[wrong]) for one, two in pairs)

    assert moved(after) < moved(replaced)
    assert taught.unchanged == anew.unchanged
    assert taught.after is None


def test_an_answer_that_is_right_already_stays_nearly_as_it_is(model, folder):
    before = model(GOOD)["sentiment"]
    rows = [Row(GOOD, max(before.probabilities, key=before.probabilities.get))]
    entry = teach.entry_for(model.pack, "sentiment", "", [], rows)
    teach.teach(model, folder / "out", "sentiment", entry, rows, [], correcting=True)
    after = umbel.load(folder / "out")(GOOD)["sentiment"]
    assert after.label == before.label
    assert abs(after.probability - before.probability) < 0.5


@pytest.mark.parametrize(
    ("task", "labels", "rows", "told"),
    [
        ("mood", [], ROWS, "no head"),
        ("sentiment", [], [], "no examples"),
        ("sentiment", [("fine", ""), ("poor", "")], ROWS, "keep the labels"),
    ],
)
def test_what_cannot_be_corrected_is_told(model, folder, task, labels, rows, told):
    entry = teach.entry_for(model.pack, task, "say", labels, rows)
    with pytest.raises(InputError, match=told):
        teach.teach(model, folder / "out", task, entry, rows, [], correcting=True)
    assert not (folder / "out").exists()


def test_a_detached_task_is_not_corrected(model, folder):
    rows = [Row(GOOD, model.tasks["sentiment"].labels[0])]
    entry = teach.entry_for(model.pack, "sentiment", "", [], rows)
    detached = entry.model_copy(update={"fork": ForkFile.model_construct(file="forks/sentiment.safetensors")})
    with pytest.raises(InputError, match="detached"):
        teach.correct(model, "sentiment", detached, rows)
