"""Puts together all that is known of a pack: scores, what sharing did, what answers cost, what it learnt from.

`report_of` returns plain values, which `report_pages` shows as HTML and Markdown and JSON keeps. Scores come from the
pack's manifest; where dev rows are given, from the runtime's answers to them. Knows nothing of terminals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umbel.advice import advice
from umbel.errors import InputError
from umbel.intervals import Interval, resampled, rounded
from umbel.metrics import LOWER_IS_BETTER
from umbel.pack import ADAPTER, BRANCHES, Pack

if TYPE_CHECKING:
    from umbel.pack import TaskEntry
    from umbel.runtime import Model

Plain = dict[str, Any]
TIMED = 64  # texts that a task's time is measured on
REPEATS = 3
SMALL = 2000  # train rows


def report_of(
    pack: Pack,
    diagnosed: Mapping[str, Plain] | None = None,
    costs: Plain | None = None,
    interference: Plain | None = None,
    published: Mapping[str, Sequence[Plain]] | None = None,
) -> Plain:
    """Return a pack's report as plain values.

    `diagnosed` is what `diagnose` found on dev rows, `costs` what `costs_of` measured, `interference` the figures of a
    study, `published` what others reported for a task. What is not given is left out.
    """
    tasks = {
        name: _task(name, entry, (diagnosed or {}).get(name), (published or {}).get(name, ()))
        for name, entry in pack.manifest.tasks.items()
        if "score" in entry.scores or name in (diagnosed or {})
    }
    changes = {name: task["change"] for name, task in tasks.items() if task["change"] is not None}
    report: Plain = {
        "pack": pack.manifest.name,
        "version": pack.manifest.version,
        "description": pack.manifest.description,
        "licence": pack.manifest.licence,
        "backbone": pack.manifest.backbone.model_dump(),
        "training": pack.manifest.training,
        "measured": diagnosed is not None,
        **summary(changes),
        "small": small({name: change for name, change in changes.items() if tasks[name]["rows"]["train"] < SMALL}),
        "intervals": {name: task["score"] for name, task in tasks.items()},
        "tasks": tasks,
        "size": sizes_of(pack),
        "costs": costs,
        "data": {name: [note.model_dump() for note in entry.data] for name, entry in pack.manifest.tasks.items()},
        "interference": interference,
    }
    report["advice"] = advice(report)
    return rounded(report)  # type: ignore[no-any-return]


def _task(name: str, entry: TaskEntry, found: Plain | None, published: Sequence[Plain]) -> Plain:
    kept = entry.scores
    score = list(found["score"]) if found else [kept.get("score"), None, None]
    alone = kept.get("alone")
    change = None
    if alone is not None and kept.get("score") is not None:  # both from all dev rows, whatever rows were read here
        sign = -1 if entry.metric in LOWER_IS_BETTER else 1
        change = sign * (kept["score"] - alone)
    return {
        "kind": entry.kind,
        "description": entry.description,
        "metric": entry.metric,
        "languages": list(entry.languages),
        "labels": len(entry.labels),
        "rows": {"train": sum(n.train for n in entry.data), "dev": kept.get("rows"), "read": (found or {}).get("rows")},
        "score": score,
        "card": kept.get("score"),
        "alone": alone,
        "change": change,
        "ece": {"before": kept.get("ece-before"), "after": kept.get("ece-after")},
        "published": list(published),
        "by_language": (found or {}).get("languages") or _card_languages(kept),
        **{key: (found or {}).get(key) for key in ("calibration", "risk", "confusions", "mistakes")},
    }


def _card_languages(scores: Mapping[str, Any]) -> Plain:
    return {
        language: {"rows": None, "score": [score, None, None]}
        for language, score in scores.get("languages", {}).items()
    }


def summary(changes: Mapping[str, float]) -> Plain:
    """Return the mean change by sharing with its interval over tasks, the worst task, and who gains and loses."""
    if not changes:
        return {"mean_change": None, "median_change": None, "worst_change": None, "gaining": [], "losing": []}
    values = np.array(list(changes.values()), float)
    mean: Interval = resampled(lambda rows: float(values[rows].mean()), len(values))
    worst = min(changes, key=changes.__getitem__)
    return {
        "mean_change": list(mean),
        "median_change": float(np.median(values)),
        "worst_change": {"task": worst, "change": changes[worst]},
        "gaining": [name for name, change in changes.items() if change > 0],
        "losing": [name for name, change in changes.items() if change < 0],
    }


def small(changes: Mapping[str, float]) -> Plain:
    """Return the mean change of tasks of few train rows, whom sharing helps first; None without any."""
    mean = float(np.mean(list(changes.values()))) if changes else None
    return {"rows_below": SMALL, "tasks": list(changes), "mean_change": mean}


def sizes_of(pack: Pack) -> Plain:
    """Return the bytes of a pack's files, and each task's parameters and bytes."""
    tasks = {}
    for name, entry in pack.manifest.tasks.items():
        head = pack.head(name) if entry.head else {}
        read = pack.ngrams([name])[name].tensors() if entry.ngrams else {}
        parameters = sum(int(each.size) for each in [*head.values(), *read.values()])
        size = sum((pack.folder / file.file).stat().st_size for file in (entry.head, entry.ngrams) if file)
        tasks[name] = {"parameters": parameters, "bytes": size}
    shared = {
        name: (pack.folder / name).stat().st_size for name in (ADAPTER, BRANCHES) if (pack.folder / name).exists()
    }
    return {"shared": shared, "tasks": tasks, "bytes": sum(shared.values()) + sum(t["bytes"] for t in tasks.values())}


def costs_of(model: Model, texts: Sequence[str]) -> Plain:
    """Measure the milliseconds a text takes to encode, and each task's own on top, over at most `TIMED` texts.

    A task's time is that of its head alone beside one encoding: the difference to asking nothing else.
    """
    some = list(texts[:TIMED])
    if not some:
        raise InputError("found no text to measure the time on")
    tasks = {}
    encoding = []
    for name in model.tasks:
        model(some[:4], [name])  # what is made when first used
        times = []
        for _ in range(REPEATS):
            before = model.counters.seconds_heads, model.counters.seconds_encoding
            model(some, [name])
            times.append(model.counters.seconds_heads - before[0])
            encoding.append(model.counters.seconds_encoding - before[1])
        tasks[name] = 1000 * min(times) / len(some)
    return {"texts": len(some), "encoding_ms": 1000 * float(np.median(encoding)) / len(some), "task_ms": tasks}


def read_json(path: Path, what: str) -> Any:
    """Return the values of a JSON file.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {what} cannot be read: {error}", "name a file that holds it") from error
