"""Teaching a pack to read: a head is learned on sealed encodings, resumes to the same bits, and moves nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack
from typer.testing import CliRunner

import umbel
from umbel.cli import app
from umbel.data import load
from umbel.decide import LONGEST
from umbel.errors import InputError, PackError
from umbel.pack import MANIFEST, READING, read_pack
from umbel.questions import Extract, Predicate
from umbel.reading import apart
from umbel.reading_train import ReadingSettings, ReadingTrainer, add_reading, on_the_way, passages_of, weights_of
from umbel.spec import load_spec

# Of a text of good, bad and to, "where" asks for the Paris in it.
WORDS = ("good", "bad", "to", "这")
DECLARATION = """\
pack: reads
backbone: backbone
tasks:
  mood:
    kind: text-classification
    labels: [fine, poor]
    data: [{train: mood.jsonl, dev: mood.dev.jsonl, column: mood}]
  reading:
    kind: asked
    data: [{train: train.jsonl, dev: dev.jsonl, column: asked}]
"""
SETTINGS = ReadingSettings(epochs=12, width=16, blocks=1, dropout=0.0, learning_rate=3e-3, batch_questions=8)


def rows(count, seed):
    generator = np.random.default_rng(seed)
    for _ in range(count):
        words = [WORDS[place] for place in generator.integers(len(WORDS), size=int(generator.integers(3, 9)))]
        asked = [{"question": "to bad", "answers": []}]
        if generator.random() < 0.8:
            words[int(generator.integers(len(words)))] = "Paris"
            start = " ".join(words).index("Paris")
            asked.append({"question": "Paris", "answers": [{"start": start, "text": "Paris"}]})
        yield {"text": " ".join(words), "asked": asked}


def write(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"), branches=True)
    write(tmp_path / "train.jsonl", rows(120, 1))
    write(tmp_path / "dev.jsonl", rows(40, 2))
    write(tmp_path / "mood.jsonl", [{"text": "good", "mood": "fine"}, {"text": "bad", "mood": "poor"}])
    write(tmp_path / "mood.dev.jsonl", [{"text": "good good", "mood": "fine"}, {"text": "bad bad", "mood": "poor"}])
    (tmp_path / "pack.yaml").write_text(DECLARATION)
    return tmp_path


@pytest.fixture
def model(folder):
    return umbel.load(folder / "tiny")


@pytest.fixture
def data(folder):
    return load(load_spec(folder / "pack.yaml"))


def passages(model, data, most=32):
    return passages_of(model, [row for file in data.train.values() for row in file], data, most)


def test_it_learns_where_answers_stand(model, data, folder):
    weights = weights_of(ReadingTrainer(passages(model, data), SETTINGS, folder / "run").run())
    pack = add_reading(model, folder / "out", {"trained": weights}, data, {"epochs": 12})
    assert pack.manifest.reading.scores["score"] > 90
    answer = umbel.load(folder / "out").ask("good to Paris bad", [Extract("Paris")])[0]
    assert (answer.span.start, answer.span.end, answer.span.text) == (8, 13, "Paris")


def test_nothing_else_moves(model, data, folder):
    texts, questions = ["good to Paris", "bad"], [Predicate("good"), Predicate("to Paris")]
    tasks = [name for name in model.tasks if name != "vector"]
    before = [model(texts, tasks), [model.ask(text, questions) for text in texts]]
    weights = weights_of(ReadingTrainer(passages(model, data), SETTINGS, folder / "run").model)
    add_reading(model, folder / "out", {"trained": weights}, data, {})
    again = umbel.load(folder / "out")
    assert [again(texts, tasks), [again.ask(text, questions) for text in texts]] == before
    for path in (folder / "tiny").rglob("*.safetensors"):
        assert (folder / "out" / path.relative_to(folder / "tiny")).read_bytes() == path.read_bytes()


def test_of_several_heads_the_one_that_answers_most_is_taken(model, data, folder):
    trainer = ReadingTrainer(passages(model, data), SETTINGS, folder / "run")
    fresh = {name: value.copy() for name, value in weights_of(trainer.model).items()}
    trained = weights_of(trainer.run())
    heads = on_the_way(fresh, trained)
    assert list(heads) == ["0 of the way", "0.3 of the way", "0.5 of the way", "1 of the way"]
    assert all(np.array_equal(heads["0 of the way"][name], fresh[name]) for name in fresh)
    assert all(np.allclose(heads["1 of the way"][name], trained[name], atol=1e-6) for name in trained)
    half = heads["0.5 of the way"]
    assert all(np.allclose(half[name] * 2, trained[name] + fresh[name], atol=1e-6) for name in trained)
    pack = add_reading(model, folder / "out", heads, data, {"epochs": 12})
    told = pack.manifest.reading.training
    assert told["epochs"] == 12
    scores = pack.manifest.reading.scores
    assert told["heads"]["0 of the way"] < max(told["heads"].values()) == (scores["score"] + scores["f1"]) / 2
    taken = max(told["heads"], key=told["heads"].get)
    assert all(np.array_equal(heads[taken][name], value) for name, value in pack.reading().items())


def test_a_broken_run_goes_on_to_the_same_weights(model, data, folder):
    found = passages(model, data)
    whole = weights_of(ReadingTrainer(found, SETTINGS, folder / "whole").run())

    class StoppedError(Exception):
        pass

    def stop(progress, steps):
        if progress.step == steps // 2:
            raise StoppedError

    from umbel import checkpoint

    broken = ReadingTrainer(found, SETTINGS, folder / "broken")

    def save_and_stop(progress, steps):
        checkpoint.save(broken.folder, progress, broken.model, broken.optimizer)
        stop(progress, steps)

    with pytest.raises(StoppedError):
        broken.run(save_and_stop)
    resumed = weights_of(ReadingTrainer(found, SETTINGS, folder / "broken").run())
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_an_answer_is_the_same_alone_and_among_others(model, data, folder):
    weights = weights_of(ReadingTrainer(passages(model, data), SETTINGS, folder / "run").model)
    add_reading(model, folder / "out", {"trained": weights}, data, {})
    again = umbel.load(folder / "out")
    text, questions = (
        "good to Paris bad to",
        [Extract("Paris"), Extract("to bad"), Extract("where to"), Predicate("bad")],
    )
    together = again.ask(text, questions)
    alone = [umbel.load(folder / "out").ask(text, [question])[0] for question in questions]
    assert together == alone
    assert again.ask(text, questions[::-1]) == together[::-1]


def test_answers_beyond_the_window_or_too_long_are_left_out(model, data):
    found = passages(model, data, most=6)
    assert sum(len(passage.questions) for passage in found) < sum(len(p.questions) for p in passages(model, data))
    assert all(question.gold[1] - question.gold[0] < LONGEST for passage in found for question in passage.questions)


def test_a_damaged_head_is_told(model, data, folder):
    weights = weights_of(ReadingTrainer(passages(model, data), SETTINGS, folder / "run").model)
    weights.pop("root.bias")
    add_folder = folder / "out"
    from umbel.packing import write_reading

    write_reading(model.pack, add_folder, weights, {}, "2", lambda manifest: "")
    with pytest.raises(PackError, match="not a reading head"):
        umbel.load(add_folder)
    (add_folder / READING).write_bytes(b"no")
    with pytest.raises(PackError, match="SHA-256"):
        read_pack(add_folder).reading()


def test_the_command_trains_goes_on_and_says_what_it_did(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["teach-reading", "tiny", "pack.yaml", "--out", "runs/read", "--epochs", "0.2"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "questions on 120 passages" in first.output
    assert "% of" in first.output
    assert umbel.load(folder / "runs/read/pack").pack.manifest.reading
    again = CliRunner().invoke(app, [*words[:-1], "0.4"])
    assert again.exit_code == 1
    assert "belongs to another declaration" in " ".join(again.output.split())
    assert CliRunner().invoke(app, [*words[:-1], "0.4", "--restart"]).exit_code == 0
    assert CliRunner().invoke(app, [*words[:-1], "0.4"]).exit_code == 0  # it goes on, and is at its end
    write_tiny_pack(folder / "tiny", folder / "backbone", seed=2, branches=True)  # other readouts under that name
    other = CliRunner().invoke(app, [*words[:-1], "0.4"])
    assert other.exit_code == 1
    assert "belongs to another declaration" in " ".join(other.output.split())


def test_it_begins_with_the_head_of_another_pack(model, data, folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = passages(model, data)
    learnt = weights_of(ReadingTrainer(found, SETTINGS, folder / "run").run())
    slow = replace(SETTINGS, epochs=0.01, learning_rate=1e-9)
    for start, told in ((None, False), (learnt, True)):
        weights = weights_of(ReadingTrainer(found, slow, folder / f"start-{told}", start).run())
        assert all(np.allclose(weights[name], learnt[name], atol=1e-6) for name in weights) == told
    with pytest.raises(InputError, match="another shape"):
        ReadingTrainer(found, replace(SETTINGS, width=32), folder / "wide", learnt)
    other = {name: value + 1 for name, value in learnt.items()}
    with pytest.raises(InputError, match="belongs to another declaration"):
        ReadingTrainer(found, slow, folder / "start-True", other).run()
    words = ["teach-reading", "tiny", "pack.yaml", "--epochs", "0.2", "--start"]
    none = CliRunner().invoke(app, [*words, "tiny"])
    assert none.exit_code == 1
    assert "has no reading head" in " ".join(none.output.split())
    assert CliRunner().invoke(app, words[:-1]).exit_code == 0
    again = CliRunner().invoke(app, [*words, "runs/tiny-reading/pack", "--out", "runs/on"])
    assert again.exit_code == 0, again.output
    training = read_pack("runs/on/pack").manifest.reading.training
    assert training["began"] == {"pack": "tiny", "version": read_pack("tiny").manifest.version}
    assert training["settings"]["learning_rate"] == ReadingSettings.learning_rate / 2


def test_it_stays_beside_the_head_of_another_pack_where_dev_says_so(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["teach-reading", "tiny", "pack.yaml", "--epochs"]
    assert CliRunner().invoke(app, [*words, "12"]).exit_code == 0
    known = "runs/tiny-reading/pack"
    found = CliRunner().invoke(app, [*words, "0.2", "--beside", known, "--out", "runs/both"])  # hardly trained itself
    assert found.exit_code == 0, found.output
    entry = read_pack("runs/both/pack").manifest.reading
    assert entry.training["beside"] == {"pack": "tiny", "version": read_pack("tiny").manifest.version}
    assert entry.training["heads"]["beside"] > entry.training["heads"]["trained"]
    kept, both = read_pack(known).reading(), apart(read_pack("runs/both/pack").reading())
    assert (len(both), entry.heads, read_pack(known).manifest.reading.heads) == (2, 2, 0)
    assert all(np.array_equal(both[0][name], value) for name, value in kept.items())
    answer = umbel.load("runs/both/pack").ask("good to Paris bad", [Extract("Paris")])[0]
    assert answer.span.text == "Paris"
    three = CliRunner().invoke(app, [*words, "0.2", "--beside", "runs/both/pack", "--out", "runs/three"])
    assert three.exit_code == 0, three.output
    on = CliRunner().invoke(app, [*words, "0.2", "--start", "runs/both/pack", "--out", "runs/on"])
    assert on.exit_code == 1
    assert "has another shape" in " ".join(on.output.split())
    twice = CliRunner().invoke(app, [*words, "0.2", "--start", known, "--beside", known])
    assert twice.exit_code == 1
    assert "found both --start and --beside" in " ".join(twice.output.split())
    manifest = folder / known / MANIFEST
    strange = json.loads(manifest.read_text())
    strange["backbone"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(strange))
    other = CliRunner().invoke(app, [*words, "0.2", "--beside", known])
    assert other.exit_code == 1
    assert "is of another backbone" in " ".join(other.output.split())


def test_rows_without_questions_are_told(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "pack.yaml").write_text(DECLARATION.split("  reading:")[0])
    found = CliRunner().invoke(app, ["teach-reading", "tiny", "pack.yaml"])
    assert found.exit_code == 1
    assert "no task of kind asked" in " ".join(found.output.split())
