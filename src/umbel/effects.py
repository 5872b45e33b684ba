"""Figures of a study of interference, from its finished trainings: plain values that `report` shows and JSON keeps.

A change is in points of a task's own metric, positive where sharing is better. Knows nothing of torch and trainings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umbel.intervals import Interval, over_seeds, rank_correlation, rounded
from umbel.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from umbel.interference import Design, Finished
    from umbel.records import Task

Scores = Mapping[str, float]


class Effects:
    """Reads changes out of the finished trainings of a design; what is missing is left out."""

    def __init__(self, design: Design, finished: Mapping[str, Finished], tasks: Mapping[str, Task]) -> None:
        self.design, self.finished, self.tasks = design, finished, tasks
        self._by = {(run.tasks, run.seed, run.rows): run.key for run in design.runs()}

    def scores(self, tasks: Sequence[str], seed: int, rows: int = 0) -> Scores | None:
        """Return the scores of one training, None where it is not finished."""
        found = self.finished.get(self._by.get((tuple(tasks), seed, rows), ""))
        return found.scores if found else None

    def changes(self, task: str, beside: Sequence[str], rows: int = 0) -> list[float]:
        """Return what a task gains by training `beside` others instead of alone, for each seed that has both."""
        sign = -1 if self.tasks[task].metric in LOWER_IS_BETTER else 1
        found = []
        for seed in self.design.seeds:
            alone, joint = self.scores((task,), seed, rows), self.scores(beside, seed, rows)
            if alone and joint:
                found.append(sign * (joint[task] - alone[task]))
        return found

    def figures(self) -> dict[str, Any]:
        """Return everything a report shows of the study."""
        changes = {task: self.changes(task, self.design.tasks) for task in self.design.tasks}
        known = {task: over_seeds(values) for task, values in changes.items() if values}
        return rounded(  # type: ignore[no-any-return]
            {
                "seeds": list(self.design.seeds),
                "tasks": {task: self._task(task, change) for task, change in known.items()},
                **summary(known, changes),
                "sizes": [self._size(size) for size in self.design.sizes],
                "pairs": self._pairs(),
                **self._estimates(),
                "conflict": _conflict(self._probes()),
                "drift": _drift(self._probes()),
                "trainings": len(self.finished),
                "seconds": sum(each.seconds for each in self.finished.values()),
            }
        )

    def _task(self, task: str, change: Interval) -> dict[str, Any]:
        seeds = self.design.seeds
        alone = [found[task] for seed in seeds if (found := self.scores((task,), seed))]
        joint = [found[task] for seed in seeds if (found := self.scores(self.design.tasks, seed))]
        return {
            "metric": self.tasks[task].metric,
            "alone": over_seeds(alone),
            "joint": over_seeds(joint),
            "change": change,
        }

    def _size(self, rows: int) -> dict[str, Any]:
        changes = {task: self.changes(task, self.design.tasks, rows) for task in self.design.tasks}
        known = {task: over_seeds(values) for task, values in changes.items() if values}
        found = summary(known, changes)
        return {"rows": rows, "mean_change": found["mean_change"], "changes": {t: c.value for t, c in known.items()}}

    def _pairs(self) -> list[dict[str, Any]]:
        """Return what each task of a trained pair gives the other: exact, over the seeds."""
        found = []
        for pair in self._trained_pairs():
            for giver, taker in (pair, pair[::-1]):
                values = self.changes(taker, pair)
                if values:
                    found.append({"from": giver, "to": taker, "change": over_seeds(values), "seeds": values})
        return found

    def _trained_pairs(self) -> Sequence[tuple[str, ...]]:
        return [self.design.tasks] if len(self.design.tasks) == 2 else self.design.pairs

    def _probes(self) -> list[dict[str, Any]]:
        keys = [self._by[self.design.tasks, seed, 0] for seed in self.design.seeds]
        return [probe for key in keys if key in self.finished for probe in self.finished[key].probes]

    def _estimates(self) -> dict[str, Any]:
        """Return the estimated matrices, and how their order agrees with the exact changes of pairs."""
        probes = self._probes()
        if not probes:
            return {}
        tasks = probes[0]["tasks"]
        lookahead = np.mean([probe["affinity"] for probe in probes], axis=0)
        cosine = np.mean([np.mean(list(probe["cosine"].values()), axis=0) for probe in probes], axis=0)
        pairs = self._pairs()
        matrices = {"lookahead": lookahead, "cosine": cosine}
        return {
            "order": tasks,
            "estimated": {name: matrix.tolist() for name, matrix in matrices.items()},
            "agreement": {name: _agreement(matrix, tasks, pairs) for name, matrix in matrices.items()}
            | {"between_seeds": _between_seeds(pairs)},
        }


def summary(known: Mapping[str, Interval], changes: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the mean change with its interval over seeds, the worst task, and how many surely gain or lose."""
    if not known:
        return {"mean_change": None, "worst_change": None, "gaining": [], "losing": []}
    seeds = min(len(changes[task]) for task in known)
    worst = min(known, key=lambda task: known[task].value)
    return {
        "mean_change": over_seeds([float(np.mean([changes[task][seed] for task in known])) for seed in range(seeds)]),
        "worst_change": {"task": worst, "change": known[worst]},
        "gaining": [task for task, change in known.items() if change.low > 0],
        "losing": [task for task, change in known.items() if change.high < 0],
    }


