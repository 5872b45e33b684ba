"""Declarations: what a sound one means, and that every fault of a broken one is told with its line."""

import tempfile
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from umbel.errors import InputError, SpecError
from umbel.example import write_example
from umbel.spec import DataSpec, MixingSpec, PackSpec, TaskSpec, TrainSpec, load_spec

MINIMAL = """\
pack: base
tasks:
  intent:
    kind: text-classification
    data:
      - {train: train.jsonl, dev: dev.jsonl, column: intent}
"""


def write(folder: Path, text: str) -> Path:
    for name in ("train.jsonl", "dev.jsonl", "more.csv.gz"):
        (folder / name).write_text("{}\n")
    path = folder / "base.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(write(folder, text))
    return [fault.removeprefix("base.yaml:") for fault in caught.value.faults]


def task(body: str) -> str:
    """Return a declaration whose one task has `body` (one line at a time) for its settings from line 4 on."""
    return "pack: base\ntasks:\n  intent:\n" + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())


DATA = "data: [{train: train.jsonl, dev: dev.jsonl, column: intent}]"


class TestSound:
    def test_minimal_declaration_takes_the_defaults(self, tmp_path: Path) -> None:
        spec = load_spec(write(tmp_path, MINIMAL))

        entry = DataSpec(train=("train.jsonl",), dev=("dev.jsonl",), column="intent")
        intent = TaskSpec(name="intent", kind="text-classification", data=(entry,))
        assert spec == PackSpec(name="base", tasks=(intent,), folder=tmp_path)
        assert spec.backbone == "e5-small"

    def test_training_defaults_are_as_documented(self) -> None:
        assert TrainSpec().model_dump() == {
            "sharing": "full",
            "start": "",
            "fold": 0.5,
            "average_with": "",
            "rank": 32,
            "epochs": 3.0,
            "batch_tokens": 2048,
            "batch_rows": 64,
            "max_tokens": 192,
            "learning_rate": 1e-4,
            "head_learning_rate": 5e-3,
            "warm_up": 0.06,
            "weight_decay": 0.01,
            "clip": 1.0,
            "dropout": 0.1,
            "mixing": {"by": "size", "temperature": 2.0, "cap": 0},
            "combining": "sum",
            "evaluate_every": 0.25,
            "patience": 4,
            "keep": "end",
            "dev_rows": 500,
            "precision": "bfloat16",
            "seed": 1,
            "teachers": "",
            "keep_vectors": 0.0,
            "questions": "",
            "questions_per_row": 0.5,
            "question_weight": 1.0,
        }

    def test_every_key_reaches_its_field(self, tmp_path: Path) -> None:
        spec = load_spec(
            write(
                tmp_path,
                """\
                pack: base
                version: 1.2.3
                licence: Apache-2.0
                backbone: other
                description: Words.
                tasks:
                  intent:
                    kind: text-classification
                    labels: [a, 1, none]
                    description: one line
                    metric: in-scope-accuracy
                    weight: 2
                    out-of-scope: none
                    abstain-below: 0.25
                    data:
                      - train: [train.jsonl, more.csv.gz]
                        dev: dev.jsonl
                        column: intent
                        text: message
                        language: en
                        labels: {oos: none, 2: 1}
                        licence: CC0-1.0
                        source: us
                        share: 0.5
                train:
                  sharing: adapter
                  learning-rate: 2e-5
                  mixing: {by: temperature, temperature: 5}
                """,
            )
        )

        found = spec.tasks[0]
        assert (spec.version, spec.licence, spec.backbone) == ("1.2.3", "Apache-2.0", "other")
        assert (found.labels, found.out_of_scope, found.abstain_below) == (("a", "1", "none"), "none", 0.25)
        assert (found.metric, found.weight) == ("in-scope-accuracy", 2.0)
        entry = found.data[0]
        assert (entry.train, entry.dev) == (("train.jsonl", "more.csv.gz"), ("dev.jsonl",))
        assert (entry.text, entry.language, entry.share) == ("message", "en", 0.5)
        assert entry.labels == {"oos": "none", "2": "1"}
        assert (spec.train.sharing, spec.train.learning_rate) == ("adapter", 2e-5)
        assert spec.train.mixing == MixingSpec(by="temperature", temperature=5.0)

    def test_settings_are_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            TrainSpec().epochs = 2.0  # type: ignore[misc]

    def test_hub_names_need_no_file(self, tmp_path: Path) -> None:
        text = MINIMAL.replace("train.jsonl", "hub:org/name:train").replace("dev.jsonl", "hub:name")
        assert faults(tmp_path, text) == [
            "6: tasks.intent.data[0].dev: found 'hub:name', expected hub:organisation/name:split"
        ]

        text = text.replace("hub:name,", "hub:name:dev,")
        assert load_spec(write(tmp_path, text)).tasks[0].data[0].train == ("hub:org/name:train",)

    def test_a_kind_without_training_takes_no_data(self, tmp_path: Path) -> None:
        spec = load_spec(write(tmp_path, "pack: base\ntasks:\n  vector: {kind: feature-extraction}\n"))
        assert spec.tasks[0].data == ()

        assert faults(tmp_path, task(f"kind: feature-extraction\n{DATA}")) == [
            "5: tasks.intent.data: feature-extraction takes no data; leave out `data`"
        ]


