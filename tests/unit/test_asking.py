"""Questions made of rows: right golds in every form, balance, the same for a seed; faults; the shipped templates."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.asking import NONE, Asker, read_templates
from umbel.errors import SpecError
from umbel.pack import read_pack
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score, checked
from umbel.records import Example, Task

TEMPLATES = """
topic:
  instructions: {en: ["Topic?"], zh: ["主题？"]}
  statements:
    en: {holds: ["It is about {label}."], fails: ["It is not about {label}."]}
    zh: {holds: ["与{label}有关。"], fails: ["与{label}无关。"]}
  labels:
    cars: {en: ["cars | driving", "motoring"], zh: ["汽车"]}
    pets: {en: ["pets"], zh: ["宠物"]}
    food: {en: ["food"], zh: ["美食"]}
    art: {en: ["art"], zh: ["艺术"]}
mood:
  levels: [{order: [bad, good], en: "How good?"}]
  instructions: {en: ["Mood?"]}
  labels: {bad: {en: ["bad"]}, good: {en: ["good"]}}
traits:
  instructions: {en: ["Which?"]}
  statements: {en: {holds: ["{label}"], fails: ["not {label}"]}}
names:
  labels: {person: {en: ["person"]}, place: {en: ["place"]}, thing: {en: ["thing"]}}
stars:
  numbers: [{low: 0, high: 4, en: {instructions: ["Stars?"], levels: [one, two, three]}}]
