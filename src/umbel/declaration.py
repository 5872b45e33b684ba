"""What a declaration's types cannot express: kinds and their metrics, labels, names, files. Knows nothing of rows.

Works on the raw values of the file, so that these faults are found beside those of types, in one go.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from umbel import flow_spec
from umbel.errors import suggest
from umbel.flow_forms import WRITING_KIND
from umbel.kinds.base import kinds
from umbel.records import Task, label_text
from umbel.yamlfile import Place

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]+)?")
HUB = re.compile(r"hub:[^:/\s]+(/[^:/\s]+)?:[^:\s]+")
FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
SCOPED_METRICS = ("in-scope-accuracy", "out-of-scope-recall")
SHARED = {"text": "text", "language": "", "share": 1.0}  # what all tasks that read one file must agree on

Fault = tuple[Place, str]


def is_hub(source: str) -> bool:
    """Tell whether a source is a name on the hub, not a file."""
    return source.startswith("hub:")


def faults_of(value: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """Yield the place and message of every fault."""
    yield from _name(("pack",), value.get("pack"))
    version = value.get("version")
    if isinstance(version, str) and not VERSION.fullmatch(version):
        yield ("version",), f"found {version!r}, expected three numbers like 1.0.0"
    yield from _start(value.get("train"))
    tasks = value.get("tasks")
    if not isinstance(tasks, dict):
        return
    if not tasks:
        yield ("tasks",), "found no task, expected at least one"
    for name, task in tasks.items():
        yield from _name(("tasks", name), name)
        if isinstance(task, dict):
            yield from _task(("tasks", name), task, folder)
    yield from _shared_files(tasks)
    known = [*kinds()]
    sound = all(isinstance(task, dict) and task.get("kind") in known for task in tasks.values())
    if sound and value.get("flow") is not None:  # else each use of a faulty task would be told as a fault, too
        yield from flow_spec.faults_of(value["flow"], ("flow",), _as_declared(tasks))


def _as_declared(tasks: Mapping[str, Any]) -> dict[str, Task]:
    """Return tasks as a flow sees them before training: labels that are not listed are not known."""
    found = {}
    for name, task in tasks.items():
        kind = task.get("kind") if isinstance(task, dict) else None
        if (kind in kinds() and kinds()[kind].reads != "nothing") or kind == WRITING_KIND:
            several = task.get("multi-label") is True
            found[name] = Task(name, str(kind), tuple(_texts(task.get("labels"))), several)
    return found


def _start(train: object) -> Iterator[Fault]:
    """Yield what keeps a training from beginning with a pack: of it, only all of the encoder can be stored again."""
    if not isinstance(train, dict):
        return
    for key in ("start", "average-with"):
        if train.get(key) and train.get("sharing", "full") != "full":
            found = f"goes with `sharing: full` alone, found {train['sharing']!r}; leave one of them out"
            yield ("train", key), found
    if "fold" in train and not train.get("start"):
        yield ("train", "fold"), "is a share of what a pack's tasks have of their own; name the pack with `start`"


def _name(place: Place, name: object) -> Iterator[Fault]:
    if isinstance(name, str) and not NAME.fullmatch(name):
        yield place, f"found {name!r}, expected a name of lower-case letters, digits and single hyphens"


def _task(place: Place, task: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    yield from _kind(place, task)
    yield from _labels(place, task)
    yield from _data(place, task, folder)
    if isinstance(task.get("writing"), dict):
        yield from _examples((*place, "writing"), task["writing"], folder)


def _kind(place: Place, task: Mapping[str, Any]) -> Iterator[Fault]:
    name, metric = task.get("kind"), task.get("metric")
    if not isinstance(name, str):
        return
    kind = kinds().get(name)
    if kind is None:
        yield (*place, "kind"), f"{name!r} is not a kind{suggest(name, sorted(kinds()))}"
        return
    if isinstance(metric, str) and metric not in kind.metrics:
        yield (*place, "metric"), f"{name} does not report {metric!r}{suggest(metric, kind.metrics)}"
    if metric in SCOPED_METRICS and not task.get("out-of-scope"):
        yield (*place, "metric"), f"{metric!r} needs the label that means none of the others; give `out-of-scope`"
    yield from _of_classes(place, task, name)
    writes = getattr(kind, "writes", False)
    takes_data = kind.trained or (kind.reads == "nothing" and not writes)
    if task.get("writing") is not None and not writes:
        yield (*place, "writing"), f"{name} writes nothing; only text-generation does"
    if takes_data and not task.get("data"):
        yield (*place, "data"), "found no data, expected at least one entry with `train`, `dev` and `column`"
    if not takes_data and task.get("data"):
        yield (*place, "data"), f"{name} takes no data; leave out `data`"


def _of_classes(place: Place, task: Mapping[str, Any], name: str) -> Iterator[Fault]:
    """Yield faults of what text classification alone takes."""
    if task.get("multi-label") is True and name != "text-classification":
        yield (*place, "multi-label"), f"{name} takes no multi-label; only text-classification does"
    if task.get("multi-label") is True and task.get("out-of-scope"):
        yield (*place, "out-of-scope"), "a multi-label task needs none: it may give no label at all; leave it out"
    if task.get("ngrams") and name != "text-classification":
        yield (*place, "ngrams"), f"{name} reads no n-grams; only text-classification does"


def _labels(place: Place, task: Mapping[str, Any]) -> Iterator[Fault]:
    labels = _texts(task.get("labels"))
    for label, count in Counter(labels).items():
        if count > 1:
            last = len(labels) - 1 - labels[::-1].index(label)
            yield (*place, "labels", last), f"{label!r} is given {count} times"
    if not labels:
        return
    known = list(dict.fromkeys(labels))
    outside = task.get("out-of-scope")
    if isinstance(outside, str) and outside and outside not in labels:
        yield (*place, "out-of-scope"), f"{outside!r} is not a label{suggest(outside, known)}"
    for number, entry in enumerate(_entries(task)):
        renaming = entry.get("labels")
        for old, new in renaming.items() if isinstance(renaming, dict) else ():
            if isinstance(new, str | int) and label_text(new) not in labels:
                yield (
                    (*place, "data", number, "labels", old),
                    f"{label_text(new)!r} is not a label{suggest(label_text(new), known)}",
                )


def _examples(place: Place, writing: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """Yield what keeps an adapter from being learnt from a writing task's examples."""
    rows = writing.get("examples")
    if not isinstance(rows, str) or not rows:
        return
    if is_hub(rows):
        yield (*place, "examples"), f"found {rows!r}, expected a file beside the declaration"
    else:
        yield from _file((*place, "examples"), rows, folder)
    if writing.get("adapter"):
        yield (*place, "adapter"), "one is learnt from `examples`; leave out either"
    if str(writing.get("decoder", "")).startswith(("http://", "https://")):
        yield (*place, "decoder"), "a server elsewhere learns nothing; name a decoder, or leave out `examples`"