class TestFile:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="cannot be read: No such file"):
            load_spec(tmp_path / "nowhere.yaml")

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "base.yaml").write_bytes(b"pack: \xff\n")
        with pytest.raises(SpecError, match="cannot be read: not UTF-8 text"):
            load_spec(tmp_path / "base.yaml")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "1: found nothing, expected keys like `pack:`; `umbel init` writes an example"),
            ("- a\n", "1: found ['a'], expected keys like `pack:`; `umbel init` writes an example"),
            ("pack: a\ntasks: [x\n", "3: not YAML: expected ',' or ']', but got '<stream end>'"),
            ("pack: a\n\ttasks: b\n", "2: not YAML: found character '\\t' that cannot start any token"),
            ("pack: a\n---\npack: b\n", "2: not YAML: but found another document"),
            ("pack: \x07\n", "1: not YAML: unacceptable character #x0007: special characters are not allowed"),
        ],
    )
    def test_syntax(self, tmp_path: Path, text: str, expected: str) -> None:
        found = faults(tmp_path, text)
        assert len(found) == 1
        assert found[0].startswith(expected)

    def test_duplicate_keys_name_both_lines(self, tmp_path: Path) -> None:
        text = MINIMAL + "  intent:\n    kind: regression\npack: other\n"
        assert faults(tmp_path, text) == [
            "7: tasks.intent: given twice, first in line 3",
            "9: pack: given twice, first in line 1",
        ]

    def test_a_value_that_contains_itself(self, tmp_path: Path) -> None:
        assert "3: tasks.a: an alias to a value that contains it" in faults(
            tmp_path, "pack: base\ntasks: &all\n  a: *all\n"
        )

    def test_tags_and_keys_that_are_not_plain(self, tmp_path: Path) -> None:
        found = faults(tmp_path, MINIMAL + "description: !!python/name:os.system x\n? [a, b]\n: c\n")
        assert found[0].startswith("7: description: not a plain value: could not determine a constructor")
        assert found[1:] == ["8: found a list or mapping as a key, expected text"]

    def test_impossible_date(self, tmp_path: Path) -> None:
        assert faults(tmp_path, MINIMAL + "description: 2020-13-41\n") == [
            "7: description: not a plain value: month must be in 1..12; quote it"
        ]


