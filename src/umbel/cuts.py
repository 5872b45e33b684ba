"""Counts what training leaves out: rows longer than `max-tokens`, which train on their beginning, and spans behind it.

Knows nothing of how rows are cut: it is given their windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from umbel.kinds.base import kind_of
from umbel.kinds.spans import TokenClassification
from umbel.records import Example, Task, Window


@dataclass
class Cut:
    """Of one task's train rows: all, those that are cut, and the spans that the beginnings do not hold whole."""

    rows: int = 0
    cut: int = 0
    spans: int = 0

    def sentence(self, task: str, limit: int) -> str:
        """Say it in one line."""
        lost = f" and {self.spans:,} of their spans are lost" if self.spans else ""
        return (
            f"tasks.{task}: {self.cut:,} of {self.rows:,} train rows are longer than max-tokens: "
            f"their first {limit} tokens are trained on{lost}"
        )


Cuts = dict[str, Cut]


def count(cuts: Cuts, tasks: Mapping[str, Task], rows: Iterable[tuple[Example, Sequence[Window]]]) -> None:
    """Count rows, each with the windows it was cut into, of which the first is trained on; `cuts` grows, by task."""
    for example, windows in rows:
        for name, gold in example.golds.items():
            cut = cuts.setdefault(name, Cut())
            cut.rows += 1
            if len(windows) > 1:
                cut.cut += 1
                if isinstance(kind_of(tasks[name].kind), TokenClassification):
                    cut.spans += sum(end > windows[0].offsets[:, 1].max() for _, end, _ in gold)


def sentences(cuts: Cuts, limit: int) -> list[str]:
    """Return a line for each task that has rows longer than `limit` tokens."""
    return [cut.sentence(task, limit) for task, cut in cuts.items() if cut.cut]
