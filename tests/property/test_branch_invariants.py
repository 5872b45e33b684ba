"""Invariants of questions through the runtime: isolation, order, growth, encode once, kept encodings, parity."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pack import VOCABULARY, write_tiny_backbone, write_tiny_pack

import umbel
from umbel import branch_graph, decide, encodings, forward, reader, runtime
from umbel.backbones.bert import BertEncoder
from umbel.branching import branch_states
from umbel.catalogue import load_backbone
from umbel.errors import InputError, PackError
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.readouts import logits_of

WORDS = [word for word in VOCABULARY if not word.startswith("[")]
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join)
options = st.lists(words, min_size=2, max_size=9, unique=True).map(lambda names: tuple(map(Option, names)))
questions = st.one_of(
    st.builds(Choice, words, options),
    st.builds(Predicate, words),
    st.builds(Score, words, options),
    st.builds(Extract, words),
    st.builds(Mentions, options, st.booleans()),
)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join)
EXACT = settings(max_examples=50, deadline=None)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("branches") / "backbone")


@pytest.fixture(scope="module")
def pack(backbone, tmp_path_factory):
    return write_tiny_pack(
        tmp_path_factory.mktemp("branches") / "pack", backbone, branches=True, blank=0.4, rounded=True
    )


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8"])
def model(pack, request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return umbel.load(pack.folder, precision=request.param)


@EXACT
@given(texts, st.lists(questions, min_size=1, max_size=8), st.data())
def test_an_answer_is_the_same_alone_and_beside_any_others(model, text, asked, data):
    together = model.ask(text, asked)
    place = data.draw(st.integers(0, len(asked) - 1))
    assert model.ask(text, [asked[place]]) == [together[place]]
    order = data.draw(st.permutations(range(len(asked))))
    assert model.ask(text, [asked[n] for n in order]) == [together[n] for n in order]


def test_a_question_is_read_to_its_last_word_or_refused(model):
    longest = "good " * (model.reader.brancher.most - 3)  # and one word more, between two special tokens
    one, other = (model.ask("to Paris", [Predicate(longest + word)])[0] for word in ("good", "bad"))
    assert one != other
    with pytest.raises(InputError, match=r"questions\[0\]\.statement: found 33 tokens, expected at most 32"):
        model.ask("to Paris", [Predicate(longest + "good bad")])


@EXACT
@given(texts, words, options, st.data())
def test_the_order_of_options_changes_nothing_but_theirs(model, text, instruction, given_options, data):
    (first,) = model.ask(text, [Choice(instruction, given_options)])
    turned = tuple(data.draw(st.permutations(given_options)))
    (second,) = model.ask(text, [Choice(instruction, turned)])
    for name, probability in first.probabilities.items():
        assert second.probabilities[name] == pytest.approx(probability, abs=1e-5)
    (levels,) = model.ask(text, [Score(instruction, given_options)])
    (others,) = model.ask(text, [Score(instruction, turned)])
    for name, probability in levels.probabilities.items():
        assert others.probabilities[name] == pytest.approx(probability, abs=1e-5)
    (spans,) = model.ask(text, [Mentions(given_options)])
    (same,) = model.ask(text, [Mentions(turned)])
    assert [(s.start, s.end, s.label) for s in spans] == [(s.start, s.end, s.label) for s in same]


@EXACT
@given(texts, st.lists(questions, min_size=1, max_size=4))
def test_a_kept_encoding_answers_as_a_fresh_one(model, text, asked):
    kept = model.keep(text)
    encodings = model.counters.encodings
    first = model.ask(kept, asked)
    assert model.counters.encodings == encodings
    fresh = type(model)(model.pack, model.engine, model.embedding, model.tokenizer, model._reader.engine, cache_bytes=0)
    assert fresh.ask(text, asked) == first
    assert fresh.counters.encodings == 1
    assert len(fresh.encodings) == 0


def test_what_is_kept_of_one_text_outlives_the_reading_of_others(model):
    """Texts as long as their padded length, whose arrays could be taken for the engine's own."""
    texts = [" ".join([word] * 6) for word in WORDS]  # 8 tokens with the special ones
    kept = [model.keep(text).kept[0] for text in texts]
    for encoding, other in pairwise(kept):
        assert not any(np.array_equal(*pair) for pair in zip(encoding.layers, other.layers, strict=True))
    held = [[each.copy() for each in encoding.layers] for encoding in kept]
    model.ask("bad good Paris", [Predicate("good")])
    for encoding, copies in zip(kept, held, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(encoding.layers, copies, strict=True))