class TestKeysAndTypes:
    def test_unknown_keys_are_told_with_the_nearest(self, tmp_path: Path) -> None:
        text = """\
        pack: base
        licens: x
        folder: /tmp
        tasks:
          intent:
            kind: text-classification
            metrik: accuracy
            name: intent
            data: [{train: train.jsonl, dev: dev.jsonl, column: intent, langauge: en}]
        train:
          learning_rate: 1
          mixing: {bye: size}
        """
        assert faults(tmp_path, text) == [
            "2: licens: unknown key; did you mean 'licence'?",
            "3: folder: unknown key; expected one of "
            "pack, version, licence, backbone, description, tasks, flow, train, separation",
            "7: tasks.intent.metrik: unknown key; did you mean 'metric'?",
            "8: tasks.intent.name: unknown key; a task's name is the key above it",
            "9: tasks.intent.data[0].langauge: unknown key; did you mean 'language'?",
            "11: train.learning_rate: unknown key; did you mean 'learning-rate'?",
            "12: train.mixing.bye: unknown key; did you mean 'by'?",
        ]

    def test_missing_keys(self, tmp_path: Path) -> None:
        assert faults(tmp_path, "version: 1.0.0\n") == [
            "1: pack: missing; give it a value",
            "1: tasks: missing; give it a value",
        ]
        assert faults(tmp_path, task("data: [{train: train.jsonl, dev: dev.jsonl}]")) == [
            "3: tasks.intent.kind: missing; give it a value",
            "4: tasks.intent.data[0].column: missing; give it a value",
        ]

    @pytest.mark.parametrize("tasks", ["[a, b]", "text", "null"])
    def test_tasks_are_a_mapping(self, tmp_path: Path, tasks: str) -> None:
        assert faults(tmp_path, f"pack: base\ntasks: {tasks}\n") == [
            "2: tasks: expected a mapping of each task's name to its settings"
        ]

    def test_no_task(self, tmp_path: Path) -> None:
        assert faults(tmp_path, "pack: base\ntasks: {}\n") == ["2: tasks: found no task, expected at least one"]

    def test_wrong_types(self, tmp_path: Path) -> None:
        text = """\
        pack: base
        version: 1.0
        tasks:
          one: text
          two:
            kind: 3
            multi-label: maybe
            labels: [a, [b], '']
            weight: much
            data: {train: train.jsonl}
          three:
            kind: regression
            data: [train.jsonl]
        train: []
        """
        assert faults(tmp_path, text) == [
            "2: version: found 1.0, expected text (quote it)",
            "4: tasks.one: found 'text', expected a mapping",
            "6: tasks.two.kind: found 3, expected text (quote it)",
            "7: tasks.two.multi-label: found 'maybe', expected true or false",
            "8: tasks.two.labels[1]: found ['b'], expected text (quote it)",
            "8: tasks.two.labels[2]: found '', expected text that is not empty",
            "9: tasks.two.weight: found 'much', expected a number",
            "10: tasks.two.data: found {'train': 'train.jsonl'}, expected a list",
            "13: tasks.three.data[0]: found 'train.jsonl', expected a mapping",
            "14: train: found [], expected a mapping",
        ]

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("learning-rate: 0", "found 0, expected more than 0.0"),
            ("learning-rate: .inf", "found inf, expected a finite number"),
            ("head-learning-rate: -1e-3", "found -0.001, expected more than 0.0"),
            ("epochs: 0", "found 0, expected more than 0.0"),
            ("rank: 0", "found 0, expected at least 1"),
            ("batch-rows: 1.5", "found 1.5, expected a whole number"),
            ("batch-tokens: many", "found 'many', expected a whole number"),
            ("max-tokens: 4", "found 4, expected at least 8"),
            ("warm-up: 1", "found 1, expected less than 1.0"),
            ("dropout: -0.1", "found -0.1, expected at least 0.0"),
            ("weight-decay: .nan", "found nan, expected a finite number"),
            ("clip: 0", "found 0, expected more than 0.0"),
            ("patience: -1", "found -1, expected at least 0"),
            ("seed: -1", "found -1, expected at least 0"),
            ("sharing: ful", "found 'ful'; did you mean 'full'?"),
            ("precision: int8", "found 'int8'; expected one of bfloat16, float32"),
        ],
    )
    def test_impossible_settings(self, tmp_path: Path, setting: str, expected: str) -> None:
        key = setting.partition(":")[0]
        assert faults(tmp_path, f"{MINIMAL}train:\n  {setting}\n") == [f"8: train.{key}: {expected}"]


