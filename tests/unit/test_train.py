"""Joint training on a small random encoder: it learns, trains just what a row labels, and resumes to the same bits."""

import hashlib
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_pack import write_tiny_backbone

from umbel import train
from umbel.catalogue import load_backbone
from umbel.checkpoint import BEST, FILE
from umbel.data import Data
from umbel.errors import InputError
from umbel.optimizing import schedule
from umbel.processes import ALONE
from umbel.records import Example, Task
from umbel.spec import MixingSpec, PackSpec, TaskSpec, TrainSpec

WORDS = ["good", "bad", "Paris", "to", "这"]
TASKS = {
    "sentiment": Task("sentiment", "text-classification", ("bad", "good"), metric="accuracy"),
    "place": Task("place", "token-classification", ("place",), metric="f1"),
    "amount": Task("amount", "regression", metric="pearson"),
}


class Silent:
    def __init__(self):
        self.records = []

    def started(self, plan, data, progress):
        pass

    def stepped(self, status):
        pass

    def evaluated(self, record):
        self.records.append(record)


def rows_of(count, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(count):
        words = [WORDS[i] for i in torch.randint(0, 5, (6,), generator=generator)]
        words[number % 6] = ("good", "bad")[number % 2]
        words = [w if w not in ("good", "bad") else ("good", "bad")[number % 2] for w in words]
        text = " ".join(words)
        places = tuple((m, m + 5, "place") for m in range(len(text)) if text.startswith("Paris", m))
        golds = {"sentiment": ("good", "bad")[number % 2]}
        golds |= {"place": places} if number % 3 else {}
        golds |= {"amount": float(words.count("to"))} if number % 4 == 0 else {}
        rows.append(Example(text, golds, f"rows:{number}", "en"))
    return rows


def declared(**settings):
    given = {
        "epochs": 6.0,
        "batch_rows": 16,
        "learning_rate": 3e-3,
        "head_learning_rate": 1e-2,
        "evaluate_every": 2.0,
        "precision": "float32",
        "patience": 0,
    }
    spec = TrainSpec(**(given | settings))
    return PackSpec(name="tiny", tasks=tuple(TaskSpec(name=n, kind=t.kind) for n, t in TASKS.items()), train=spec)


def data_of(rows=192):
    return Data(
        dict(TASKS), {"a": rows_of(rows, 1), "b": rows_of(rows // 2, 2)}, {"a": rows_of(40, 3)}, {"a": 1.0, "b": 1.0}
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("train") / "backbone"))


def trainer_of(backbone, folder, data=None, reporter=None, processes=ALONE, **settings):
    return train.Trainer(declared(**settings), data or data_of(), backbone, folder, reporter or Silent(), processes)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bits_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_easy_tasks_are_learnt(backbone, tmp_path, precision):
    reporter = Silent()
    trainer_of(backbone, tmp_path, reporter=reporter, epochs=20.0, precision=precision).run()
    last = reporter.records[-1]
    assert last["scores"]["sentiment"] > 95
    assert last["scores"]["place"] > 90
    assert last["losses"]["sentiment"] < reporter.records[0]["losses"]["sentiment"]


def test_a_row_trains_just_the_tasks_it_labels(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path)
    items = [replace(item, golds={"sentiment": "good"}) for item in trainer.items["a"][:4]]
    trainer._loss(items).backward()
    assert trainer.model.heads["sentiment"].weight.grad.abs().sum() > 0
    assert trainer.model.heads["place"].weight.grad is None
    assert trainer.model.heads["amount"].weight.grad is None


def test_a_row_is_encoded_once_for_all_its_tasks(backbone, tmp_path, monkeypatch):
    trainer = trainer_of(backbone, tmp_path)
    encoded = []
    encoder = trainer.model.encoder
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda ids, mask: encoded.append(len(ids)) or encode(ids, mask))
    trainer._loss(trainer.items["a"][:12])
    assert encoded == [12]


@pytest.mark.parametrize("sharing", ["full", "adapter", "heads"])
def test_sharing_trains_what_it_says(backbone, tmp_path, sharing):
    trainer = trainer_of(backbone, tmp_path, sharing=sharing, rank=2, epochs=1.0)
    before = bits_of(trainer.model)
    after = bits_of(trainer.run())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("heads.") for name in changed)
    assert "encoder.embeddings.word_embeddings.weight" not in changed
    encoder = {name for name in changed if name.startswith("encoder.")}
    if sharing == "heads":
        assert not encoder
    elif sharing == "adapter":
        assert encoder
        assert all(name.endswith((".0.a", ".0.b")) for name in encoder)
    else:
        assert "encoder.encoder.layer.0.output.dense.weight" in encoder


