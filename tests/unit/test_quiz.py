"""Questions in a joint training: every kind is learnt, heads too, runs repeat, and losses match what answers use."""

import numpy as np
import pytest
import torch
from rich.console import Console
from test_train import Silent, data_of, declared
from tiny_pack import write_tiny_backbone

import umbel
from umbel import decide, train
from umbel.branching import extract_loss, mentions_loss, token_span
from umbel.catalogue import load_backbone
from umbel.decide import BLANK_SHARE
from umbel.errors import PackError
from umbel.pack import read_pack
from umbel.publish import publish
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.records import Window
from umbel.tables import packs_report


class PlainAsker:
    """Asks of every row all kinds of questions, in an order of the generator's."""

    def option_names(self, rows):
        return ["bad", "good"]

    def ask(self, example, generator, most):
        good, text = example.golds["sentiment"] == "good", example.text
        options = (Option("good"), Option("bad"))
        turn = bool(generator.random() < 0.5)
        places = [(0, m, m + 5) for m in range(len(text)) if text.startswith("Paris", m)]
        shares = np.float32([1, 0]) if good else np.float32([0, 1])
        found = [
            (Choice("to Paris", options[::-1] if turn else options), int(good) if turn else int(not good)),
            (Predicate("good to"), good),
            (Score("bad to", (Option("good"), Option("bad"))), shares),
            (Mentions((Option("Paris"),)), tuple(places)),
            (Extract("to good bad"), ((*places[0][1:], "Paris"),) if len(places) == 1 else ()),
        ]
        count = int(most) + (generator.random() < most % 1)
        return [found[place] for place in generator.permutation(len(found))[:count]]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("quiz") / "backbone"))


def trainer_of(backbone, folder, reporter=None, **settings):
    given = {"questions_per_row": 3.5, "epochs": 25.0} | settings
    return train.Trainer(declared(**given), data_of(), backbone, folder, reporter or Silent(), asker=PlainAsker())


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_kind_of_question_is_learnt_beside_the_heads(backbone, tmp_path):
    reporter = Silent()
    trainer_of(backbone, tmp_path, reporter).run()
    last = reporter.records[-1]
    assert last["scores"]["sentiment"] > 95
    assert last["questions"]["choice"] > 90
    assert last["questions"]["predicate"] > 90
    assert last["questions"]["score"] > 90
    assert last["questions"]["mentions"] > 85
    assert last["questions"]["extract"] > 60


def test_a_broken_off_training_asks_the_same_questions_again(backbone, tmp_path):
    whole = trainer_of(backbone, tmp_path / "whole", epochs=2.0).run().state_dict()
    first = trainer_of(backbone, tmp_path / "cut", epochs=2.0)
    steps = iter(range(10))
    go_on = first._step

    def stop_after_ten(*arguments):
        if next(steps, None) is None:
            first._save()
            raise KeyboardInterrupt
        go_on(*arguments)

    first._step = stop_after_ten
    with pytest.raises(KeyboardInterrupt):
        first.run()
    resumed = trainer_of(backbone, tmp_path / "cut", epochs=2.0).run().state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_as_many_questions_are_drawn_as_declared(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path)
    rows = trainer.data.train["a"] * 5
    counts = [len(drawn) for drawn in trainer.quiz.draw(rows, 1.25, [1, 2])]
    assert set(counts) == {1, 2}
    assert np.mean(counts) == pytest.approx(1.25, abs=0.1)
    assert repr(trainer.quiz.draw(rows[:9], 1.25, [1, 2])[:5]) == repr(trainer.quiz.draw(rows[:5], 1.25, [1, 2]))


OFFSETS = np.array([(0, 0), (0, 4), (4, 7), (8, 12), (12, 13), (0, 0)], np.int32)
WINDOW = Window(np.arange(6, dtype=np.int32), OFFSETS)


@pytest.mark.parametrize(
    ("span", "tokens"),
    [((0, 4), (1, 1)), ((1, 3), (1, 1)), ((0, 7), (1, 2)), ((8, 13), (3, 4)), ((5, 12), (2, 3)), ((10, 22), None)],
)
def test_a_span_is_the_tokens_it_touches_if_they_cover_it(span, tokens):
    assert token_span(WINDOW, span) == tokens


