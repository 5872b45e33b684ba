"""Reads the rows a declaration names into examples with golds for every task that reads the file.

Each file is read once; a row without a cell for a task carries no gold for it, and is kept when it carries any.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from umbel.errors import suggest
from umbel.kinds.base import kind_of
from umbel.records import Example, Task, label_text, language_of
from umbel.rows import Faults, read_rows, source_rows
from umbel.spec import DataSpec, PackSpec, TaskSpec

__all__ = ["Data", "collect", "load", "read_rows"]


@dataclass(frozen=True)
class Data:
    """The tasks and their examples, by the file they come from, named as the declaration does."""

    tasks: dict[str, Task]
    train: dict[str, list[Example]]
    dev: dict[str, list[Example]]
    shares: dict[str, float]  # factor on each train file's share of the mix

    @property
    def answered(self) -> dict[str, Task]:
        """The tasks that every text is answered with; those of kind `asked` only bring questions to train on."""
        return {name: task for name, task in self.tasks.items() if kind_of(task.kind).reads != "nothing"}

    def train_of(self, task: str) -> Iterator[Example]:
        """Yield the train examples that carry a gold for a task."""
        return (example for examples in self.train.values() for example in examples if task in example.golds)

    def dev_of(self, task: str) -> Iterator[Example]:
        """Yield the dev examples that carry a gold for a task."""
        return (example for examples in self.dev.values() for example in examples if task in example.golds)


@dataclass(frozen=True)
class Counts:
    """How many rows a task has, and how many of them name each label, before faults are left out."""

    train_rows: int
    dev_rows: int
    train: dict[str, int]
    dev: dict[str, int]


class _Row(NamedTuple):
    """A row before its golds are checked: the raw value of each task that has one."""

    line: int
    text: str
    values: dict[str, Any]


@dataclass(frozen=True)
class _Source:
    """One file and the tasks that read it."""

    name: str
    readers: Mapping[str, DataSpec]

    @property
    def entry(self) -> DataSpec:
        """The settings all readers agree on: text, language and share."""
        return next(iter(self.readers.values()))


_Read = tuple[_Source, list[_Row]]


@dataclass(frozen=True)
class Collected:
    """What reading gave: the sound rows, the faults, and all rows as they were read."""

    data: Data
    faults: Faults
    train: list[_Read]
    dev: list[_Read]

    def counts(self) -> dict[str, Counts]:
        """Return each task's counts."""
        return {name: _count(task, self.train, self.dev) for name, task in self.data.tasks.items()}


def load(spec: PackSpec) -> Data:
    """Read everything a declaration names.

        data = load(load_spec("pack.yaml"))

    Raises:
        DataError: with the faults of all files, the first 50 whole.
        MissingExtraError: a source needs a package that is not installed.
    """
    collected = collect(spec)
    if collected.faults:
        raise collected.faults.error(spec.name, "`umbel data check` shows these faults, and warnings besides")
    return collected.data


def collect(spec: PackSpec) -> Collected:
    """Read everything a declaration names, leaving out what is at fault."""
    faults = Faults()
    train, dev = _sources(spec, "train"), _sources(spec, "dev")
    train_rows = [(source, _rows(source, spec.folder, faults)) for source in train]
    dev_rows = [(source, _rows(source, spec.folder, faults)) for source in dev]
    tasks = {task.name: _task(task, train_rows, faults) for task in spec.tasks}
    data = Data(
        tasks,
        {source.name: _examples(source, rows, tasks, faults) for source, rows in train_rows},
        {source.name: _examples(source, rows, tasks, faults) for source, rows in dev_rows},
        {source.name: source.entry.share for source in train},
    )
    return Collected(data, faults, train_rows, dev_rows)


def _sources(spec: PackSpec, split: Literal["train", "dev"]) -> list[_Source]:
    """Return the files of a split in the order of the declaration, each with all its readers."""
    readers: dict[str, dict[str, DataSpec]] = {}
    for task in spec.tasks:
        for entry in task.data:
            for name in getattr(entry, split):
                readers.setdefault(name, {})[task.name] = entry
    return [_Source(name, of_tasks) for name, of_tasks in readers.items()]


def _rows(source: _Source, folder: Path, faults: Faults) -> list[_Row]:
    """Read one file; keep the rows that have a text and a value for at least one task."""
    rows: list[_Row] = []
    columns: set[str] = set()
    textless: list[tuple[int, object]] = []
    before = len(faults)
    text_column = source.entry.text
    written_out = not source.name.removesuffix(".gz").endswith(".jsonl")
    for line, cells in source_rows(source.name, folder, faults):
        columns.update(cells)
        text = cells.get(text_column)
        if not isinstance(text, str) or not text.strip():
            textless.append((line, text))
            continue
        values = {
            task: _value(cells[entry.column], entry, written_out)
            for task, entry in source.readers.items()
            if cells.get(entry.column) not in (None, "")
        }
        if values:
            rows.append(_Row(line, text, values))
    if columns:
        _missing(source, columns, rows, textless, faults)
    elif len(faults) == before:
        faults.add(source.name, "holds no rows")
    return rows


