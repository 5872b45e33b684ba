"""Runs `umbel teach`: reads the examples, teaches, and tells what changed and that nothing else did.

Knows nothing of how a head is learned.
"""

from __future__ import annotations

from pathlib import Path

from umbel.ask import options_of
from umbel.errors import InputError
from umbel.loading import ready_model
from umbel.pack import shipped
from umbel.records import label_text
from umbel.rows import Faults, read_rows
from umbel.tables import counted
from umbel.teach import Row, Taught, entry_for, teach
from umbel.terminal import output, spinner


def teach_pack(
    name: str, task: str, file: Path | None, dev: Path | None, instruction: str, labels: str, out: Path | None
) -> Taught:
    """Teach a task of the pack called `name` and write the pack to `out`, or in place.

    Raises:
        InputError: a shipped pack would be changed in place, or examples or labels are not as they should be.
        DataError: a file of rows has faults.
    """
    rows = examples_of(file) if file else []
    scored = examples_of(dev) if dev else []
    model = ready_model(name)
    if out is None and name in shipped():
        raise InputError(f"{name} comes with Umbel and stays as it is", "name a folder for the new pack with --out")
    described = [(option.name, option.description) for option in options_of(labels)]
    entry = entry_for(model.pack, task, instruction, described, [*rows, *scored])
    with spinner(f"teaching {task}"):
        taught = teach(model, out or model.pack.folder, task, entry, rows, scored)
    tell(task, taught)
    return taught


def tell(task: str, taught: Taught) -> None:
    """Say what teaching gave."""
    console = output()
    if taught.examples:
        console.print(f"{task}: a head learned from {counted(taught.examples, 'example')}", soft_wrap=True)
    else:
        console.print(f"{task}: asked by its instruction until it is taught examples", soft_wrap=True)
    if taught.after is not None:
        before = f"{taught.before:.1f} before, " if taught.before is not None else ""
        console.print(f"accuracy: {before}{taught.after:.1f} now ({taught.scored_on})", soft_wrap=True)
    unchanged = taught.unchanged
    places = f"{unchanged['files']} files and manifest entries"
    answers = counted(unchanged["answers"], "answer")
    console.print(f"all else is as it was: {places} and {answers} of other tasks compared", soft_wrap=True)
    console.print(f"the pack is in {taught.pack.folder}", soft_wrap=True)


def examples_of(path: Path) -> list[Row]:
    """Return the rows of a file that have a text and a label.

    Raises:
        DataError: with every row that lacks one.
    """
    faults = Faults()
    rows = []
    for line, cells in read_rows(path, faults):
        text, label = cells.get("text"), cells.get("label")
        if not isinstance(text, str) or not text.strip():
            faults.add(path.name, f"text: found {text!r:.40}, expected text that is not blank", line)
        elif not isinstance(label, str | int) or not str(label).strip():
            faults.add(path.name, f"label: found {label!r:.40}, expected a label", line)
        else:
            rows.append(Row(text, label_text(label), line))
    if not rows and not faults:
        faults.add(path.name, "holds no rows")
    if faults:
        raise faults.error(str(path), "a row has `text` and `label`")
    return rows
