"""A few tasks of a declaration with a few of their rows each, all alike: what trainings that are compared train on.

Every task brings rows of its own, with its own answer alone, so that leaving one out changes nothing for another.
Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from umbel.data import Data
from umbel.evaluate import spread
from umbel.kinds.base import kind_of
from umbel.records import Example, Task

if TYPE_CHECKING:
    from umbel.spec import PackSpec

ORDER = 20_030  # seed of the order in which rows are taken, the same for every training


@dataclass(frozen=True)
class Budget:
    """What each task gets in every training: `drawn` rows out of at most `rows` of its own, `step_rows` a step.

    So a task sees the same rows in about as many steps alone and beside others. Scored on at most `dev_rows` rows.
    """

    rows: int = 600
    drawn: int = 1200
    step_rows: int = 12
    dev_rows: int = 300
    max_tokens: int = 96


@dataclass(frozen=True)
class Rows:
    """The rows of every task that trains, taken once; `of` cuts out what one training needs."""

    spec: PackSpec
    tasks: Mapping[str, Task]
    train: Mapping[str, Sequence[Example]]
    dev: Mapping[str, Sequence[Example]]

    def of(
        self,
        names: Sequence[str],
        budget: Budget,
        seed: int,
        rows: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> tuple[PackSpec, Data]:
        """Return the declaration and data of the tasks called `names`; `rows` limits single tasks further.

        `settings` replace the declaration's own, by their names in Python.
        """
        limits = {name: min(budget.rows, (rows or {}).get(name, budget.rows)) for name in names}
        train = {name: list(self.train[name][: limits[name]]) for name in names}
        dev = {name: list(spread(self.dev[name], budget.dev_rows)) for name in names}
        total = sum(map(len, train.values()))
        epochs = budget.drawn * len(names) / total
        changed = {
            "epochs": epochs,
            "evaluate_every": epochs,
            "patience": 0,
            "dev_rows": 1,  # scored once, calibrated, when the training is over
            "batch_rows": budget.step_rows * len(names),
            "batch_tokens": budget.step_rows * len(names) * budget.max_tokens,
            "max_tokens": budget.max_tokens,
            "mixing": self.spec.train.mixing.model_copy(update={"by": "size"}),
            "seed": seed,
            "teachers": "",
            "questions": "",
            "keep_vectors": 0.0,
        }
        declared = tuple(task for task in self.spec.tasks if task.name in names)
        spec = self.spec.model_copy(
            update={"tasks": declared, "train": self.spec.train.model_copy(update=changed | settings)}
        )
        shares = {name: budget.drawn / len(train[name]) for name in names}  # as many rows drawn of each
        return spec, Data({name: self.tasks[name] for name in names}, train, dev, shares)


def rows_of(spec: PackSpec, data: Data, only: Collection[str] = ()) -> Rows:
    """Take the rows of every task that trains, in an order of its own that no other task changes."""
    names = [name for name, task in data.answered.items() if kind_of(task.kind).trained and (not only or name in only)]
    tasks = {name: data.tasks[name] for name in names}
    return Rows(
        spec,
        tasks,
        {name: _shuffled(_own(data.train_of(name), name)) for name in names},
        {name: _own(data.dev_of(name), name) for name in names},
    )


def _own(examples: Any, task: str) -> list[Example]:
    return [replace(example, golds={task: example.golds[task]}) for example in examples]


def _shuffled(examples: list[Example]) -> list[Example]:
    order = np.random.default_rng(ORDER).permutation(len(examples))
    return [examples[place] for place in order]
