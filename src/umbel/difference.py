"""Compares two packs task by task: scores, labels, settings, and whether the bytes are the same.

Works on manifests, which name every file by its SHA-256; knows nothing of files or terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.pack import Manifest, TaskEntry

SETTINGS = ("kind", "multi_label", "temperature", "thresholds", "abstain_below", "out_of_scope", "outside_bias")


def compare(before: Manifest, after: Manifest) -> dict[str, Any]:
    """Return what differs as plain values; each task's `state` is `same`, `changed`, `added` or `removed`.

    >>> compare(read_pack("base").manifest, read_pack("base").manifest)["adapter"]
    'same'
    """
    names = [*before.tasks, *(name for name in after.tasks if name not in before.tasks)]
    return {
        "before": _title(before),
        "after": _title(after),
        "backbone": _same(before.backbone.sha256, after.backbone.sha256),
        "adapter": _same(_sha256(before.adapter), _sha256(after.adapter)),
        "roundings": _same(_sha256(before.roundings), _sha256(after.roundings)),
        "tasks": {name: _task(before.tasks.get(name), after.tasks.get(name)) for name in names},
    }


def _title(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "version": manifest.version, "backbone": manifest.backbone.name}


def _same(first: object, second: object) -> str:
    return "same" if first == second else "changed"


def _sha256(file: Any) -> str:
    return file.sha256 if file else ""


def _task(before: TaskEntry | None, after: TaskEntry | None) -> dict[str, Any]:
    entry = after or before
    assert entry is not None  # a name of one of the two packs
    old, new = (score_of(task) if task else None for task in (before, after))
    found = {"metric": entry.metric, "before": old, "after": new}
    if before is None or after is None:
        return {"state": "removed" if after is None else "added", **found}
    changed = [name for name in SETTINGS if getattr(before, name) != getattr(after, name)]
    details = {
        "head": _same(_sha256(before.head), _sha256(after.head)),
        "ngrams": _same(_sha256(before.ngrams), _sha256(after.ngrams)),
        "settings_changed": changed,
        "labels_added": [label for label in after.labels if label not in before.labels],
        "labels_removed": [label for label in before.labels if label not in after.labels],
    }
    same = details["head"] == details["ngrams"] == "same" and not changed and before.labels == after.labels
    return {"state": "same" if same else "changed", **found, **details}


def score_of(entry: TaskEntry) -> float | None:
    """Return a task's dev score by its own metric, as it was published, or None."""
    score = entry.scores.get("score")
    return float(score) if isinstance(score, int | float) else None