def test_a_loaded_model_has_its_encoder_compiled(pack, monkeypatch, tmp_path):
    """So that the first answer's time is that of encoding."""
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path))
    loaded = umbel.load(pack.folder)
    with monkeypatch.context() as patch:
        patch.setattr(branch_graph, "OpenVinoEngine", None)  # nothing more can be compiled
        assert loaded("good")["sentiment"].label in {"good", "bad"}


def test_many_questions_encode_a_text_once(model):
    before = model.counters.encodings
    model.ask("Paris to good bad good", [Predicate("good")] * 12)
    model.ask("Paris to good bad good", [Extract("to")])
    assert model.counters.encodings == before + 1
    assert model.encodings.hits >= 1


def test_a_text_too_long_to_keep_answers_as_if_it_were_kept(model, monkeypatch):
    text = "good to Paris bad to " * 150  # a dozen windows of the tiny model
    asked = [Extract("Paris"), Choice("to", (Option("good"), Option("bad"))), Mentions((Option("Paris"),))]
    kept = model.ask(text, asked)
    assert len(model.keep(text).kept) > encodings.AT_ONCE
    with monkeypatch.context() as patch:
        patch.setattr(forward, "MOST_HELD", 3)
        fresh = runtime.Model(*(getattr(model, n) for n in ("pack", "engine", "embedding", "tokenizer", "engine")))
        told = []
        assert fresh.ask(text, asked, progress=lambda *done: told.append(done)) == kept
        assert told[-1] == (len(model.keep(text).windows),) * 2
        assert len(fresh.encodings) == 0


def test_questions_leave_the_tasks_answers_as_they_are(model):
    def answers():
        found = model("good to Paris")
        return {name: found[name] for name in ("sentiment", "topics", "urgency", "entities")}

    before = answers()
    model.ask("good to Paris", [Predicate("bad"), Choice("to", (Option("good"), Option("bad")))])
    assert answers() == before


@given(st.integers(40, 255))
@settings(max_examples=5, deadline=None)
def test_a_question_of_many_options_is_read_in_rows_whose_cut_changes_nothing(model, count):
    names = [f"{WORDS[n % 5]} {WORDS[n // 5 % 5]} {WORDS[n // 25 % 5]} {WORDS[n // 125 % 5]}" for n in range(count)]
    question = Choice("to", tuple(map(Option, names)))
    (whole,) = model.ask("good Paris", [question], exact=True)
    assert sum(whole.probabilities.values()) == pytest.approx(1, abs=1e-4)
    (turned,) = model.ask("good Paris", [Choice("to", question.options[::-1])], exact=True)
    for name, probability in whole.probabilities.items():
        assert turned.probabilities[name] == pytest.approx(probability, abs=1e-5)


def test_of_very_many_options_the_likeliest_are_read(model, monkeypatch):
    names = [f"{one} {other} {third}" for one in WORDS for other in WORDS for third in WORDS]
    question = Choice("to", tuple(map(Option, names)))
    read = []
    model.ask("bad", [question], exact=True)  # from here on it is known what a text that says nothing gives
    states = model._reader.states
    monkeypatch.setattr(
        model._reader,
        "states",
        lambda kept, branches: read.extend(len(b.options) for b in branches) or states(kept, branches),
    )
    (fast,) = model.ask("good Paris", [question])
    assert read == [reader.SHORTLIST]
    assert set(fast.probabilities) == set(names)
    text, nothing = (
        model._reader._cosines(each, question) for each in (model.keep("good Paris"), model._reader._blank)
    )
    cosines = dict(zip(names, text - 0.4 * nothing, strict=True))
    likeliest = sorted(cosines, key=cosines.get)[-reader.SHORTLIST :]
    assert fast.label in likeliest


