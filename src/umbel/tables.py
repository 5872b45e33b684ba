"""Draws the tables of every command but `analyze`: backbones, packs, installation, data, scores, differences.

Knows nothing of files or models; takes plain values and records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from umbel.difference import score_of
from umbel.terminal import file_size

if TYPE_CHECKING:
    from umbel.check import Check
    from umbel.pack import Manifest


def grid(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table in the style of all; columns named in `right` hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    numbers = set(right)
    for number, heading in enumerate(columns):
        if heading in numbers:
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold", style="cyan" if number == 0 else "")
    return table


def backbones_table(backbones: Mapping[str, Mapping[str, Any]]) -> Table:
    """Draw the catalogue, and which of it is in the cache."""
    table = grid("backbone", "in cache", "size", "licence", "languages", "what it is", right=["size", "languages"])
    for name, known in backbones.items():
        here = "yes" if known["installed"] else "no"
        languages = str(len(known["languages"]))
        table.add_row(name, here, file_size(known["size"]), known["licence"], languages, known["description"])
    return table


def doctor_report(found: Mapping[str, Any]) -> Group:
    """Draw what `doctor.examine` found: facts, then extras, then problems with their remedies."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="cyan", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(found):
        facts.add_row(name, value)
    return Group(facts, Text(), *_verdict(found["problems"]))


