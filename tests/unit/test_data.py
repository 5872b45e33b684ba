"""Examples out of files: each file read once, golds of every task, faults with file, line and column."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from umbel.data import Data, load
from umbel.errors import DataError
from umbel.records import Example
from umbel.spec import DataSpec, PackSpec, TaskSpec

Rows = Sequence[Mapping[str, Any]]


def save(folder: Path, name: str, rows: Rows) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def task(name: str, kind: str, column: str = "", data: Mapping[str, Any] | None = None, **settings: Any) -> TaskSpec:
    given = {"train": ("train.jsonl",), "dev": ("dev.jsonl",), "column": column or name, **(data or {})}
    return TaskSpec(name=name, kind=kind, data=(DataSpec(**given),), **settings)


def read(folder: Path, train: Rows, dev: Rows, *tasks: TaskSpec) -> Data:
    save(folder, "train.jsonl", train)
    save(folder, "dev.jsonl", dev)
    return load(PackSpec(name="base", tasks=tasks, folder=folder))


def faults(folder: Path, train: Rows, dev: Rows, *tasks: TaskSpec) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(folder, train, dev, *tasks)
    return list(caught.value.faults)


INTENT = task("intent", "text-classification")
SPAN = {"start": 0, "end": 2, "label": "who"}


class TestExamples:
    def test_a_file_is_read_once_for_all_its_tasks(self, tmp_path: Path) -> None:
        rows = [
            {"text": "me too", "intent": "b", "score": 1, "who": [SPAN], "tags": []},
            {"text": "no", "intent": None, "score": 0.5},
            {"text": "nothing"},
            {"text": "yes", "intent": "a", "score": ""},
        ]
        data = read(
            tmp_path,
            rows,
            rows[:1],
            INTENT,
            task("score", "regression"),
            task("who", "token-classification"),
            task("tags", "text-classification", multi_label=True, labels=("x",)),
        )

        golds = {"intent": "b", "score": 1.0, "who": ((0, 2, "who"),), "tags": frozenset()}
        assert data.train == {
            "train.jsonl": [
                Example("me too", golds, "train.jsonl:1", "en"),
                Example("no", {"score": 0.5}, "train.jsonl:2", "en"),
                Example("yes", {"intent": "a"}, "train.jsonl:4", "en"),
            ]
        }
        assert data.dev == {"dev.jsonl": [Example("me too", golds, "dev.jsonl:1", "en")]}
        assert [example.text for example in data.train_of("intent")] == ["me too", "yes"]
        assert [example.text for example in data.dev_of("tags")] == ["me too"]

    def test_several_files_of_one_task(self, tmp_path: Path) -> None:
        save(tmp_path, "zh.jsonl", [{"message": "好", "label": "+"}])
        chinese = DataSpec(
            train=("zh.jsonl",), column="label", text="message", language="zh", labels={"+": "a"}, share=2.0
        )
        both = INTENT.model_copy(update={"data": (*INTENT.data, chinese)})
        data = read(tmp_path, [{"text": "good", "intent": "a"}], [{"text": "bad", "intent": "a"}], both)

        assert data.shares == {"train.jsonl": 1.0, "zh.jsonl": 2.0}
        assert data.train["zh.jsonl"] == [Example("好", {"intent": "a"}, "zh.jsonl:1", "zh")]
        assert data.tasks["intent"].languages == ("zh",)

    def test_the_script_tells_the_language_where_none_is_declared(self, tmp_path: Path) -> None:
        data = read(tmp_path, [{"text": "你好", "intent": "a"}], [{"text": "hi", "intent": "a"}], INTENT)
        assert (data.train["train.jsonl"][0].language, data.dev["dev.jsonl"][0].language) == ("zh", "en")

    def test_lists_and_spans_in_csv_are_json(self, tmp_path: Path) -> None:
        cells = [("[me]", "2.5", '["x"]', json.dumps([SPAN]), "[odd"), ("you", "", "y", "[]", "")]
        lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
        (tmp_path / "a.csv").write_text("\n".join(["text,score,tags,who,intent", *lines]))
        files = {"train": ("a.csv",), "dev": ("a.csv",)}
        data = load(
            PackSpec(
                name="base",
                folder=tmp_path,
                tasks=(
                    task("score", "regression", data=files),
                    task("tags", "text-classification", data=files, multi_label=True),
                    task("who", "token-classification", data=files),
                    task("intent", "text-classification", data=files),
                ),
            )
        )

        assert [example.golds for example in data.train["a.csv"]] == [
            {"score": 2.5, "tags": frozenset("x"), "who": ((0, 2, "who"),), "intent": "[odd"},
            {"tags": frozenset("y"), "who": ()},
        ]


class TestTasks:
    def test_labels_are_collected_from_the_train_rows(self, tmp_path: Path) -> None:
        rows = [{"text": str(label), "intent": label} for label in ("b", "a", 3, "b")]
        data = read(tmp_path, rows, rows, INTENT)
        assert data.tasks["intent"].labels == ("3", "a", "b")

        found = faults(tmp_path, rows, [{"text": "x", "intent": "c"}], INTENT)
        assert found == ["dev.jsonl:1: intent: 'c' is not a label; expected one of 3, a, b"]

    def test_declared_labels_keep_their_order(self, tmp_path: Path) -> None:
        declared = task("intent", "text-classification", labels=("b", "a"))
        assert read(tmp_path, [{"text": "x", "intent": "a"}], [{"text": "y", "intent": "b"}], declared).tasks[
            "intent"
        ].labels == ("b", "a")

    def test_renaming_goes_before_everything_else(self, tmp_path: Path) -> None:
        row = {"text": "me too", "intent": 0, "tags": ["p", "q", "r"], "who": [{**SPAN, "label": "p"}]}
        renaming = {"labels": {"0": "no", "p": "same", "q": "same"}}
        data = read(
            tmp_path,
            [row],
            [row],
            task("intent", "text-classification", data=renaming),
            task("tags", "text-classification", data=renaming, multi_label=True),
            task("who", "token-classification", data=renaming),
        )

        golds = data.train["train.jsonl"][0].golds
        assert golds == {"intent": "no", "tags": frozenset(["same", "r"]), "who": ((0, 2, "same"),)}
        assert data.tasks["tags"].labels == ("r", "same")

    def test_a_task_takes_over_its_settings(self, tmp_path: Path) -> None:
        rows = [{"text": "x", "intent": "a"}, {"text": "y", "intent": "none"}]
        spec = task(
            "intent",
            "text-classification",
            description="why",
            metric="macro-f1",
            out_of_scope="none",
            abstain_below=0.25,
        )
        found = read(tmp_path, rows, rows, spec).tasks["intent"]
        assert (found.description, found.metric, found.out_of_scope, found.abstain_below) == (
            "why",
            "macro-f1",
            "none",
            0.25,
        )

    @pytest.mark.parametrize(
        ("kind", "multi_label", "cell", "metric"),
        [
            ("text-classification", False, "a", "accuracy"),
            ("text-classification", True, ["a"], "macro-f1"),
            ("token-classification", False, [SPAN], "f1"),
            ("regression", False, 1, "pearson"),
        ],
    )
    def test_default_metrics(self, tmp_path: Path, kind: str, multi_label: bool, cell: object, metric: str) -> None:
        rows = [{"text": "me too", "x": cell}]
        assert read(tmp_path, rows, rows, task("x", kind, multi_label=multi_label)).tasks["x"].metric == metric

    def test_a_kind_without_training(self, tmp_path: Path) -> None:
        data = load(PackSpec(name="base", tasks=(TaskSpec(name="vector", kind="feature-extraction"),), folder=tmp_path))
        assert (data.tasks["vector"].metric, data.train, data.dev) == ("", {}, {})


class TestFaults:
    def test_all_faults_of_all_files_are_told(self, tmp_path: Path) -> None:
        labelled = task("intent", "text-classification", labels=("refund", "cancel"))
        spans = task("who", "token-classification", labels=("who",))
        train = [
            {"text": "me too", "intent": "refnd"},
            {"text": "me too", "intent": ["refund", "cancel"], "who": [{**SPAN, "end": 9}]},
            {"text": " ", "intent": "refund"},
            {"intent": "refund"},
            {"text": "fine", "intent": "refund", "who": []},
            {"text": "me", "intent": {"a": 1}, "who": "me"},
        ]
        dev = [{"text": "me too", "intent": "refnd"}, {"text": "me too", "intent": "cancel", "who": []}]
        found = faults(tmp_path, train, dev, labelled, spans)

        assert sorted(found) == [
            "dev.jsonl:1: intent: 'refnd' is not a label; did you mean 'refund'?",
            "train.jsonl:1: intent: 'refnd' is not a label; did you mean 'refund'?",
            "train.jsonl:2: intent: found 2 labels, expected one; several need `multi-label: true`",
            "train.jsonl:2: who: span 0:9 lies outside the text of 6 characters or is empty",
            "train.jsonl:3: text: found ' ', expected text that is not blank; mend or leave out the row",
            "train.jsonl:4: text: found no text, expected text that is not blank; mend or leave out the row",
            "train.jsonl:6: intent: found {'a': 1}, expected a label or a list of labels",
            "train.jsonl:6: who: found 'me', expected a list of {start, end, label}",
        ]

    def test_columns(self, tmp_path: Path) -> None:
        train = [{"text": "a", "intend": "x", "score": None}]
        dev = [{"texts": "a"}]
        assert faults(tmp_path, train, dev, INTENT, task("score", "regression")) == [
            "train.jsonl: no column 'intent'; did you mean 'intend'?",
            "train.jsonl: column 'score' is empty in every row",
            "dev.jsonl: no column 'text'; did you mean 'texts'?",
        ]

    def test_empty_and_unreadable_files(self, tmp_path: Path) -> None:
        (tmp_path / "other.jsonl").write_text("{\n")
        other = task("intent", "text-classification", data={"dev": ("dev.jsonl", "other.jsonl")})
        found = faults(tmp_path, [], [{"text": "a", "intent": "x"}], other)
        assert found[0] == "train.jsonl: holds no rows"
        assert found[1].startswith("other.jsonl:1: not JSON")
        assert found[2].startswith("dev.jsonl:1: intent: 'x' is not a label")

    def test_out_of_scope_must_be_a_label_of_the_data(self, tmp_path: Path) -> None:
        rows = [{"text": "a", "intent": "none"}]
        assert faults(tmp_path, rows, rows, task("intent", "text-classification", out_of_scope="non")) == [
            "tasks.intent.out-of-scope: 'non' is not a label of the train data; did you mean 'none'?"
        ]


def test_truth_values_are_labels_as_they_are_written(tmp_path):
    renamed = task("spam", "text-classification", data={"labels": {"true": "junk", "false": "fine"}})
    rows = [{"text": "one", "spam": True, "old": False}, {"text": "two", "spam": "true", "old": "false"}]
    found = read(tmp_path, rows, rows, renamed, task("old", "text-classification"))
    assert [example.golds for example in found.train["train.jsonl"]] == [{"spam": "junk", "old": "false"}] * 2
