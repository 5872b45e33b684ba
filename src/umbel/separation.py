"""Runs `umbel train --sharing`: gives tasks of a jointly trained pack parts of their own where that is worth its cost.

Knows nothing of how a part is trained and of how a choice is made (`parts`, `deciding`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel import load as load_model
from umbel.card import card_of
from umbel.data import load
from umbel.deciding import (
    Choice,
    Guard,
    Standing,
    Trial,
    decide,
    explain,
    gain_of,
    guarded_in_words,
    in_words,
    mean_gain,
    over_alone,
)  # fmt: skip
from umbel.errors import InputError
from umbel.intervals import Interval, rounded
from umbel.loading import backbone_of, backbone_of_pack, ready_backbone
from umbel.pack import Pack
from umbel.packing import write_training
from umbel.parts import PARTS, STATE, WHOLE, Parts, together
from umbel.report import read_json
from umbel.resampling import gain_interval, score_interval
from umbel.runtime import Model
from umbel.spec import PackSpec
from umbel.taught import taught_rows
from umbel.teach import prove
from umbel.terminal import output, row_bar, spinner
from umbel.training import PACK
from umbel.ways import ALL, GROUPS, TAUGHT, Cost, Way, cost_of, ways_of

if TYPE_CHECKING:
    from umbel.detaching import Forked
    from umbel.records import Example

Plain = dict[str, Any]
NOTHING = Interval(0.0, 0.0, 0.0)


def share_nothing(spec: PackSpec, folder: Path) -> Pack:
    """Train every task alone, and write the pack in which each has all layers to itself.

    Raises:
        DataError: the data has faults.
    """
    with spinner(f"reading the data of {spec.name}"):
        data = load(spec)
    parts = Parts(spec, data, ready_backbone(backbone_of(spec)), folder)
    return _written(parts.nothing_shared(), parts, {"sharing": "none"})


def share_by_measure(spec: PackSpec, folder: Path, joint: Pack, study: Path | None = None) -> Pack:
    """Decide for each task of a jointly trained pack what it has of its own, and write that pack to `folder`.

    `study` holds figures of `umbel interference`: which tasks surely lose by sharing, and beside whom.

    Raises:
        InputError: the pack is of another declaration, or the study is none.
    """
    figures = _figures(study)
    spec = _declared(spec, joint)
    with spinner(f"reading the data of {spec.name}"):
        data = load(spec)
    parts = Parts(spec, data, backbone_of_pack(joint), folder, joint.manifest.model_dump_json())
    return Separation(parts, joint, figures).run()


def forget(folder: Path) -> None:
    """Delete what was measured and trained of parts, if anything."""
    (folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _figures(study: Path | None) -> Plain:
    found = read_json(study, "the figures of a study") if study else {}
    if study and (not isinstance(found, dict) or not isinstance(found.get("tasks"), dict)):
        raise InputError(f"{study}: holds no figures of `umbel interference`", "name its interference.json")
    return dict(found)


def _declared(spec: PackSpec, joint: Pack) -> PackSpec:
    """Return the declaration with the labels that the pack found in its data."""
    known = joint.manifest.tasks
    if missing := [task.name for task in spec.tasks if task.name not in known]:
        raise InputError(f"{joint.folder}: has no task {missing[0]}", "start from a pack of the same declaration")
    tasks = tuple(task.model_copy(update={"labels": known[task.name].labels}) for task in spec.tasks)
    return spec.model_copy(update={"tasks": tasks})


def _written(pack: Pack, parts: Parts, notes: Plain) -> Pack:
    """Write a draft to its place with what is known of its separation, and take the draft away."""
    found = write_training(pack, parts.folder / PACK, {**pack.manifest.training, "separation": notes}, card_of)
    parts.tidy()
    return found


class Separation:
    """Measures how the tasks of a joint pack stand, tries parts of their own, and compares what comes of it."""

    def __init__(self, parts: Parts, joint: Pack, study: Plain) -> None:
        self.parts, self.joint, self.study = parts, joint, study
        self.settings, self.tasks = parts.spec.separation, parts.data.tasks
        shape = parts.backbone.shape
        self.costs = {
            way: cost_of(way, shape, self.settings.rank) for way in [*ways_of(shape.layers), *GROUPS, TAUGHT, WHOLE]
        }
        self.ways = ways_of(shape.layers)
        self._before: dict[str, Forked] = {}
        self._shared: tuple[Sequence[str], str] = ((), "")  # the part for several: their names, and its own
        self.budget = Cost(round(self.settings.megabytes * 1e6), self.settings.latency - 1)

    def run(self) -> Pack:
        """Decide, guard, and write the pack."""
        _say(
            f"separating {self.joint.manifest.name}: at most {self.settings.megabytes:g} MB of own parts, and "
            f"{self.settings.latency:g} encodings of a text when all tasks are asked"
        )
        tasks = [task for task in self.parts.tasks if task not in self.joint.forks]
        self._score([task for task in tasks if task not in self.parts.state.together])
        choices = decide(
            [self.standing(task) for task in tasks],
            self.ways,
            self.costs,
            self.budget,
            self.trial,
            self.together,
        )
        pack, guard = self.guarded(choices)
        for choice in choices.values() if guard.took == "auto" else ():
            _say(explain(choice)["en"])
        _say(guarded_in_words(guard)["en"])
        return _written(pack, self.parts, self._notes(choices, guard))

    def standing(self, task: str) -> Standing:
        """Return how a task stands when it shares all."""
        joint = Interval(*self.parts.state.together[task])
        alone, rows = self._alone(task, joint.value), sum(1 for _ in self.parts.data.train_of(task))
        return Standing(task, self.tasks[task].metric, joint, alone, self._hurt_by(task), rows)

    def _score(self, tasks: Sequence[str]) -> None:
        """Keep the dev scores of some tasks as they stand in the joint pack."""
        if not tasks:
            return
        before = self.parts.before(self.joint, tasks)
        for task in tasks:
            self._before[task] = before
            found = score_interval(self.tasks[task], before.golds[task], before.predictions[task])
            self.parts.state.together[task] = list(found)
        self.parts.save()

    def _as_it_was(self, task: str) -> Forked:
        """Return answers that have those of the task as it stands in the joint pack."""
        if task not in self._before:
            self._before[task] = self.parts.before(self.joint, [task])
        return self._before[task]

    def _alone(self, task: str, joint: float) -> float:
        """Return the score alone: what the study's change makes it, else the pack's record, else of a training now."""
        if task in self.study.get("tasks", {}):
            change = Interval(*self.study["tasks"][task]["change"])
            surely = change if change.high < 0 else NOTHING
            return joint - gain_of(self.tasks[task].metric, 0.0, surely.value)
        recorded = self.joint.manifest.tasks[task].scores.get("alone")
        return float(recorded) if recorded is not None else self.parts.alone(task)

    def _hurt_by(self, task: str) -> str:
        """Return the task that cost this one most when both were trained as a pair, where a study trained pairs."""
        pairs = [pair for pair in self.study.get("pairs", []) if pair["to"] == task and pair["change"][0] < 0]
        return str(min(pairs, key=lambda pair: pair["change"][0])["from"]) if pairs else ""

    def trial(self, task: str, way: Way) -> Trial:
        """Try a way for a task, or return what was found when it was tried.

        Where there is nothing to teach, the trial is that of all layers anew.
        """
        kept = self.parts.state.trials.setdefault(task, {})
        if way.name not in kept:
            _say(f"trying {way.name} for {task}")
            passes = max(self.settings.epochs, self.parts.passes([task]))
            taught = self._taught(task) if way == TAUGHT else ()
            if way == TAUGHT and not taught:
                return self.trial(task, WHOLE)
            forked = self.parts.trained(self.joint, [task], way, way.name, passes, taught)
            kept[way.name] = self._measured(task, forked)
            self.parts.save()
        return self._trial(way, kept[way.name])

    def _taught(self, task: str) -> Sequence[Example]:
        """Return rows more for a task, labelled by the part that it had together with others."""
        tasks, name = self._shared
        with spinner("compiling what teaches"):
            teacher = load_model(self.parts.put(self.joint, tasks, name).folder)
        with row_bar(f"comparing and labelling texts for {task}") as told:
            found = taught_rows(self.parts.data, task, teacher, told)
        _say(f"{task} is taught {len(found):,} texts of other tasks")
        return found

    def together(self, tasks: Sequence[str], way: Way) -> dict[str, Trial]:
        """Try a way for some tasks together, or return what was found when it was tried."""
        kept, name = self.parts.state.trials, together(tasks, way)
        self._shared = tasks, name
        if not all(name in kept.get(task, {}) for task in tasks):
            _say(f"trying {in_words(way)} for {', '.join(tasks)}")
            passes = max(self.settings.epochs, self.parts.passes(tasks))
            forked = self.parts.trained(self.joint, tasks, way, name, passes)
            for task in tasks:
                kept.setdefault(task, {})[name] = self._measured(task, forked)
            self.parts.save()
        return {task: replace(self._trial(way, kept[task][name]), together=tuple(tasks)) for task in tasks}

    def _measured(self, task: str, forked: Forked) -> Plain:
        """Return what is kept of a trial."""
        before = self._as_it_was(task)
        gain = gain_interval(self.tasks[task], before.golds[task], before.predictions[task], forked.predictions[task])
        size = sum(value.nbytes for value in forked.fork.values())
        return {"score": float(forked.entries[task].scores["score"]), "gain": list(gain), "bytes": size}

    def _trial(self, way: Way, found: Plain) -> Trial:
        cost = Cost(found["bytes"], self.costs[way].encodings)
        return Trial(way, found["score"], Interval(*found["gain"]), cost)

    def guarded(self, choices: Mapping[str, Choice]) -> tuple[Pack, Guard]:
        """Return the pack of the choices, or that of sharing all or nothing where it is better beyond noise."""
        pack, gains = self._composed(choices)
        over_all = mean_gain([gains.get(task, NOTHING) for task in choices])
        alone = [over_alone(choice) for choice in choices.values()]
        over_nothing = mean_gain([each for each in alone if each]) if all(alone) else None
        if over_all.high < 0:
            return self.joint, Guard(over_all, over_nothing, "all")
        if over_nothing and over_nothing.high < 0 and self._affords_nothing_shared():
            return self.parts.nothing_shared(), Guard(over_all, over_nothing, "none")
        return pack, Guard(over_all, over_nothing)

    def _composed(self, choices: Mapping[str, Choice]) -> tuple[Pack, dict[str, Interval]]:
        """Return the pack of the choices, each proven to move nothing else, and what the runtime's answers gain."""
        taken = {task: choice.chosen for task, choice in choices.items() if choice.chosen}
        if not taken:
            return self.joint, {}
        parts: dict[tuple[tuple[str, ...], str], list[str]] = {}
        for task, trial in taken.items():
            name = together(trial.together, trial.way) if trial.together else trial.way.name
            parts.setdefault((trial.together or (task,), name), []).append(task)
        pack = self.joint
        with spinner("compiling, and comparing what must not have changed"):
            first = model = load_model(pack.folder)
            for (tasks, name), takers in parts.items():
                pack = self.parts.put(pack, tasks, name, takers)
                later = load_model(pack.folder)
                prove(model, later, *takers)
                model = later
            return pack, {task: self._gain(task, first, model) for task in taken}

    def _gain(self, task: str, first: Model, second: Model) -> Interval:
        rows = list(self.parts.data.dev_of(task))
        texts = [row.text for row in rows]
        before, after = ([found[task] for found in model(texts, [task])] for model in (first, second))
        return gain_interval(second.tasks[task], [row.golds[task] for row in rows], before, after)

    def _affords_nothing_shared(self) -> bool:
        """Tell whether the budget holds all layers for each task, and each was trained so."""
        every = sum((self.costs[WHOLE] for _ in self.parts.tasks), Cost())
        return every.within(self.budget) and self.parts.state.alone.keys() >= set(self.parts.tasks)

    def _notes(self, choices: Mapping[str, Choice], guard: Guard) -> Plain:
        """Return what the pack, its card and its report keep of the decision."""
        whole = guard.took == "none"
        own = [self.costs[WHOLE] if whole else choice.cost for choice in choices.values() if guard.took != "all"]
        cost = sum(own, Cost())
        notes = {
            "sharing": guard.took,
            "budget": {"megabytes": self.settings.megabytes, "latency": self.settings.latency},
            "megabytes": cost.bytes / 1e6,
            "latency": 1 + cost.encodings,
            "over_all": list(guard.over_all),
            "over_nothing": list(guard.over_nothing) if guard.over_nothing else None,
            "summary": guarded_in_words(guard),
            "tasks": {task: _plain(choice, guard) for task, choice in choices.items()},
        }
        return rounded(notes)  # type: ignore[no-any-return]


def _plain(choice: Choice, guard: Guard) -> Plain:
    standing = choice.standing
    way = {"auto": choice.way, "all": ALL, "none": WHOLE}[guard.took]
    trials = {t.way.name: {"score": t.score, "gain": list(t.gain), "bytes": t.cost.bytes} for t in choice.trials}
    return {
        "way": way.name,
        "joint": list(standing.joint),
        "alone": standing.alone,
        "trials": trials,
        "why": explain(choice) if guard.took == "auto" else guarded_in_words(guard),
    }


def _say(sentence: str) -> None:
    output().print(sentence, soft_wrap=True)
