"""Checks of data: faults, repeated texts, leaks, counts and lengths, each with file and line."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.check import Check, Lengths, check, text_key
from umbel.data import Counts
from umbel.records import Window
from umbel.spec import DataSpec, PackSpec, TaskSpec, TrainSpec

Rows = Sequence[Mapping[str, Any]]


def task(name: str, file: str, **settings: Any) -> TaskSpec:
    data = DataSpec(train=(f"{file}.train.jsonl",), dev=(f"{file}.dev.jsonl",), column=name)
    return TaskSpec(name=name, kind="text-classification", data=(data,), **settings)


def checked(folder: Path, files: Mapping[str, Rows], *tasks: TaskSpec) -> Check:
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check(PackSpec(name="base", tasks=tasks, folder=folder))


def rows(column: str, *cells: tuple[str, str]) -> Rows:
    return [{"text": text, column: label} for text, label in cells]


def many(label: str, count: int = 5) -> list[tuple[str, str]]:
    return [(f"{label} number {number}", label) for number in range(count)]


DEV = rows("intent", ("unseen", "a"))


class TestFaultsAndCounts:
    def test_sound_data(self, tmp_path: Path) -> None:
        files = {"f.train": rows("intent", *many("a"), *many("b", 6)), "f.dev": DEV}
        found = checked(tmp_path, files, task("intent", "f"))

        assert (found.faults, found.warnings, found.lengths) == ((), (), {})
        assert found.counts == {"intent": Counts(11, 1, {"a": 5, "b": 6}, {"a": 1, "b": 0})}
        assert json.loads(json.dumps(found.to_dict())) == {
            "faults": [],
            "warnings": [],
            "counts": {"intent": {"train_rows": 11, "dev_rows": 1, "train": {"a": 5, "b": 6}, "dev": {"a": 1, "b": 0}}},
            "lengths": {},
        }

    def test_faults_are_returned_and_the_rest_is_still_checked(self, tmp_path: Path) -> None:
        train = [*rows("intent", *many("a"), ("new", "c"), ("", "a"), ("Same", "a"), ("same", "a")), {"text": 3}]
        found = checked(tmp_path, {"f.train": train, "f.dev": DEV}, task("intent", "f", labels=("a", "b")))

        assert found.faults == (
            "f.train.jsonl:7: text: found '', expected text that is not blank; mend or leave out the row",
            "f.train.jsonl:10: text: found 3, expected text that is not blank; mend or leave out the row",
            "f.train.jsonl:6: intent: 'c' is not a label; expected one of a, b",
            "tasks.intent.labels[1]: no train row is labelled 'b'; add rows or leave it out",
        )
        assert found.warnings == ("f.train.jsonl:9: same text as line 8",)

    def test_few_rows_of_a_label(self, tmp_path: Path) -> None:
        train = rows("intent", *many("a"), *many("b", 4), *many("c", 1))
        found = checked(tmp_path, {"f.train": train, "f.dev": DEV}, task("intent", "f"))
        assert found.warnings == ("tasks.intent.labels: fewer than 5 train rows: 'b' 4, 'c' 1",)


class TestRepeats:
    def test_both_lines_are_told_disagreeing_ones_first(self, tmp_path: Path) -> None:
        train = rows("intent", *many("a"), *many("b"), ("Ａ  1", "a"), ("a1", "a"), ("A 1", "b"))
        found = checked(tmp_path, {"f.train": train, "f.dev": DEV}, task("intent", "f"))
        assert found.warnings == (
            "f.train.jsonl:13: same text as line 11, but with other answers for intent",
            "f.train.jsonl:12: same text as line 11",
        )

    def test_many_are_counted(self, tmp_path: Path) -> None:
        train = rows("intent", *many("a"), *[("x", "a")] * 9, *many("b"), *[("x", "b")] * 7)
        found = checked(tmp_path, {"f.train": train, "f.dev": DEV}, task("intent", "f"))
        assert len(found.warnings) == 6
        assert found.warnings[-1] == (
            "f.train.jsonl: rows that repeat an earlier text beyond these: 10 (2 with other answers)"
        )


class TestLeaks:
    def test_train_and_dev_of_one_task(self, tmp_path: Path) -> None:
        train = rows("intent", *many("a", 7))
        dev = rows("intent", *((text.upper(), label) for text, label in many("a", 7)))
        found = checked(tmp_path, {"f.train": train, "f.dev": dev}, task("intent", "f"))
        assert found.warnings == (
            (
                "f.dev.jsonl:1: same text as f.train.jsonl:1, in train and dev of intent; "
                "also lines 2 (2), 3 (3), 4 (4), 5 (5) and 2 more"
            ),
        )

    def test_train_of_one_task_and_dev_of_another(self, tmp_path: Path) -> None:
        files = {
            "f.train": rows("intent", *many("a"), ("Hello there", "a")),
            "f.dev": DEV,
            "g.train": rows("topic", *many("b")),
            "g.dev": rows("topic", ("else", "b"), ("hello, there", "b"), ("hello there ", "b")),
        }
        found = checked(tmp_path, files, task("intent", "f"), task("topic", "g"))
        assert found.warnings == ("g.dev.jsonl:3: same text as f.train.jsonl:6, in train of intent and dev of topic",)

    def test_rows_without_an_answer_for_the_task_do_not_leak_into_it(self, tmp_path: Path) -> None:
        files = {
            "f.train": [*rows("intent", *many("a")), {"text": "hello", "topic": "x"}, *rows("topic", *many("x", 4))],
            "f.dev": [*rows("intent", ("hello", "a")), *rows("topic", ("bye", "x"))],
        }
        found = checked(tmp_path, files, task("intent", "f"), task("topic", "f"))
        assert found.warnings == ("f.dev.jsonl:1: same text as f.train.jsonl:6, in train of topic and dev of intent",)


class Words:
    """A stand-in tokenizer: one token a word and one at either end, in windows that overlap by two."""

    def windows_many(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[Window]]:
        return [self._windows(text, (max_tokens or 6) - 2) for text in texts]

    def _windows(self, text: str, size: int) -> list[Window]:
        words = [(found.start(), found.end()) for found in re.finditer(r"\S+", text)]
        step = size - 2
        return [self._window(words[at : at + size], at) for at in range(0, max(len(words) - size, 0) + step, step)]

    def _window(self, words: list[tuple[int, int]], first: int) -> Window:
        return Window(np.zeros(len(words) + 2, np.int32), np.array([(0, 0), *words, (0, 0)], np.int32), first)


def measured(tmp_path: Path, files: Mapping[str, Rows], limit: int, *tasks: TaskSpec) -> Check:
    checked(tmp_path, files, *tasks)
    return check(PackSpec(name="base", tasks=tasks, folder=tmp_path, train=TrainSpec(max_tokens=limit)), Words())


class TestLengths:
    def test_of_each_file_over_whole_texts(self, tmp_path: Path) -> None:
        sizes = [1] * 9 + [3] * 9 + [7, 20]
        files = {
            "f.train": rows("intent", *((" ".join([f"w{n}"] * size), "a") for n, size in enumerate(sizes))),
            "f.dev": DEV,
        }
        found = measured(tmp_path, files, 9, task("intent", "f"))

        assert found.lengths == {
            "f.train.jsonl": Lengths(median=5, most=9, longest=22, over=0.05),
            "f.dev.jsonl": Lengths(median=3, most=3, longest=3, over=0.0),
        }

    def test_rows_that_are_cut_are_told_by_task_with_the_spans_they_lose(self, tmp_path: Path) -> None:
        text = " ".join(f"word{n}" for n in range(10, 30))  # words of six letters: the seventh ends at 48
        spans = [{"start": 7 * n, "end": 7 * n + 6, "label": "x"} for n in (0, 6, 7, 19)]
        files = {
            "f.train": [
                *rows("intent", *many("a", 5)),
                {"text": text, "intent": "a", "entities": spans},
                {"text": "short", "entities": []},
            ],
            "f.dev": [{"text": f"{text} too", "intent": "a", "entities": spans}],
        }
        entities = TaskSpec(name="entities", kind="token-classification", data=task("entities", "f").data)
        found = measured(tmp_path, files, 9, task("intent", "f"), entities)
        assert [line for line in found.warnings if "max-tokens" in line] == [
            "tasks.intent: 1 of 6 train rows are longer than max-tokens: their first 9 tokens are trained on",
            "tasks.entities: 1 of 2 train rows are longer than max-tokens: "
            "their first 9 tokens are trained on and 2 of their spans are lost",
        ]


class TestKey:
    @pytest.mark.parametrize("other", ["Hello World", " hello\tworld\n", "ｈｅｌｌｏ　ｗｏｒｌｄ", "HELLOWORLD"])
    def test_case_space_and_width_make_no_difference(self, other: str) -> None:
        assert text_key("hello world") == text_key(other)

    @given(st.text(st.characters()))
    def test_any_text_has_one(self, text: str) -> None:
        assert text_key(f" {text}\n") == text_key(text)


def test_many_rows_take_seconds(tmp_path: Path) -> None:
    train = rows("intent", *((f"text {number % 15_000}", str(number % 3)) for number in range(20_000)))
    began = time.process_time()
    checked(tmp_path, {"f.train": train, "f.dev": train}, task("intent", "f"))
    assert time.process_time() - began < 10