"""
TASKS = {
    "topic": Task("topic", "text-classification", ("cars", "pets", "food", "art")),
    "mood": Task("mood", "text-classification", ("bad", "good")),
    "traits": Task("traits", "text-classification", ("kind", "calm", "loud"), multi_label=True),
    "names": Task("names", "token-classification", ("person", "place", "thing")),
    "stars": Task("stars", "regression"),
    "own": Task("own", "asked"),
}
NAMES = {
    "cars": {"cars", "motoring", "汽车"},
    "pets": {"pets", "宠物"},
    "food": {"food", "美食"},
    "art": {"art", "艺术"},
}
NOTHING = {word for words in NONE.values() for word in words}


@pytest.fixture(scope="module")
def asker(tmp_path_factory):
    return Asker(read(tmp_path_factory.mktemp("templates"), TEMPLATES), TASKS)


def read(folder, text, name="a.yaml"):
    (folder / name).write_text(text, encoding="utf-8")
    return read_templates(folder, TASKS)


def asked(asker, count=300, language="en", most=1, **golds):
    row = Example("Anna drove to Rome", golds, "rows:1", language)
    return [drawn for seed in range(count) for drawn in asker.ask(row, np.random.default_rng(seed), most)]


def test_choices_and_statements_have_the_right_answer(asker):
    kinds = Counter()
    for question, gold in asked(asker, topic="cars"):
        checked(question)
        kinds[type(question)] += 1
        if isinstance(question, Choice):
            names = [option.name for option in question.options]
            if set(names) & NAMES["cars"]:
                assert names[gold] in NAMES["cars"]
            else:
                assert names[gold] in NOTHING
        else:
            about_cars = any(name in question.statement for name in NAMES["cars"])
            denied = "not" in question.statement or "无关" in question.statement
            assert gold == (about_cars != denied)
    assert kinds[Choice] > 100
    assert kinds[Predicate] > 50


def test_true_and_false_are_balanced_and_options_stand_anywhere(asker):
    drawn = asked(asker, 800, topic="pets")
    truths = [gold for question, gold in drawn if isinstance(question, Predicate)]
    assert 0.4 < np.mean(truths) < 0.6
    firsts = [gold == 0 for question, gold in drawn if isinstance(question, Choice) and len(question.options) == 3]
    assert 0.2 < np.mean(firsts) < 0.5


def test_most_questions_are_in_the_language_of_the_text(asker):
    chinese = [
        any("\u4e00" <= c <= "\u9fff" for c in repr(question))
        for question, _ in asked(asker, language="zh", topic="food")
    ]
    assert 0.6 < np.mean(chinese) < 0.9


def test_labels_in_order_make_a_scale(asker):
    scores = [each for each in asked(asker, mood="good") if isinstance(each[0], Score)]
    assert scores
    for question, gold in scores:
        assert [level.name for level in question.levels] == ["bad", "good"]
        assert gold.tolist() == [0, 1]


def test_several_labels_are_all_right_and_none_is_asked_as_a_statement(asker):
    for question, gold in asked(asker, traits=frozenset({"kind", "calm"})):
        if isinstance(question, Choice):
            assert question.options[gold].name in {"kind", "calm", *NOTHING}
            assert {option.name for option in question.options} - {"loud", *NOTHING} <= {"kind", "calm"}
            assert len({option.name for option in question.options} & {"kind", "calm"}) <= 1
    empty = asked(asker, traits=frozenset())
    assert {type(question) for question, _ in empty} == {Predicate}
    assert all(gold == question.statement.startswith("not") for question, gold in empty)


@given(st.floats(-2, 6))
def test_a_number_between_two_levels_gives_both_a_share(number):
    asker = Asker({"stars": _stars()}, TASKS)
    ((question, gold),) = asked(asker, 1, stars=number)
    assert [level.name for level in question.levels] == ["one", "two", "three"]
    assert gold.sum() == pytest.approx(1)
    assert float(gold @ np.arange(3)) == pytest.approx(min(max(number, 0), 4) / 2, abs=1e-5)


def _stars():
    from umbel.asking import Templates

    return Templates.model_validate(
        {"numbers": [{"low": 0, "high": 4, "en": {"instructions": ["Stars?"], "levels": ["one", "two", "three"]}}]}
    )


def test_mentions_are_those_of_the_types_asked_for(asker):
    gold = ((0, 4, "person"), (14, 18, "place"))
    sizes = set()
    for question, found in asked(asker, names=gold):
        assert isinstance(question, Mentions)
        names = [option.name for option in question.types]
        assert {(names[kind], start, end) for kind, start, end in found} == {
            (label, start, end) for start, end, label in gold if label in names
        }
        sizes.add((len(names), len(found)))
    assert {(1, 1), (3, 2)} <= sizes


def test_a_task_without_any_words_is_asked_by_the_names_of_its_labels():
    from umbel.asking import Templates

    asker = Asker({"names": Templates()}, TASKS)
    for question, _ in asked(asker, 20, names=((0, 4, "person"),)):
        assert {option.name for option in question.types} <= {"person", "place", "thing"}


def test_another_language_than_the_two_is_asked_in_its_own_words():
    from umbel.asking import Templates

    words = {"instructions": {"fr": ["Sujet ?"]}, "labels": {"cars": {"fr": ["voitures"]}, "pets": {"fr": ["animaux"]}}}
    asker = Asker({"topic": Templates.model_validate(words)}, TASKS)
    drawn = asked(asker, 60, language="fr", topic="cars")
    assert {question.instruction for question, _ in drawn} == {"Sujet ?"}


def test_a_row_brings_its_own_questions(asker):
    own = tuple((Extract(f"question {number}"), ()) for number in range(6))
    drawn = asked(asker, 1, own=own)
    assert len(drawn) == 4
    assert {repr(each) for each in drawn} < {repr(each) for each in own}


def test_the_names_of_all_options_are_known(asker):
    own = Choice("question", (Option("mine", "described"), Option("yours")))
    row = Example("text", {"own": ((own, 0), (Extract("question"), ()))}, "here:1", "en")
    names = asker.option_names([row])
    assert names == sorted(set(names))
    assert {"mine", "yours", "none of these", "以上都不是"} <= set(names)
    drawn = [question for question, _ in asked(asker, 300, topic="cars") if isinstance(question, Choice)]
    assert {option.name for question in drawn for option in question.options} <= set(names)
    assert not any("|" in name or "described" in name for name in names)


def test_a_seed_gives_the_same_questions(asker):
    first, again = (repr(asked(asker, 20, topic="art", names=((0, 4, "person"),), most=1.5)) for _ in range(2))
    assert first == again


def test_as_many_as_wanted_on_average(asker):
    assert len(asked(asker, 1000, most=0.3, topic="art", mood="bad")) == pytest.approx(300, abs=50)
    assert len(asked(asker, 100, most=2, topic="art", mood="bad")) == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topci: {}", r"a\.yaml:1: topci: not a task; did you mean 'topic'\?"),
        ("topic:\n  labels:\n    car: {en: [x]}", r"a\.yaml:3: topic\.labels\.car: not a label of topic; did you mean"),
        ("topic:\n  instructions: {en: []}", r"a\.yaml:2: topic\.instructions\.en: found \[\]"),
        ("topic:\n  instuctions: {en: [x]}", r"topic\.instuctions: .*Extra inputs"),
        ("mood:\n  levels: [{order: [bad, great]}]", r"mood\.levels\[0\]\.order: 'great' is not a label of mood"),
        ("topic: [", r"a\.yaml:1"),
    ],
)
def test_faults_of_templates_are_named(tmp_path, text, message):
    with pytest.raises(SpecError, match=message):
        read(tmp_path, text)


def test_a_task_in_two_files_is_a_fault(tmp_path):
    (tmp_path / "a.yaml").write_text("stars: {}")
    with pytest.raises(SpecError, match=r"b\.yaml:1: stars: another file has templates for it"):
        read(tmp_path, "stars: {}", "b.yaml")


def test_a_folder_without_templates_is_a_fault(tmp_path):
    with pytest.raises(SpecError, match="holds no YAML file"):
        read_templates(tmp_path, TASKS)


QUESTIONS = Path(__file__).parents[2] / "packs/base/questions"


def test_the_templates_of_base_cover_every_label_in_both_languages():
    tasks = read_pack("base").tasks
    templates = read_templates(QUESTIONS, tasks)
    for name, task in tasks.items():
        if task.kind == "feature-extraction":
            continue
        found = templates[name]
        assert set(found.labels) >= set(task.labels), name
        assert all({"en", "zh"} <= set(words) for words in found.labels.values()), name
        if task.kind == "text-classification":
            assert {"en", "zh"} <= set(found.instructions), name
            assert {"en", "zh"} <= set(found.statements), name
        for words in [text for scale in found.statements.values() for text in (*scale.holds, *scale.fails)]:
            assert "{label}" in words, name
