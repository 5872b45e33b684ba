"""Sets asked about that nothing is trained on: right questions and golds, no known rows, figures, both engines."""

import gzip
import json

import numpy as np
import pytest
import unseen
from sklearn.metrics import accuracy_score, f1_score
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.catalogue import load_backbone
from umbel.errors import DataError, SpecError
from umbel.questions import Choice, Mentions, Option, Predicate, PredicateAnswer, checked
from umbel.records import LabelPrediction, Span, SpansPrediction

CHOICE = unseen.Ask(column="mood", choice="Mood?", options={"up": "glad | in high spirits", "down": "sad"})
HOLDS = unseen.Ask(column="nli", predicate="So: {text_pair}", holds=["entailment"])
TYPES = unseen.Ask(column="names", types={"city": "city | a town", "day": "day"})


def write_set(folder, rows, split="dev"):
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{split}.jsonl.gz" if split == "dev" else f"{folder.name}.{split}.jsonl.gz"
    (folder / name).write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def test_a_choice_has_all_options_and_the_right_one_as_gold():
    asked = unseen.make(CHOICE, {"text": "hm", "mood": "down"})
    assert asked.question == Choice("Mood?", (Option("glad", "in high spirits"), Option("sad")))
    assert asked.gold == 1


@pytest.mark.parametrize(("label", "holds"), [("entailment", True), ("neutral", False)])
def test_a_statement_takes_the_other_sentence_of_its_row(label, holds):
    asked = unseen.make(HOLDS, {"text": "It pours.", "text_pair": "It rains.", "nli": label})
    assert (asked.question, asked.gold) == (Predicate("So: It rains."), holds)


def test_spans_are_golds_by_the_index_of_their_type():
    row = {"text": "Paris on Monday", "names": [{"start": 9, "end": 15, "label": "day"}]}
    assert unseen.make(TYPES, row).gold == ((1, 9, 15),)


def test_a_label_that_nothing_asks_for_is_told():
    with pytest.raises(ValueError, match="'dwn' is not asked for; did you mean 'down'"):
        unseen.make(CHOICE, {"text": "hm", "mood": "dwn"})


def test_descriptions_can_be_left_out_of_options_and_types():
    row = {"text": "hm", "mood": "up", "names": []}
    assert unseen.names_only(unseen.make(CHOICE, row)).question.options[0] == Option("glad")
    assert unseen.names_only(unseen.make(TYPES, row)).question.types == (Option("city"), Option("day"))


def test_all_faults_of_the_file_are_told(tmp_path):
    path = tmp_path / "asks.yaml"
    path.write_text(
        "a:\n  x: {choice: Hm?, options: {one: 1}}\n  y: {predicate: So}\n  z: {}\nb:\n  w: {chioce: no}\nc: 3\n"
    )
    with pytest.raises(SpecError) as error:
        unseen.read_asks(path)
    told = str(error.value)
    for expected in ("a.x", "asks.yaml:3: a.y: a predicate needs", "a.z: found none", "b.w: chioce", "c: found 3"):
        assert expected in told


def test_rows_are_taken_evenly_and_each_once():
    rows = [{"text": str(number)} for number in range(10)]
    assert [row["text"] for row in unseen.spread(rows, 5)] == ["0", "2", "4", "6", "8"]
    assert unseen.spread(rows, 40) == rows


def test_known_rows_are_left_out_whatever_their_marks_and_frame():
    long = "the room was large and clean and the staff very friendly"
    texts = [
        long,
        long.upper().replace(" ", ", ") + "!",
        f"Nice. {long}",
        "short",
        "an entirely different remark on a hotel",
    ]
    found = unseen.unknown({"hotels": [{"text": text} for text in texts]}, [long, "Short!"])
    assert [row["text"] for row in found["hotels"]] == [texts[-1]]


def test_a_text_that_shares_a_phrase_stays():
    rows = [{"text": "the staff was friendly but everything else about our stay there was a plain disaster"}]
    assert unseen.unknown({"hotels": rows}, ["the staff was friendly to us"])["hotels"] == rows


def test_figures_equal_sklearns():
    random = np.random.default_rng(3)
    golds, said = random.integers(0, 3, 60), random.integers(0, 3, 60)
    question = Choice("Which?", (Option("a"), Option("b"), Option("c")))
    names = np.array(["a", "b", "c"])
    answers = [LabelPrediction(str(names[n]), 0.5, {}) for n in said]
    found = unseen.figures([unseen.Asked("t", question, int(gold)) for gold in golds], answers)
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(golds, said), abs=0.05)
    assert found["macro-f1"] == pytest.approx(100 * f1_score(golds, said, average="macro"), abs=0.05)
    assert found["ece"] == pytest.approx(abs(0.5 - accuracy_score(golds, said)), abs=0.001)