class TestMeaning:
    @pytest.mark.parametrize("name", ["Base", "a_b", "-a", "a--b", "a b", "名"])
    def test_names(self, tmp_path: Path, name: str) -> None:
        expected = "expected a name of lower-case letters, digits and single hyphens"
        text = MINIMAL.replace("base", f"'{name}'").replace("  intent:", f"  '{name}':")
        assert faults(tmp_path, text) == [
            f"1: pack: found {name!r}, {expected}",
            f"3: tasks.{name}: found {name!r}, {expected}",
        ]

    def test_version(self, tmp_path: Path) -> None:
        assert faults(tmp_path, MINIMAL + "version: one\n") == [
            "7: version: found 'one', expected three numbers like 1.0.0"
        ]

    def test_kind_and_metric(self, tmp_path: Path) -> None:
        assert faults(tmp_path, task(f"kind: text-classificaton\n{DATA}")) == [
            "4: tasks.intent.kind: 'text-classificaton' is not a kind; did you mean 'text-classification'?"
        ]
        assert faults(tmp_path, task(f"kind: token-classification\nmetric: acuracy\nmulti-label: true\n{DATA}")) == [
            (
                "5: tasks.intent.metric: token-classification does not report 'acuracy'; "
                "expected one of f1, precision, recall"
            ),
            "6: tasks.intent.multi-label: token-classification takes no multi-label; only text-classification does",
        ]

    def test_out_of_scope(self, tmp_path: Path) -> None:
        kind = "kind: text-classification"
        assert faults(tmp_path, task(f"{kind}\nlabels: [refund, none]\nout-of-scope: non\n{DATA}")) == [
            "6: tasks.intent.out-of-scope: 'non' is not a label; did you mean 'none'?"
        ]
        assert faults(tmp_path, task(f"{kind}\nmetric: out-of-scope-recall\n{DATA}")) == [
            (
                "5: tasks.intent.metric: 'out-of-scope-recall' needs the label that means none of the others; "
                "give `out-of-scope`"
            )
        ]
        assert faults(tmp_path, task(f"{kind}\nmulti-label: true\nout-of-scope: none\n{DATA}")) == [
            "6: tasks.intent.out-of-scope: a multi-label task needs none: it may give no label at all; leave it out"
        ]

    def test_labels(self, tmp_path: Path) -> None:
        text = """\
        kind: text-classification
        labels:
          - refund
          - cancel
          - refund
        data:
          - train: train.jsonl
            dev: dev.jsonl
            column: intent
            labels: {r: refnd, c: cancel}
        """
        assert faults(tmp_path, task(text)) == [
            "8: tasks.intent.labels[2]: 'refund' is given 2 times",
            "13: tasks.intent.data[0].labels.r: 'refnd' is not a label; did you mean 'refund'?",
        ]

    def test_files(self, tmp_path: Path) -> None:
        text = """\
        kind: text-classification
        data:
          - {train: [train.json, trian.jsonl], dev: dev.jsonl, column: intent}
          - {train: dev.jsonl, column: intent}
          - {column: intent}
        """
        assert faults(tmp_path, task(text)) == [
            (
                f"6: tasks.intent.data[0].train[0]: train.json: no such file, looked in {tmp_path}"
                "; did you mean 'train.jsonl'?"
            ),
            (
                "6: tasks.intent.data[0].train[0]: train.json: unknown format; expected a name that ends in "
                ".jsonl, .jsonl.gz, .csv, .csv.gz, .tsv, .tsv.gz, .parquet"
            ),
            (
                f"6: tasks.intent.data[0].train[1]: trian.jsonl: no such file, looked in {tmp_path}"
                "; did you mean 'train.jsonl'?"
            ),
            "7: tasks.intent.data[1].train: dev.jsonl is already named by this task as data[0].dev",
            "8: tasks.intent.data[2]: found neither `train` nor `dev`, expected a file for at least one",
        ]

    def test_a_trained_task_needs_train_and_dev(self, tmp_path: Path) -> None:
        assert faults(tmp_path, task("kind: regression")) == [
            "3: tasks.intent.data: found no data, expected at least one entry with `train`, `dev` and `column`"
        ]
        assert faults(tmp_path, task("kind: regression\ndata: [{train: train.jsonl, column: x}]")) == [
            "5: tasks.intent.data: found no `dev` file, expected at least one"
        ]

    def test_tasks_agree_on_a_file_they_share(self, tmp_path: Path) -> None:
        text = """\
        pack: base
        tasks:
          one: {kind: regression, data: [{train: train.jsonl, dev: dev.jsonl, column: a}]}
          two:
            kind: regression
            data:
              - train: train.jsonl
                dev: dev.jsonl
                column: b
                text: message
                share: 2
        """
        assert faults(tmp_path, text) == [
            f"{line}: tasks.two.data[0].{key}: found {found} for {file}, but tasks.one.data[0] says {said}; "
            "a file is read once"
            for line, key, found, said in ((10, "text", "'message'", "'text'"), (11, "share", "2", "1.0"))
            for file in ("dev.jsonl", "train.jsonl")
        ]

    def test_faults_of_all_sorts_are_told_together(self, tmp_path: Path) -> None:
        found = faults(tmp_path, MINIMAL.replace("text-class", "txt-class") + "pack: b\ntrain: {epochs: 0, x: 1}\n")
        assert [fault.split(": ")[1] for fault in found] == ["tasks.intent.kind", "pack", "train.epochs", "train.x"]