def test_a_broken_off_training_ends_with_the_same_bits(backbone, tmp_path, monkeypatch):
    whole = trainer_of(backbone, tmp_path / "whole")
    expected = bits_of(whole.run())
    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    broken = trainer_of(backbone, tmp_path / "broken")
    step = broken._step

    def failing(rows, fraction):
        if broken.progress.step == 23:
            raise KeyboardInterrupt
        step(rows, fraction)

    broken._step = failing
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = trainer_of(backbone, tmp_path / "broken")
    found = bits_of(again.run())
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert again.progress.history == whole.progress.history


def test_the_mix_follows_dev_progress_and_goes_on_with_it(backbone, tmp_path, monkeypatch):
    settings = {"mixing": MixingSpec(by="progress"), "evaluate_every": 1.0}
    whole = trainer_of(backbone, tmp_path / "whole", **settings)
    expected = bits_of(whole.run())
    turns = whole.progress.turns
    assert [turn for turn, _ in turns] == sorted({turn for turn, _ in turns})
    assert len(turns) > 2
    assert all(sum(shares.values()) == pytest.approx(1) for _, shares in turns)
    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    broken = trainer_of(backbone, tmp_path / "broken", **settings)
    step = broken._step

    def failing(rows, fraction):
        if broken.progress.step == 70:
            raise KeyboardInterrupt
        step(rows, fraction)

    broken._step = failing
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    assert len(broken.progress.turns) > 1
    again = trainer_of(backbone, tmp_path / "broken", **settings)
    found = bits_of(again.run())
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert [list(turn) for turn in again.progress.turns] == [list(turn) for turn in turns]


def test_the_best_epoch_is_kept(backbone, tmp_path, monkeypatch):
    means, seen = iter([50.0, 80.0, 60.0, 80.0]), []

    def scores(self, limit):
        seen.append(bits_of(self.model))
        return dict.fromkeys(self.model.heads, next(means))

    monkeypatch.setattr(train.Trainer, "dev_scores", scores)
    settings = {"epochs": 4.0, "evaluate_every": 1.0, "keep": "best"}
    trainer = trainer_of(backbone, tmp_path, **settings)
    found = bits_of(trainer.run())
    assert len(seen) == 4
    assert all(torch.equal(seen[1][name], found[name]) for name in found)
    assert any(not torch.equal(seen[3][name], found[name]) for name in found)
    again = bits_of(trainer_of(backbone, tmp_path, **settings).run())  # finished: nothing is trained, the best given
    assert all(torch.equal(again[name], found[name]) for name in found)
    (tmp_path / BEST).write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"best\.safetensors: cannot be read"):
        trainer_of(backbone, tmp_path, **settings).run()


def test_what_is_kept_of_old_states_names_them_as_before(backbone, tmp_path):
    trainer_of(backbone, tmp_path, epochs=0.1).run()
    with pytest.raises(InputError, match="another declaration"):
        trainer_of(backbone, tmp_path, epochs=0.1, keep="best").run()


TRAINED_SLOWLY = """
import sys, time
sys.path.insert(0, sys.argv[3])
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_train import Silent, trainer_of
from umbel import train
from umbel.catalogue import load_backbone
train.SAVE_SECONDS = -1.0
reporter = Silent()
reporter.stepped = lambda status: time.sleep(0.02)
trainer_of(load_backbone(sys.argv[1]), Path(sys.argv[2]), reporter=reporter).run()
"""