def _agreement(matrix: NDArray[np.float64], tasks: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> Any:
    """Return the rank correlation of a matrix's entries with the exact changes; None of fewer than three."""
    if len(pairs) < 3:
        return None
    places = {task: place for place, task in enumerate(tasks)}
    estimated = [float(matrix[places[pair["from"]], places[pair["to"]]]) for pair in pairs]
    return {"pairs": len(pairs), "rank_correlation": rank_correlation(estimated, [p["change"].value for p in pairs])}


def _between_seeds(pairs: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how the exact changes under one seed rank as those under another, on average.

    Where even these do not agree no estimate can: its correlation is bounded by the root of this one's for means.
    """
    seeds = min((len(pair["seeds"]) for pair in pairs), default=0)
    if len(pairs) < 3 or seeds < 2:
        return None
    columns = [[pair["seeds"][seed] for pair in pairs] for seed in range(seeds)]
    return float(np.mean([rank_correlation(a, b).value for place, a in enumerate(columns) for b in columns[:place]]))


def _conflict(probes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return by moment and group of layers the mean cosine of two tasks' gradients, and the share that conflicts."""
    found = []
    for fraction, some in _by_moment(probes):
        groups = {}
        for group in some[0]["cosine"]:
            values = np.concatenate([_off_diagonal(np.array(probe["cosine"][group])) for probe in some])
            groups[group] = {"mean": float(values.mean()), "conflicting": float((values < 0).mean())}
        found.append({"fraction": fraction, "groups": groups})
    return found


def _drift(probes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return by moment how far the shared encoding of each task's rows has moved."""
    found = []
    for fraction, some in _by_moment(probes):
        tasks = {task: float(np.mean([probe["drift"][task] for probe in some])) for task in some[0]["drift"]}
        found.append({"fraction": fraction, "mean": float(np.mean(list(tasks.values()))), "tasks": tasks})
    return found


def _by_moment(probes: Iterable[Mapping[str, Any]]) -> list[tuple[float, list[Mapping[str, Any]]]]:
    """Group the probes of all seeds by the moment they were made at."""
    groups: dict[float, list[Mapping[str, Any]]] = {}
    for probe in probes:
        groups.setdefault(round(probe["fraction"], 2), []).append(probe)
    return sorted(groups.items())


def _off_diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = matrix[~np.eye(len(matrix), dtype=bool)]
    return values