def _facts(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    engine, processor, cache = found["engine"], found["processor"], found["cache"]
    yield "umbel", f"{found['umbel'] or 'not installed as a package'}, Python {found['python']}"
    yield "system", found["system"]
    yield "engine", f"{engine['name']} {engine['version']}, {', '.join(engine['devices']) or 'no device'}"
    yield "computes in", " ".join(engine["formats"]) or "unknown"
    memory = f", {file_size(processor['memory'])} memory" if processor["memory"] else ""
    yield "processor", f"{processor['name']}, {processor['usable_cores']} of {processor['cores']} cores usable{memory}"
    yield "instructions", _instructions(processor["instructions"])
    yield "packages", "  ".join(f"{name} {number or 'missing'}" for name, number in found["packages"].items())
    if cache["folder"]:
        yield "cache", f"{cache['folder']} ({file_size(cache['free'])} free on its disk)"
        yield "", "  ".join(f"{name} {file_size(size)}" for name, size in cache["sizes"].items())
    for name, backbone in found["backbones"].items():
        state = file_size(backbone["size"]) if backbone["installed"] else f"not fetched: {backbone['install']}"
        yield "backbone", f"{name}  {state}"
    yield "packs", " ".join(found["packs"]) or "none shipped with this Umbel"
    for name, extra in found["extras"].items():
        packages = "  ".join(f"{package} {number or 'missing'}" for package, number in extra["packages"].items())
        yield "extra", f"{name}  {packages}" + ("" if extra["installed"] else f": {extra['install']}")


def _instructions(sets: Mapping[str, bool] | None) -> str:
    if sets is None:
        return "unknown"
    there = [name for name, has in sets.items() if has]
    lacking = [name for name, has in sets.items() if not has]
    return " ".join(there or ["none"]) + (f" (not {', '.join(lacking)})" if lacking else "")


def _verdict(problems: Sequence[Mapping[str, str]]) -> Iterable[RenderableType]:
    if not problems:
        yield Text("Nothing keeps Umbel from working.", "green")
    for problem in problems:
        yield Text.assemble((problem["problem"], "bold red"), "\n  ", (problem["remedy"], "yellow"))


def check_report(found: Check) -> Group:
    """Draw a check of data: label counts by task, token lengths by file, warnings, then faults."""
    parts: list[RenderableType] = [_counts_table(found)]
    if found.lengths:
        parts += [Text(), _lengths_table(found)]
    for title, lines, style in (("warning", found.warnings, "yellow"), ("fault", found.faults, "red")):
        if lines:
            parts += [Text(f"\n{counted(len(lines), title)}", f"bold {style}"), *(Text(f"  {line}") for line in lines)]
    if not found.faults:
        parts.append(Text("\nNo faults: this data can be trained on.", "green"))
    return Group(*parts)


def _counts_table(found: Check) -> Table:
    table = grid("task", "train", "dev", "labels (train rows)", right=["train", "dev"])
    for task, counts in found.counts.items():
        labels = sorted(counts.train.items(), key=lambda item: -item[1])
        table.add_row(task, f"{counts.train_rows:,}", f"{counts.dev_rows:,}", _listed(labels))
    return table


def _listed(labels: Sequence[tuple[str, int]], most: int = 8) -> str:
    """Name the most frequent labels, and the rarest where some are left out."""
    shown = [f"{label} {rows:,}" for label, rows in labels]
    if len(shown) <= most:
        return ", ".join(shown)
    return f"{', '.join(shown[: most - 1])}, … {shown[-1]} ({len(shown)} labels)"


def _lengths_table(found: Check) -> Table:
    table = grid("file", "median", "95 %", "longest", "too long", right=["median", "95 %", "longest", "too long"])
    table.title, table.title_justify = Text("tokens per row", "dim"), "left"
    for name, lengths in found.lengths.items():
        row = (lengths.median, lengths.most, lengths.longest)
        table.add_row(name, *(f"{number:,}" for number in row), f"{lengths.over:.1%}")
    return table


def scores_table(report: Mapping[str, Mapping[str, Any]]) -> Table:
    """Draw an evaluation: each task's score by its own metric, by language where there are several, and its ECE."""
    table = grid("task", "metric", "score", "by language", "ECE", "rows", right=["score", "ECE", "rows"])
    for task, scored in report.items():
        languages = scored.get("languages") or {}
        by_language = "  ".join(f"{name} {score:.1f}" for name, score in languages.items())
        error = f"{scored['ece']:.3f}" if "ece" in scored else ""
        table.add_row(task, scored["metric"], f"{scored['score']:.2f}", by_language, error, f"{scored['rows']:,}")
    return table


def rounded_table(scores: Mapping[str, tuple[float, float]]) -> Table:
    """Draw each task's dev score without and with the encoder in 8 bits."""
    table = grid("task", "before", "in 8 bits", "change", right=["before", "in 8 bits", "change"])
    for task, (before, after) in scores.items():
        table.add_row(task, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}")
    return table


def asked_table(report: Mapping[str, Mapping[str, float]]) -> Table:
    """Draw how well questions of each kind are answered."""
    table = grid("questions", "right", "ECE", "asked", right=["right", "ECE", "asked"])
    for kind, found in report.items():
        error = f"{found['ece']:.3f}" if "ece" in found else ""
        table.add_row(kind, f"{found['score']:.2f}", error, f"{found['asked']:,.0f}")
    return table


def packs_report(packs: Iterable[Manifest]) -> Group:
    """Draw packs, each with its tasks: kind, languages, labels and dev score."""
    parts: list[RenderableType] = []
    for pack in packs:
        parts += [Text.assemble((pack.name, "bold"), f" {pack.version}  {pack.backbone.name}  {pack.licence}")]
        parts += [Text(pack.description), _pack_table(pack), *_branches(pack), Text()]
    return Group(*parts) if parts else Group(Text("no packs are shipped with this Umbel; `umbel train` makes one"))


def _pack_table(pack: Manifest) -> Table:
    table = grid("task", "kind", "lang", "labels", "metric", "dev", right=["labels", "dev"])
    for name, task in pack.tasks.items():
        labels = str(len(task.labels) or "")
        table.add_row(name, task.kind, " ".join(task.languages), labels, task.metric, _score(score_of(task)))
    return table


def _branches(pack: Manifest) -> list[Text]:
    """Say how well questions asked on the spot are answered on dev, where the pack was trained for them."""
    if pack.branches is None:
        return []
    scores = ", ".join(f"{kind} {each['score']:.1f}" for kind, each in pack.asked_scores.items())
    return [Text.assemble(("branches", "bold"), f"  questions asked on the spot, right on dev: {scores}")]


def difference_report(found: Mapping[str, Any]) -> Group:
    """Draw what `difference.compare` found: the packs, what they share, and each task."""
    titles = [f"{pack['name']} {pack['version']} on {pack['backbone']}" for pack in (found["before"], found["after"])]
    shared = f"backbone {found['backbone']}, adapter {found['adapter']}"
    if found["roundings"] != "same":
        shared += ", how it runs in 8 bits changed"
    head = Text(f"{titles[0]}  ->  {titles[1]}\n{shared}\n")
    table = grid("task", "state", "before", "after", "change", "what changed", right=["before", "after", "change"])
    for name, task in found["tasks"].items():
        old, new = task["before"], task["after"]
        change = "" if old is None or new is None else f"{new - old:+.2f}"
        table.add_row(name, task["state"], _score(old), _score(new), change, _changes(task))
    return Group(head, table)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _changes(task: Mapping[str, Any]) -> str:
    parts = ["head"] if task.get("head") == "changed" else []
    parts += ["n-grams"] if task.get("ngrams") == "changed" else []
    parts += [name.replace("_", "-") for name in task.get("settings_changed", ())]
    parts += [f"+{label}" for label in task.get("labels_added", ())]
    parts += [f"-{label}" for label in task.get("labels_removed", ())]
    return ", ".join(parts)


def counted(number: int, noun: str) -> str:
    """Return `1 fault` or `2 faults`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