def test_a_killed_training_ends_with_the_same_bits_and_scores(tmp_path):
    folder = write_tiny_backbone(tmp_path / "backbone")
    whole = trainer_of(load_backbone(folder), tmp_path / "whole")
    expected = bits_of(whole.run())
    command = [sys.executable, "-c", TRAINED_SLOWLY, folder, tmp_path / "killed", Path(__file__).parent]
    process = subprocess.Popen(list(map(str, command)))
    while not (tmp_path / "killed" / FILE).exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.uniform(0.0, 1.0))  # any moment must do, one in the middle of a save as well
    process.kill()
    assert process.wait() == -9
    again = trainer_of(load_backbone(folder), tmp_path / "killed")
    found = bits_of(again.run())
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert again.progress.history == whole.progress.history
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [FILE]


def test_a_finished_training_is_not_trained_again(backbone, tmp_path):
    trainer_of(backbone, tmp_path, epochs=1.0).run()
    again = trainer_of(backbone, tmp_path, epochs=1.0)
    again._step = lambda *_: pytest.fail("trained again")
    again.run()


def test_the_state_of_another_declaration_is_refused(backbone, tmp_path):
    trainer_of(backbone, tmp_path, epochs=1.0).run()
    with pytest.raises(InputError, match="belongs to another declaration") as caught:
        trainer_of(backbone, tmp_path, epochs=2.0).run()
    assert "--restart" in caught.value.hint


def test_tasks_that_no_longer_improve_stop_and_the_others_go_on(backbone, tmp_path, monkeypatch):
    reporter = Silent()
    trainer = trainer_of(backbone, tmp_path, reporter=reporter, epochs=8.0, evaluate_every=1.0, patience=1)
    scores = iter({"sentiment": 50.0, "place": float(n), "amount": float(n)} for n in range(100))
    monkeypatch.setattr(trainer, "dev_scores", lambda limit: next(scores))
    trainer.run()
    assert set(trainer.progress.stopped) == {"sentiment"}
    assert trainer.progress.round == trainer.plan.rounds


def test_a_task_stops_after_as_many_evaluations_as_its_patience(backbone, tmp_path, monkeypatch):
    trainer = trainer_of(backbone, tmp_path, epochs=7.0, evaluate_every=1.0, patience=3)
    scores = iter([1.0, 5.0, 4.0, 5.0, 3.0])
    monkeypatch.setattr(trainer, "dev_scores", lambda limit: {"sentiment": next(scores, 0.0)})
    trainer.run()
    assert trainer.progress.best["sentiment"] == (5.0, 1)
    assert trainer.progress.stopped == {"sentiment": 5}


def test_an_error_that_falls_is_an_improvement(backbone, tmp_path, monkeypatch):
    data = data_of()
    data.tasks["amount"] = replace(TASKS["amount"], metric="mean-absolute-error")
    trainer = trainer_of(backbone, tmp_path, data=data, epochs=8.0, evaluate_every=1.0, patience=1)
    scores = iter({"amount": 9.0 - n, "sentiment": 50.0 + n} for n in range(100))
    monkeypatch.setattr(trainer, "dev_scores", lambda limit: next(scores))
    trainer.run()
    assert not trainer.progress.stopped
    assert trainer.progress.best["amount"][1] == len(trainer.progress.history) - 1


def test_rows_whose_tasks_have_all_stopped_are_left_out_of_batches(backbone, tmp_path, monkeypatch):
    trainer = trainer_of(backbone, tmp_path)  # its files mix rows of several tasks
    trainer.progress.stopped["sentiment"] = 0
    only = [("a", row) for row, item in enumerate(trainer.items["a"]) if set(item.golds) == {"sentiment"}]
    mixed = [("a", row) for row, item in enumerate(trainer.items["a"]) if "place" in item.golds]
    before, encoded = bits_of(trainer.model), []
    encoder = trainer.model.encoder
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda ids, mask: encoded.append(len(ids)) or encode(ids, mask))
    trainer._step(only[:3], 0.5)
    assert encoded == []
    assert all(torch.equal(before[name], value) for name, value in bits_of(trainer.model).items())
    trainer._step(only[:3] + mixed[:5], 0.5)
    assert encoded == [5]
    after = bits_of(trainer.model)
    assert torch.equal(before["heads.sentiment.weight"], after["heads.sentiment.weight"])
    assert not torch.equal(before["heads.place.weight"], after["heads.place.weight"])


