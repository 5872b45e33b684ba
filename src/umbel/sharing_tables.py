"""Draws what a study of interference found; knows nothing of files or models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from umbel.tables import grid


def interference_report(found: Mapping[str, Any]) -> RenderableType:
    """Draw each task alone and together, then what was found over all."""
    table = grid("task", "metric", "alone", "together", "change", "95 %", right=["alone", "together", "change", "95 %"])
    for name, task in found["tasks"].items():
        value, low, high = task["change"]
        alone, joint = task["alone"][0], task["joint"][0]
        table.add_row(
            name, task["metric"], f"{alone:.1f}", f"{joint:.1f}", f"{value:+.1f}", f"{low:+.1f} to {high:+.1f}"
        )
    return Group(table, Text(), *(Text(line) for line in findings(found)))


def findings(found: Mapping[str, Any]) -> Iterable[str]:
    """Yield what was found, in sentences."""
    if not found["mean_change"]:
        yield "no task has been trained both alone and together yet"
        return
    value, low, high = found["mean_change"]
    yield f"mean change by sharing: {value:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f} over {_seeds(found)}"
    worst = found["worst_change"]
    yield f"worst change: {worst['task']} {worst['change'][0]:+.2f}"
    yield f"surely gaining: {_names(found['gaining'])}; surely losing: {_names(found['losing'])}"
    for name, each in found.get("agreement", {}).items():
        if isinstance(each, Mapping):
            rho, low, high = each["rank_correlation"]
            told = f"rank correlation {rho:.2f} ({low:.2f} to {high:.2f})"
            yield f"estimate by {name} against {each['pairs']} exact values: {told}"
        elif each is not None:
            yield f"exact values of one seed against another's: rank correlation {each:.2f}"


def _seeds(found: Mapping[str, Any]) -> str:
    count = len(found["seeds"])
    return f"{count} seed" + ("s" if count != 1 else "")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