def _missing(
    source: _Source, columns: set[str], rows: list[_Row], textless: list[tuple[int, object]], faults: Faults
) -> None:
    """Add a fault for each column that no row has, and for each row without a text."""
    text, known = source.entry.text, sorted(columns)
    if text not in columns:
        faults.add(source.name, f"no column {text!r}{suggest(text, known)}")
        return
    for line, found in textless:
        shown = "no text" if found is None else f"{found!r:.40}"
        faults.add(
            source.name, f"{text}: found {shown}, expected text that is not blank; mend or leave out the row", line
        )
    filled = {task for row in rows for task in row.values}
    for task, entry in source.readers.items():
        if entry.column not in columns:
            faults.add(source.name, f"no column {entry.column!r}{suggest(entry.column, known)}")
        elif task not in filled:
            faults.add(source.name, f"column {entry.column!r} is empty in every row")


def _value(value: object, entry: DataSpec, written_out: bool) -> object:
    """Return a cell as its kind reads it: lists that are written out as JSON, labels renamed."""
    if written_out and isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            value = json.loads(value)
    return _renamed(value, entry.labels) if entry.labels else value


def _renamed(value: object, labels: Mapping[str, str]) -> object:
    """Replace labels in a cell, be it one label, a list of them or spans; labels that become the same count once."""
    if isinstance(value, list):
        items = [_renamed(item, labels) for item in value]
        return list(dict.fromkeys(items)) if all(isinstance(item, str) for item in items) else items
    if isinstance(value, dict):
        return {**value, "label": _renamed(value.get("label"), labels)}
    return labels.get(label_text(value), value) if isinstance(value, str | int) else value


def _task(spec: TaskSpec, train: list[_Read], faults: Faults) -> Task:
    """Return the task as a pack stores it, with labels collected from the train rows where none are declared."""
    labels = spec.labels or tuple(sorted(_label_counts(spec.name, spec.kind, train)))
    if spec.out_of_scope and spec.out_of_scope not in labels:
        message = f"{spec.out_of_scope!r} is not a label of the train data{suggest(spec.out_of_scope, labels)}"
        faults.add(f"tasks.{spec.name}.out-of-scope", message)
    return Task(
        name=spec.name,
        kind=spec.kind,
        labels=labels,
        multi_label=spec.multi_label,
        metric=spec.metric or _default_metric(spec),
        description=spec.description,
        languages=tuple(dict.fromkeys(entry.language for entry in spec.data if entry.language)),
        abstain_below=spec.abstain_below,
        out_of_scope=spec.out_of_scope,
    )


def _count(task: Task, train: list[_Read], dev: list[_Read]) -> Counts:
    rows = [sum(task.name in row.values for row in _rows_of(task.name, read)) for read in (train, dev)]
    seen = [_label_counts(task.name, task.kind, read) for read in (train, dev)]
    of_train, of_dev = ({label: found[label] for label in task.labels} for found in seen)
    return Counts(rows[0], rows[1], of_train, of_dev)


def _label_counts(task: str, kind_name: str, read: list[_Read]) -> Counter[str]:
    """Count the rows that name each label."""
    kind, counts = kind_of(kind_name), Counter[str]()
    for row in _rows_of(task, read):
        if task in row.values:
            with suppress(ValueError):  # reported when the row's gold is parsed
                counts.update(set(kind.labels_in(row.values[task])))
    return counts


def _rows_of(task: str, read: list[_Read]) -> Iterator[_Row]:
    return (row for source, rows in read if task in source.readers for row in rows)


def _default_metric(spec: TaskSpec) -> str:
    """Return the kind's first metric; for several labels, where accuracy asks for the whole set, macro-F1."""
    known = kind_of(spec.kind).metrics
    if spec.multi_label and "macro-f1" in known:
        return "macro-f1"
    return known[0] if known else ""


def _examples(source: _Source, rows: list[_Row], tasks: Mapping[str, Task], faults: Faults) -> list[Example]:
    examples = []
    kinds = {name: kind_of(tasks[name].kind) for name in source.readers}
    for row in rows:
        golds = {}
        for name, value in row.values.items():
            try:
                golds[name] = kinds[name].parse(tasks[name], value, row.text)
            except ValueError as error:
                faults.add(source.name, f"{source.readers[name].column}: {error}", row.line)
        if golds:
            language = source.entry.language or language_of(row.text)
            examples.append(Example(row.text, golds, f"{source.name}:{row.line}", language))
    return examples
