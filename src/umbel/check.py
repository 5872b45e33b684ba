"""Checks a declaration's data before training: faults, repeated texts, leaks from train to dev, counts, lengths.

Texts are the same when they agree after NFKC, without case and white space.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umbel.cuts import Cuts, count, sentences
from umbel.data import Counts, Data, collect
from umbel.records import Example, Window
from umbel.spec import PackSpec

FEW = 5  # train rows of a label, below which it is hardly learned
PLACES = 5  # rows named in a warning; the rest are counted
TOKENISED = 1024  # texts cut into tokens at a time


class Windows(Protocol):
    """What is asked of a tokenizer."""

    def windows_many(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[Window]]:
        """Cut each text into windows of at most `max_tokens`."""


@dataclass(frozen=True)
class Lengths:
    """Tokens per row of one file, special tokens included; `over` is the share of rows longer than `max-tokens`."""

    median: int
    most: int  # 95 % of rows are no longer
    longest: int
    over: float


@dataclass(frozen=True)
class Check:
    """What a check found. Training refuses data with faults, and takes data with warnings."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...]
    counts: Mapping[str, Counts]  # by task
    lengths: Mapping[str, Lengths]  # by file

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return asdict(self)


def check(spec: PackSpec, tokenizer: Windows | None = None) -> Check:
    r"""Read and check everything a declaration names; token lengths only where a tokenizer is given.

        found = check(load_spec("pack.yaml"))
        print(*found.faults, *found.warnings, sep="\n")

    Raises:
        MissingExtraError: a source needs a package that is not installed.
    """
    collected = collect(spec)
    data, counts = collected.data, collected.counts()
    lengths, cut = _measured(data, tokenizer, spec.train.max_tokens) if tokenizer else ({}, [])
    warnings = [*_few(counts), *cut, *_repeats(data), *_leaks(data)]
    return Check((*collected.faults.listed(), *_unlearnable(spec, counts)), tuple(warnings), counts, lengths)


def _unlearnable(spec: PackSpec, counts: Mapping[str, Counts]) -> Iterator[str]:
    """Yield a fault for each declared label that no train row names."""
    for task in spec.tasks:
        for number, label in enumerate(task.labels):
            if counts[task.name].train_rows and not counts[task.name].train[label]:
                place = f"tasks.{task.name}.labels[{number}]"
                yield f"{place}: no train row is labelled {label!r}; add rows or leave it out"


def _few(counts: Mapping[str, Counts]) -> Iterator[str]:
    for task, found in counts.items():
        few = {label: rows for label, rows in found.train.items() if 0 < rows < FEW}
        if few:
            named = ", ".join(f"{label!r} {rows}" for label, rows in few.items())
            yield f"tasks.{task}.labels: fewer than {FEW} train rows: {named}"


def _repeats(data: Data) -> Iterator[str]:
    """Yield warnings of rows that repeat the text of an earlier row of their file, disagreeing ones first."""
    for name, rows in {**data.train, **data.dev}.items():
        first: dict[bytes, Example] = {}
        same: list[tuple[Example, Example, list[str]]] = []
        differing: list[tuple[Example, Example, list[str]]] = []
        for row in rows:
            before = first.setdefault(text_key(row.text), row)
            if before is row:
                continue
            tasks = [task for task, gold in row.golds.items() if before.golds.get(task, gold) != gold]
            (differing if tasks else same).append((row, before, tasks))
        pairs = differing + same
        for row, before, tasks in pairs[:PLACES]:
            but = f", but with other answers for {', '.join(tasks)}" if tasks else ""
            yield f"{row.source}: same text as line {_line(before)}{but}"
        if len(pairs) > PLACES:
            beyond, differ = len(pairs) - PLACES, max(len(differing) - PLACES, 0)
            yield f"{name}: rows that repeat an earlier text beyond these: {beyond} ({differ} with other answers)"


def _leaks(data: Data) -> Iterator[str]:
    """Yield a warning for each train and dev file that share texts, of one task or across tasks."""
    trained: dict[bytes, list[tuple[str, Example]]] = {}
    for name, rows in data.train.items():
        for row in rows:
            trained.setdefault(text_key(row.text), []).append((name, row))
    for rows in data.dev.values():
        shared: dict[tuple[str, str], dict[str, Example]] = {}
        for row in rows:
            for train_name, train_row in trained.get(text_key(row.text), ()):
                shared.setdefault((train_name, _whose(train_row, row)), {}).setdefault(row.source, train_row)
        for (train_name, whose), pairs in shared.items():
            yield _leak(train_name, whose, pairs)


def _whose(train: Example, dev: Example) -> str:
    """Say which tasks a text leaks between: those that both rows answer, else from whose train into whose dev."""
    both = [task for task in dev.golds if task in train.golds]
    if both:
        return f"train and dev of {', '.join(both)}"
    return f"train of {', '.join(train.golds)} and dev of {', '.join(dev.golds)}"


def _leak(train: str, whose: str, pairs: Mapping[str, Example]) -> str:
    """Word one warning; `pairs` leads from the dev row's place to a train row of the same text."""
    (place, row), *more = pairs.items()
    lines = [f"{dev.rpartition(':')[2]} ({_line(before)})" for dev, before in more[: PLACES - 1]]
    beyond = len(pairs) - 1 - len(lines)
    also = f"; also lines {', '.join(lines)}" if lines else ""
    also += f" and {beyond} more" if beyond else ""
    return f"{place}: same text as {train}:{_line(row)}, in {whose}{also}"


def _line(example: Example) -> str:
    return example.source.rpartition(":")[2]


def text_key(text: str) -> bytes:
    """Return a short hash of a text, the same for texts that differ in case, white space or width of characters."""
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _measured(data: Data, tokenizer: Windows, limit: int) -> tuple[dict[str, Lengths], list[str]]:
    """Return the lengths of each file's rows, and a warning for each task with train rows that are cut."""
    lengths: dict[str, Lengths] = {}
    cut: Cuts = {}
    for files, trained in ((data.train, True), (data.dev, False)):
        for name, rows in files.items():
            sizes: list[int] = []
            for start in range(0, len(rows), TOKENISED):
                some = rows[start : start + TOKENISED]
                windows = tokenizer.windows_many([row.text for row in some], limit)
                sizes += [parts[-1].first + len(parts[-1].ids) for parts in windows]
                if trained:
                    count(cut, data.tasks, zip(some, windows, strict=True))
            lengths[name] = _lengths(np.array(sizes or [0]), limit)
    return lengths, sentences(cut, limit)


def _lengths(sizes: NDArray[np.int64], limit: int) -> Lengths:
    median, most = np.quantile(sizes, [0.5, 0.95], method="inverted_cdf")
    return Lengths(int(median), int(most), int(sizes.max()), float((sizes > limit).mean()))