def test_a_choice_is_freed_of_what_a_text_that_says_nothing_gives(model, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    folder = write_tiny_pack(tmp_path / "raw", backbone, branches=True, rounded=True).folder
    raw = umbel.load(folder, precision=model.engine.precision)
    question = Choice("to", (Option("good"), Option("bad Paris"), Option("Paris")))
    asked = [question, Predicate("good"), Score("to", question.options)]

    def logits(of, text):
        return [found[0][0] for found in of.reader.logits(of.keep(text), asked)]

    plain, nothing, found = logits(raw, "good bad"), logits(raw, decide.BLANK), logits(model, "good bad")
    apart = found[0] - (plain[0] - 0.4 * nothing[0])
    np.testing.assert_allclose(apart, apart[0], atol=1e-4)  # the same for all options, so it changes no probability
    assert np.ptp(plain[0] - found[0]) > 0.1
    np.testing.assert_array_equal(found[1], plain[1])
    np.testing.assert_array_equal(found[2], plain[2])


def test_what_a_text_that_says_nothing_gives_is_read_once_a_question(model, monkeypatch):
    question = Choice("Paris to", (Option("good"), Option("bad"), Option("good Paris")))
    (first,) = model.ask("good bad", [question])
    reads = []
    states = model.reader.states
    monkeypatch.setattr(model.reader, "states", lambda kept, found: reads.append(len(found)) or states(kept, found))
    assert model.ask("good bad", [question]) == [first]
    assert reads == [1]
    monkeypatch.setattr(reader, "MOST_NOTHINGS", 1)
    model.ask("good bad", [Choice("bad", question.options)])  # forgets the first one
    assert model.ask("good bad", [question]) == [first]
    assert reads == [1, 1, 1, 1, 1]


def test_options_may_be_given_as_a_list(model):
    names = ("good", "bad Paris", "Paris")
    asked = [Choice("to", kind(map(Option, names))) for kind in (tuple, list)]
    first, second = model.ask("good bad", asked)
    assert first == second == model.ask("good bad", asked[1:])[0]


def test_a_long_text_is_asked_in_windows(model):
    text = "good bad to " * 60 + "Paris"
    encoding = model.keep(text)
    assert len(encoding.windows) > 1
    found = model.ask(encoding, [Mentions((Option("Paris"), Option("to"))), Extract("Paris"), Predicate("good")])
    for span in found[0]:
        assert text[span.start : span.end] == span.text
    if found[1].span:
        assert text[found[1].span.start : found[1].span.end] == found[1].span.text


def test_another_models_encoding_is_refused(model, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    other_backbone = write_tiny_backbone(tmp_path / "other")
    path = other_backbone / "tokenizer.json"
    path.write_text(path.read_text().replace('"Paris": 6', '"Rome": 6').replace('"Paris":6', '"Rome":6'))
    other = umbel.load(write_tiny_pack(tmp_path / "pack", other_backbone, branches=True).folder)
    with pytest.raises(InputError, match="made by another model"):
        model.ask(other.keep("good"), [Predicate("good")])


def test_a_pack_without_readouts_says_so(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    plain = umbel.load(write_tiny_pack(tmp_path / "plain", backbone).folder)
    with pytest.raises(PackError, match="was not trained for questions asked"):
        plain.ask("good", [Predicate("good")])


def test_bad_questions_are_named_by_their_place(model):
    with pytest.raises(InputError, match=r"questions\[1\]\.options: found 1, expected 2 to 255"):
        model.ask("good", [Predicate("good"), Choice("to", (Option("good"),))])
    with pytest.raises(InputError, match="the text is blank"):
        model.ask("  ", [Predicate("good")])


@settings(max_examples=40, deadline=None)
@given(texts, questions)
def test_both_engines_give_the_same_logits(model, backbone, pack, text, question):
    """The runtime against the training engine, within what 16-bit weights and bfloat16 arithmetic round."""
    loaded = load_backbone(backbone)
    encoder = BertEncoder.from_tensors(loaded.shape, loaded.all_tensors()).eval()
    weights = pack.branches()
    encoding = model.keep(text)
    branches = model._reader.brancher.branches(question)
    (window, *_), (kept, *_) = encoding.windows, encoding.kept
    with torch.no_grad():
        ids = torch.from_numpy(window.ids[None].astype(np.int64))
        read = encoder.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        roles = torch.from_numpy(weights["roles"])
        wanted = branch_states(encoder, roles, read, [(0, branch) for branch in branches], 0)
    found = model._reader.states(kept, branches)
    bound = {"float32": 0.005, "bfloat16": 0.06, "int8": 0.5}[model.engine.precision]
    for one, other in zip(found, wanted, strict=True):
        states = np.vstack([one.question[-1:], one.leaves])
        np.testing.assert_allclose(states, other.numpy(), atol=bound)
        lengths = np.linalg.norm(states, axis=1) * np.linalg.norm(other.numpy(), axis=1)
        assert ((states * other.numpy()).sum(axis=1) / lengths).min() > 0.97
    leaves, roots = found[0].leaves, np.stack([each.question[-1] for each in found])
    cosines = model._reader._cosines(encoding, question)
    assert all(np.isfinite(part).all() for part in logits_of(weights, question, roots, leaves, cosines, kept.hidden))