@pytest.mark.parametrize("gold", [None, (0, 7)])
def test_the_loss_of_a_span_is_its_probability_in_the_answer(gold):
    random = np.random.default_rng(3)
    start, end = random.normal(0, 3, (2, 6)).astype(np.float32)
    place = (1, 2) if gold else (0, 0)
    start[place[0]] = end[place[1]] = 12
    loss = extract_loss(torch.from_numpy(start), torch.from_numpy(end), WINDOW, gold)
    answer = decide.extract("xxxxxxx xxxxx", [decide.Pointed(OFFSETS, start, end)])
    assert (answer.span and (answer.span.start, answer.span.end)) == gold
    assert answer.probability == pytest.approx(float(torch.exp(-loss)), abs=1e-5)


def test_mentions_train_every_type_and_token_but_special_ones():
    logits = torch.zeros(3, 2, 6, requires_grad=True)
    mentions_loss(logits, WINDOW, [(1, 0, 7)]).backward()
    assert (logits.grad[:, :, [0, 5]] == 0).all()
    assert (logits.grad[2, 1, [1, 2]] < 0).all()
    assert logits.grad[0, 1, 1] < 0 < logits.grad[0, 1, 2]
    assert (logits.grad[:, 0, 1:5] > 0).all()


def test_the_pack_holds_readouts_with_their_calibration_and_scores(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path / "run", epochs=4.0)
    trainer.run()
    pack = read_pack(publish(trainer, tmp_path / "pack").folder)
    pack.verify()
    readouts, entry = pack.branches(), pack.manifest.branches
    known = readouts.pop("known")
    for name, value in readouts.items():
        np.testing.assert_array_equal(value, trainer.model.readouts[name].detach().numpy())
    runtime = umbel.load(pack.folder, precision="float32")
    np.testing.assert_allclose(known, runtime.reader.vectors(["bad", "good"]), atol=2e-3)
    assert (pack.manifest.format, entry.blank, entry.known) == (7, BLANK_SHARE, 2)
    assert set(entry.scores) == {"choice", "extract", "mentions", "predicate", "score"}
    assert entry.calibration.temperatures == entry.temperatures
    assert sum(each["asked"] for each in entry.scores.values()) == 40
    assert f"| mentions | {entry.scores['mentions']['asked']} |" in (pack.folder / "CARD.md").read_text()
    console = Console(width=200, record=True)
    console.print(packs_report([pack.manifest]))
    assert "questions asked on the spot, right on dev: choice" in console.export_text()


def test_training_and_runtime_take_the_same_off_for_a_text_that_says_nothing(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path / "run", epochs=2.0)
    trainer.run()
    trainer.model.readouts["choice_cosine"].data.zero_()  # training's vectors of options are the untouched backbone's
    rows = trainer.data.dev["a"]
    asked = [each for each in trainer.quiz.ask(trainer.model, rows, 1) if isinstance(each.question, Choice)]
    raw = [each for each in trainer.quiz.ask(trainer.model, rows, 1, blank=0) if isinstance(each.question, Choice)]
    model = umbel.load(publish(trainer, tmp_path / "pack").folder, precision="float32")
    assert asked
    for each, before in zip(asked, raw, strict=True):
        (trained, *_), (plain, *_) = each.windows[0][1], before.windows[0][1]
        ((found, *_),) = model.reader.logits(model.keep(each.text), [each.question])[0]
        np.testing.assert_allclose(found - found.mean(), trained - trained.mean(), atol=0.02)
        assert not np.allclose(plain - plain.mean(), trained - trained.mean(), atol=0.02)


def test_damaged_readouts_are_told(backbone, tmp_path):
    trainer = trainer_of(backbone, tmp_path / "run", epochs=0.1)
    trainer.run()
    pack = publish(trainer, tmp_path / "pack")
    (pack.folder / "branches.safetensors").write_bytes(b"x")
    with pytest.raises(PackError, match=r"branches\.safetensors: found SHA-256"):
        read_pack(pack.folder).verify()