def _data(place: Place, task: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    entries = _entries(task)
    seen: dict[str, str] = {}
    for number, entry in enumerate(entries):
        here = (*place, "data", number)
        if not entry:
            continue
        if not entry.get("train") and not entry.get("dev"):
            yield here, "found neither `train` nor `dev`, expected a file for at least one"
        for key in ("train", "dev"):
            for index, source in enumerate(_texts(entry.get(key))):
                where = (*here, key, index) if isinstance(entry.get(key), list) else (*here, key)
                yield from _file(where, source, folder)
                if source in seen:
                    yield where, f"{source} is already named by this task as {seen[source]}"
                seen.setdefault(source, f"data[{number}].{key}")
    for key in ("train", "dev"):
        if entries and all(entries) and not any(entry.get(key) for entry in entries):
            yield (*place, "data"), f"found no `{key}` file, expected at least one"


def _file(place: Place, source: str, folder: Path) -> Iterator[Fault]:
    if is_hub(source):
        if not HUB.fullmatch(source):
            yield place, f"found {source!r}, expected hub:organisation/name:split"
        return
    if not source.endswith(FORMATS):
        yield place, f"{source}: unknown format; expected a name that ends in {', '.join(FORMATS)}"
    path = folder / source
    if os.path.isfile(path):  # pathlib's raises for names that are too long
        return
    beside: list[str] = []
    with suppress(OSError, ValueError):  # a folder that is not there or not to be read
        beside = sorted(item.name for item in path.parent.iterdir() if item.name.endswith(FORMATS))
    yield place, f"{source}: no such file, looked in {path.parent}{suggest(path.name, beside)}"


def _shared_files(tasks: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield where tasks disagree on how to read a file: it is read once for all that name it."""
    first: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, task in tasks.items():
        for number, entry in enumerate(_entries(task)):
            for source in (*_texts(entry.get("train")), *_texts(entry.get("dev"))):
                place = f"tasks.{name}.data[{number}]"
                before, other = first.setdefault(source, (place, entry))
                for key, default in SHARED.items():
                    found, said = entry.get(key, default), other.get(key, default)
                    if found != said:
                        message = f"found {found!r} for {source}, but {before} says {said!r}; a file is read once"
                        yield ("tasks", name, "data", number, key), message


def _entries(task: object) -> list[Mapping[str, Any]]:
    """Return a task's data entries; an empty one stands for what is no entry, a fault of its type."""
    data = task.get("data") if isinstance(task, dict) else None
    return [entry if isinstance(entry, dict) else {} for entry in data] if isinstance(data, list) else []


def _texts(value: object) -> Sequence[str]:
    """Return the texts of one value or a list, as far as they are texts; numbers count as labels written bare."""
    values = value if isinstance(value, list) else [value]
    return [label_text(item) for item in values if isinstance(item, str | int)]