def test_a_gradient_that_is_not_finite_changes_nothing(backbone, tmp_path, monkeypatch, caplog):
    trainer = trainer_of(backbone, tmp_path)
    before, loss_of = bits_of(trainer.model), trainer._loss
    monkeypatch.setattr(trainer, "_loss", lambda items, fraction: loss_of(items) * float("nan"))
    trainer._step([("a", row) for row in range(4)], 0.5)
    assert "step 0: the gradient is not finite; its batch is left out" in caplog.text
    assert all(torch.equal(before[name], value) for name, value in bits_of(trainer.model).items())
    monkeypatch.undo()
    trainer._step([("a", row) for row in range(4)], 0.5)
    assert not torch.equal(before["heads.sentiment.weight"], trainer.model.heads["sentiment"].weight)


def test_a_source_is_left_out_when_all_its_tasks_have_stopped(backbone, tmp_path):
    data = data_of()
    data.train["b"] = [replace(row, golds={"amount": 1.0}) for row in data.train["b"]]
    trainer = trainer_of(backbone, tmp_path, data=data)
    assert trainer._silent_sources() == set()
    trainer.progress.stopped["amount"] = 1
    assert trainer._silent_sources() == set()  # the round in which it stopped is as it was planned
    trainer.progress.round = 1
    assert trainer._silent_sources() == {"b"}


def test_a_folder_that_cannot_be_written_is_told_at_once(backbone, tmp_path):
    (tmp_path / "file").write_text("")
    trainer = trainer_of(backbone, tmp_path / "file")
    trainer._step = lambda *_: pytest.fail("trained")
    with pytest.raises(InputError, match="the training cannot be saved"):
        trainer.run()


def test_dev_is_scored_as_often_as_declared_even_on_few_rows(backbone, tmp_path):
    reporter = Silent()
    data = data_of(64)
    trainer_of(backbone, tmp_path, data=data, reporter=reporter, epochs=8.0, evaluate_every=1.0, batch_rows=8).run()
    assert len(reporter.records) == 8
    assert [record["rows"] for record in reporter.records] == [96 * (n + 1) for n in range(8)]


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_the_rate_never_leaves_its_bounds(fraction, warm_up):
    assert 0 <= schedule(fraction, warm_up) <= 1


def test_training_ends_when_every_task_has_stopped(backbone, tmp_path, monkeypatch):
    trainer = trainer_of(backbone, tmp_path, epochs=50.0, evaluate_every=1.0, patience=1)
    monkeypatch.setattr(trainer, "dev_scores", lambda limit: dict.fromkeys(TASKS, 1.0))
    trainer.run()
    assert trainer.progress.round < trainer.plan.rounds


def test_the_rate_rises_and_falls():
    rates = [schedule(n / 100, 0.1) for n in range(101)]
    assert max(rates) == rates[10] == 1
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_losses_on_a_seed_are_these(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path, data=data_of(64), epochs=2.0)
    losses = []
    loss_of = trainer._loss

    def kept(items, fraction):
        loss = loss_of(items)
        losses.append(loss.item())
        return loss

    trainer._loss = kept
    trainer.run()
    assert losses[0] > losses[-1]
    again = trainer_of(backbone, tmp_path / "again", data=data_of(64), epochs=2.0)
    repeated = []
    loss_again = again._loss

    def kept_again(items, fraction):
        loss = loss_again(items)
        repeated.append(loss.item())
        return loss

    again._loss = kept_again
    again.run()
    assert repeated == losses


def test_keys_that_older_states_do_not_know_leave_their_name_as_it_was(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path)
    settings = trainer.settings.model_dump_json(exclude={"keep", "start", "fold", "average_with"})
    sizes = {source: len(items) for source, items in trainer.items.items()}
    tasks = [(task.name, task.kind, task.labels, trainer.weights[name]) for name, task in trainer.data.tasks.items()]
    older = hashlib.sha256(repr((settings, sizes, tasks, backbone.sha256)).encode()).hexdigest()
    assert trainer._declaration() == older
    trainer.settings = trainer.settings.model_copy(update={"average_with": "base"})
    assert trainer._declaration() == older  # it changes what is written at the end alone
    trainer.settings = trainer.settings.model_copy(update={"start": "base"})
    assert trainer._declaration() != older