def test_figures_of_statements_count_how_sure_each_side_is():
    asked = [unseen.Asked("t", Predicate("so"), gold) for gold in (True, False)]
    found = unseen.figures(asked, [PredicateAnswer(True, 0.9), PredicateAnswer(False, 0.1)])
    assert (found["accuracy"], found["ece"]) == (100, 0.1)


def test_figures_of_spans_want_type_and_both_borders():
    asked = [unseen.Asked("Paris on Monday", Mentions((Option("city"), Option("day"))), ((0, 0, 5), (1, 9, 15)))]
    found = SpansPrediction((Span(0, 5, "city"), Span(9, 14, "day"), Span(6, 8, "day")))
    assert unseen.figures(asked, [found]) == {"rows": 1, "f1": 40.0, "precision": 33.3, "recall": 50.0}


def test_a_set_counts_once_in_the_means_however_often_it_is_asked_about():
    rows = {"a.x": 100.0, "a.y": 0.0, "b.x": 80.0}
    found = {name: {"accuracy": value, "macro-f1": value, "ece": 0.0} for name, value in rows.items()}
    assert unseen.means(found, list(rows)) == {"sets": 2, "accuracy": 65.0, "macro-f1": 65.0, "ece": 0.0}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("unseen") / "backbone")


def questions_of(texts):
    return [
        unseen.Asked(text, Choice("Where to?", (Option("Paris"), Option("good"), Option("bad"))), 0) for text in texts
    ]


def test_cosines_choose_the_option_that_is_the_text(tiny):
    answers = unseen.Cosines(load_backbone(tiny))(questions_of(["bad", "Paris", "good"]))
    assert [answer.label for answer in answers] == ["bad", "Paris", "good"]


def test_a_pack_is_asked_through_the_runtime(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    pack = write_tiny_pack(tmp_path / "pack", tiny, branches=True)
    model = umbel.load(pack.folder, precision="float32")
    row = {"text": "good to Paris", "text_pair": "bad", "mood": "up", "nli": "neutral", "names": []}
    asked = [unseen.make(ask, row) for ask in (CHOICE, HOLDS, TYPES)]
    assert unseen.Branches(model)(asked) == [model.ask(each.text, [each.question])[0] for each in asked]
    measured = unseen.measure(unseen.Branches(model), {f"set.{n}": [each] for n, each in enumerate(asked)})
    assert list(measured) == ["set.0", "set.1", "set.2", "mean of choices"]


def test_what_an_engine_cannot_answer_is_not_measured(tiny):
    asked = unseen.make(HOLDS, {"text": "good", "text_pair": "bad", "nli": "neutral"})
    assert unseen.measure(unseen.Cosines(load_backbone(tiny)), {"set.follows": [asked]}) == {}


def test_gathering_tells_every_unasked_label(tmp_path):
    write_set(tmp_path / "one", [{"text": "hm", "mood": "sideways"}])
    write_set(tmp_path / "two", [{"text": "ah", "mood": "back"}])
    write_set(tmp_path / "trained", [{"text": "other"}], "train")
    with pytest.raises(DataError) as error:
        unseen.gather(tmp_path, tmp_path / "trained", {"one": {"mood": CHOICE}, "two": {"mood": CHOICE}}, 5)
    assert "one.mood: 'sideways'" in str(error.value)
    assert "two.mood: 'back'" in str(error.value)


def test_the_measurement_refuses_to_run_without_the_trained_files(tmp_path):
    with pytest.raises(DataError, match="no train files"):
        unseen.trained_texts(tmp_path)


def test_the_shipped_asks_are_sound():
    asks = unseen.read_asks(unseen.HERE / "unseen.yaml")
    assert len(asks) == 14
    for of_set in asks.values():
        for ask in of_set.values():
            words = ask.options or ask.types
            label = next(iter(words)) if ask.options else ([] if ask.types else "none")
            checked(unseen.make(ask, {"text": "t", "text_pair": "p", ask.column: label}).question)


def test_the_shipped_asks_cover_every_label_of_the_sets(data_folder):
    for name, of_set in unseen.read_asks(unseen.HERE / "unseen.yaml").items():
        rows = unseen.dev_rows(data_folder, name)
        for ask in of_set.values():
            assert sum(ask.column in row and bool(unseen.make(ask, row)) for row in rows) > 300, name