KEYS = sorted(
    {(info.alias or name) for model in (PackSpec, TaskSpec, DataSpec, TrainSpec, MixingSpec)
     for name, info in model.model_fields.items()} | {"intent"}
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(KEYS) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


class TestAnything:
    @settings(max_examples=300, deadline=None)
    @given(VALUES, VALUES, VALUES, VALUES)
    def test_any_values_give_a_declaration_or_its_faults(
        self, tasks: object, task: object, data: object, train: object
    ) -> None:
        body = {"kind": "text-classification", **(task if isinstance(task, dict) else {"labels": task}), "data": data}
        declared = {"pack": "base", "tasks": {"intent": body, "other": tasks}, "train": train}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "base.yaml"
            for value in (declared, tasks, {**declared, "tasks": tasks}):
                with path.open("w", encoding="utf-8") as stream:
                    YAML(typ="safe").dump(value, stream)
                with pytest.raises(SpecError) as caught:
                    load_spec(path)
                assert all(fault.startswith("base.yaml:") for fault in caught.value.faults)

    def test_names_of_files_that_no_file_can_have(self, tmp_path: Path) -> None:
        for name in ("a" * 300 + ".jsonl", "'a/' ", "../../.."):
            assert "no such file" in faults(tmp_path, MINIMAL.replace("train.jsonl", name))[0]


class TestExample:
    def test_it_loads(self, tmp_path: Path) -> None:
        written = write_example(tmp_path / "new")
        assert [path.name for path in written] == ["messages.dev.jsonl", "messages.train.jsonl", "pack.yaml"]
        assert len(load_spec(tmp_path / "new" / "pack.yaml").tasks) == 4

    def test_its_commented_settings_are_keys_with_their_defaults(self, tmp_path: Path) -> None:
        write_example(tmp_path)
        plain = load_spec(tmp_path / "pack.yaml")
        lines = (tmp_path / "pack.yaml").read_text().splitlines()
        examples = ("out-of-scope", "language", "labels")  # these show a use, not the default
        shown = [line.replace("# ", "", 1) if _is_setting(line, examples) else line for line in lines]
        (tmp_path / "pack.yaml").write_text("\n".join(shown))
        changed = load_spec(tmp_path / "pack.yaml")

        assert shown != lines
        assert changed.train == plain.train
        assert changed == plain.model_copy(update={"tasks": changed.tasks})
        assert [task.model_dump(exclude={"metric"}) for task in changed.tasks] == [
            task.model_dump(exclude={"metric"}) for task in plain.tasks
        ]

    def test_it_overwrites_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "pack.yaml").write_text("mine")
        with pytest.raises(InputError, match=r"already holds pack\.yaml"):
            write_example(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["pack.yaml"]

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be written"):
            write_example(tmp_path / "file" / "folder")


def _is_setting(line: str, without: tuple[str, ...]) -> bool:
    key, colon, _ = line.strip().removeprefix("# ").partition(":")
    return line.strip().startswith("# ") and bool(colon) and " " not in key and key not in without


class TestFlow:
    FLOW = """\
flow:
  steps:
    read: {tasks: intent}
    reply: {reply: hello, when: intent.label == "REFUND"}
"""

    def test_a_flow_is_kept_as_it_is_declared(self, tmp_path: Path) -> None:
        spec = load_spec(write(tmp_path, MINIMAL + self.FLOW))
        assert spec.flow is not None
        assert list(spec.flow["steps"]) == ["read", "reply"]

    def test_its_faults_are_told_beside_the_others(self, tmp_path: Path) -> None:
        text = (MINIMAL + self.FLOW).replace(
            "kind: text-classification", "kind: text-classification\n    labels: [refund]"
        )
        found = faults(tmp_path, text.replace("tasks: intent", "tasks: intnt").replace("pack: base", "pack: Base"))
        assert found == [
            "1: pack: found 'Base', expected a name of lower-case letters, digits and single hyphens",
            "10: flow.steps.read.tasks: [0]: 'intnt' is not a task of the pack; did you mean 'intent'?",
            "11: flow.steps.reply.when: `intent.label`: there is no answer 'intent' here; expected one of message, "
            "reply",
        ]
        (label,) = faults(tmp_path, text)
        assert label.startswith("11: flow.steps.reply.when: `intent.label == 'REFUND'`: there is no 'REFUND'")

    @pytest.mark.parametrize("value", ["flow: 3", "flow: []", "flow: {}", "flow: {steps: {}}"])
    def test_what_is_no_flow_is_told(self, tmp_path: Path, value: str) -> None:
        assert faults(tmp_path, MINIMAL + value + "\n")
