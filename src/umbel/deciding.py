"""Decides task by task how much it shares, from dev scores that were measured, within a budget; says why in sentences.

A task leaves what all share only where its dev rows say so: where it scores more than a point below itself trained
alone, and some way of its own surely scores better on the same rows. Knows nothing of trainings: it asks for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from umbel.intervals import Interval
from umbel.metrics import LOWER_IS_BETTER
from umbel.ways import ALL, GROUPS, TAUGHT, Cost, Way

Sentence = dict[str, str]  # by language: en, zh

LOSS = 1.0  # points that a task may lose without anything being done: less is not worth a second encoding
TOGETHER = 3  # tasks that lose, from which on one part for all of them costs less than one for each
SMALL = 2000  # train rows below which a task is to gain by what others know, and how much over itself alone
AIM = 2.0


@dataclass(frozen=True)
class Standing:
    """A task that shares all: its dev score with its interval over resampled rows, and its score trained alone.

    `alone` is None where it is not known; `hurt_by` is the task that cost it most beside it alone, if a study says so;
    `rows` are its train rows, 0 where they were not counted.
    """

    task: str
    metric: str
    joint: Interval
    alone: float | None
    hurt_by: str = ""
    rows: int = 0

    @property
    def loss(self) -> float:
        """Points lost by sharing, negative where it gains; 0 where it is not known."""
        if self.alone is None:
            return 0.0
        return gain_of(self.metric, self.joint.value, self.alone)

    @property
    def noise(self) -> float:
        """Half the interval of its dev score."""
        return (self.joint.high - self.joint.low) / 2


@dataclass(frozen=True)
class Trial:
    """One way tried: its dev score, and its gain over sharing all on the same rows, positive where it is better.

    `together` are the tasks that a part was trained for, where they are several.
    """

    way: Way
    score: float
    gain: Interval
    cost: Cost
    together: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        """Tell whether it is better by more than noise."""
        return self.gain.low > 0

    def worth(self, there: Way | None) -> bool:
        """Tell whether to take it: surely better, or better at all where it is the part that is `there` for others."""
        return self.way == there and self.gain.value > 0 if self.together else self.sure


@dataclass(frozen=True)
class Choice:
    """The way of one task, what was tried for it, and whether the budget kept a way from being tried."""

    standing: Standing
    way: Way = ALL
    trials: tuple[Trial, ...] = ()
    short: bool = False

    @property
    def chosen(self) -> Trial | None:
        """The trial of the way that was taken; None where the task shares all."""
        return next((trial for trial in self.trials if trial.way == self.way), None)

    @property
    def cost(self) -> Cost:
        """What the way adds."""
        return self.chosen.cost if self.chosen else Cost()


Trying = Callable[[str, Way], Trial]
TryingTogether = Callable[[Sequence[str], Way], Mapping[str, Trial]]


def gain_of(metric: str, before: float, after: float) -> float:
    """Return by how much a score is better than the one before, whichever direction its metric has."""
    return before - after if metric in LOWER_IS_BETTER else after - before


def decide(
    standings: Sequence[Standing],
    ways: Sequence[Way],
    costs: Mapping[Way, Cost],
    budget: Cost,
    trying: Trying,
    together: TryingTogether = lambda tasks, way: {},
) -> dict[str, Choice]:
    """Return every task's choice, those that lose most by sharing first, as long as the budget lasts.

    Where several lose, one part is tried for them `together` first: all layers anew where the budget holds them, else,
    or where that surely helps none of them, an adapter. `ways` come in the order of their cost. Of a task they are
    tried until one comes near the score alone, within `LOSS`; where none does, the cheapest is taken that is as good as
    the best of them, within noise. Then what is left of the budget goes to small tasks that the part for several can
    teach.
    """
    ordered = sorted(standings, key=lambda each: -each.loss)
    groups, there = _grouped(ordered, costs, budget, together)
    left = _less(budget, costs[there]) if there else budget
    found: dict[str, Choice] = {}
    for standing in ordered:
        affordable = [way for way in ways if costs[way].within(left)]
        first = [trials[standing.task] for trials in groups.values() if standing.task in trials]
        choice = _choose(standing, affordable, len(affordable) < len(ways), trying, first, there)
        found[standing.task] = choice
        left = left if choice.way == there else _less(left, choice.cost)
    for task in groups.get(there, {}) if there else ():
        room = left if found[task].way == there else left + found[task].cost
        found[task] = _taught(found[task], room, costs, trying)
        left = left if found[task].way == there else _less(room, found[task].cost)
    takers = [task for task, choice in found.items() if choice.way == there]
    found |= {task: _paying(found[task], len(takers)) for task in takers}
    return {standing.task: found[standing.task] for standing in standings}


def _grouped(
    standings: Sequence[Standing], costs: Mapping[Way, Cost], budget: Cost, together: TryingTogether
) -> tuple[Mapping[Way, Mapping[str, Trial]], Way | None]:
    """Return the trials of parts for all tasks that lose, by way and task, and the way in which they have one, if any.

    An adapter takes as long to train as all layers, and gives less (docs/log.md): it is for budgets that hold no more.
    """
    losing = [standing.task for standing in standings if standing.loss > LOSS]
    found: dict[Way, Mapping[str, Trial]] = {}
    for way in reversed(GROUPS) if len(losing) >= TOGETHER else ():
        if way in costs and costs[way].within(budget):
            found[way] = together(losing, way)
            if any(trial.sure for trial in found[way].values()):
                return found, way
    return found, None


def _taught(choice: Choice, room: Cost, costs: Mapping[Way, Cost], trying: Trying) -> Choice:
    """Return a small task's choice after it was taught, which it keeps where that is more than a point better."""
    standing, gain = choice.standing, choice.chosen.gain.value if choice.chosen else 0.0
    fits = TAUGHT in costs and costs[TAUGHT].within(room)
    if not fits or not 0 < standing.rows < SMALL or gain - standing.loss >= AIM:
        return choice
    trial = trying(standing.task, TAUGHT)
    trials = (*(each for each in choice.trials if each.way != trial.way), trial)  # all anew, if nothing is taught
    way = trial.way if trial.sure and trial.gain.value > gain + LOSS else choice.way
    return replace(choice, way=way, trials=trials)


def _less(budget: Cost, cost: Cost) -> Cost:
    return Cost(budget.bytes - cost.bytes, budget.encodings - cost.encodings)


def _paying(choice: Choice, takers: int) -> Choice:
    """Return the choice with its share of what the part costs that it has together with others."""
    trials = [
        replace(t, cost=Cost(t.cost.bytes // takers, t.cost.encodings / takers)) if t.way == choice.way else t
        for t in choice.trials
    ]
    return replace(choice, trials=tuple(trials))


def _choose(
    standing: Standing, ways: Sequence[Way], short: bool, trying: Trying, first: Sequence[Trial], there: Way | None
) -> Choice:
    if standing.loss <= LOSS:
        return Choice(standing)
    trials: list[Trial] = []
    for trial in itertools.chain(first, (trying(standing.task, way) for way in ways)):
        trials.append(trial)
        if trial.worth(there) and trial.gain.value >= standing.loss - LOSS:
            return Choice(standing, trial.way, tuple(trials))
    worth = [trial for trial in trials if trial.worth(there)]
    if not worth:
        return Choice(standing, ALL, tuple(trials), short)
    best = max(worth, key=lambda trial: trial.gain.value)
    enough = best.gain.value - (best.gain.high - best.gain.low) / 2
    taken = next(trial for trial in worth if trial.gain.value >= enough)
    return Choice(standing, taken.way, tuple(trials), short)


@dataclass(frozen=True)
class Guard:
    """The final comparison: mean gain over sharing all and over sharing nothing, with noise; `alone` may be unknown."""

    over_all: Interval
    over_nothing: Interval | None
    took: str = "auto"  # auto, all or none


def mean_gain(gains: Sequence[Interval]) -> Interval:
    """Return the mean of independent gains; its half interval is the root of their squares' sum, over their number.

    >>> mean_gain([Interval(1.0, 0.0, 2.0), Interval(0.0, 0.0, 0.0)])
    Interval(value=0.5, low=0.0, high=1.0)
    """
    count = max(len(gains), 1)
    value = sum(gain.value for gain in gains) / count
    half = sum(((gain.high - gain.low) / 2) ** 2 for gain in gains) ** 0.5 / count
    return Interval(value, value - half, value + half)


def over_alone(choice: Choice) -> Interval | None:
    """Return a task's gain over itself trained alone; the two scores are of models, not of rows, that differ.

    Its noise is that of two scores on dev rows of this number. None where the score alone is not known.
    """
    if choice.standing.alone is None:
        return None
    score = choice.chosen.score if choice.chosen else choice.standing.joint.value
    gain, half = gain_of(choice.standing.metric, choice.standing.alone, score), 2**0.5 * choice.standing.noise
    return Interval(gain, gain - half, gain + half)


def explain(choice: Choice) -> Sentence:
    """Say what a task does and why, in English and Chinese."""
    standing, trial = choice.standing, choice.chosen
    joint = standing.joint.value
    if trial:
        return _moved(choice, trial)
    if standing.alone is None:
        return _said(
            f"{standing.task} shares all: its score alone is not known.",
            f"{standing.task} 共享全部：单独训练的得分未知。",
        )
    if standing.loss <= 0:
        return _said(
            f"{standing.task} shares all: {joint:.2f} together, {standing.alone:.2f} alone.",
            f"{standing.task} 共享全部：联合 {joint:.2f}，单独 {standing.alone:.2f}。",
        )
    if standing.loss <= LOSS:
        return _said(
            f"{standing.task} shares all: it loses {standing.loss:.2f} against alone, no more than a point.",
            f"{standing.task} 共享全部：比单独低 {standing.loss:.2f}，未超过一个百分点。",
        )
    return _unmoved(choice)


def _moved(choice: Choice, trial: Trial) -> Sentence:
    standing = choice.standing
    hurt = f", most beside {standing.hurt_by}" if standing.hurt_by else ""
    hurt_zh = f"，与 {standing.hurt_by} 一起时最多" if standing.hurt_by else ""
    rest_en = f"{standing.joint.value:.2f} shared, {standing.alone:.2f} alone{hurt}, {trial.score:.2f} so"
    rest_zh = f"共享 {standing.joint.value:.2f}，单独 {standing.alone:.2f}{hurt_zh}，如此 {trial.score:.2f}"
    gain = f"{trial.gain.value:+.2f}, {trial.gain.low:+.2f} to {trial.gain.high:+.2f}"
    gain_zh = f"{trial.gain.value:+.2f}，{trial.gain.low:+.2f} 至 {trial.gain.high:+.2f}"
    size = f"{trial.cost.bytes / 1e6:.2f} MB and {trial.cost.encodings:.2f} of an encoding"
    size_zh = f"{trial.cost.bytes / 1e6:.2f} MB 与 {trial.cost.encodings:.2f} 次编码"
    others = [name for name in trial.together if name != standing.task]
    beside, beside_zh = (f" with {', '.join(others)}", f"（{'、'.join(others)}）") if others else ("", "")
    more = "" if trial.sure else " Not surely better, but the part is there for the others."
    more_zh = "" if trial.sure else "未必更好，但该部分已为其他任务而有。"
    more += " More would not fit into the budget." if choice.short else ""
    more_zh += "更多则超出预算。" if choice.short else ""
    return _said(
        f"{standing.task} has {in_words(trial.way)}{beside}: {rest_en} ({gain}); it costs {size}.{more}",
        f"{standing.task} 使用{_in_chinese(trial.way)}{beside_zh}：{rest_zh}（{gain_zh}）；代价为 {size_zh}。{more_zh}",
    )


def _unmoved(choice: Choice) -> Sentence:
    standing = choice.standing
    tried = ", ".join(f"{in_words(t.way)} {t.gain.value:+.2f}" for t in choice.trials) or "nothing"
    tried_zh = "，".join(f"{_in_chinese(t.way)} {t.gain.value:+.2f}" for t in choice.trials) or "无"
    more = "; more does not fit into the budget" if choice.short else ""
    more_zh = "；更多则超出预算" if choice.short else ""
    return _said(
        f"{standing.task} shares all, though it loses {standing.loss:.2f} against alone: nothing tried is surely "
        f"better ({tried}){more}.",
        f"{standing.task} 共享全部，尽管比单独低 {standing.loss:.2f}："
        f"尝试过的方式均未确定更好（{tried_zh}）{more_zh}。",
    )


def in_words(way: Way) -> str:
    """Say a way in English."""
    return {
        "all": "all shared",
        "head": "its own head alone, trained on what the others left",
        "adapter": f"an adapter of its own from layer {way.layer}",
        "group": "an adapter of all layers together",
        "group-fork": "all layers trained anew together",
        "fork": f"its own layers from layer {way.layer}" if way.layer else "all layers trained anew",
        "taught": "all layers trained anew, also on others' texts labelled by the part together",
    }[way.kind]


def _in_chinese(way: Way) -> str:
    return {
        "all": "全部共享",
        "head": "单独训练的输出头",
        "adapter": f"自第 {way.layer} 层起的专用适配器",
        "group": "与其他任务合用的全层适配器",
        "group-fork": "与其他任务合用、重新训练的全部层",
        "fork": f"自第 {way.layer} 层起的专用层" if way.layer else "重新训练的全部层",
        "taught": "重新训练的全部层，并学习合用部分为其他任务文本所标的标签",
    }[way.kind]


def _said(english: str, chinese: str) -> Sentence:
    return {"en": english, "zh": chinese}


def guarded_in_words(guard: Guard) -> Sentence:
    """Say how what was chosen compares with sharing all and with sharing nothing, in mean points over all tasks."""
    over = f"{guard.over_all.value:+.2f} ({guard.over_all.low:+.2f} to {guard.over_all.high:+.2f})"
    over_zh = f"{guard.over_all.value:+.2f}（{guard.over_all.low:+.2f} 至 {guard.over_all.high:+.2f}）"
    english, chinese = f"Mean gain over sharing all {over}", f"比全部共享平均提高 {over_zh}"
    if guard.over_nothing:
        alone = guard.over_nothing
        english += f", over sharing nothing {alone.value:+.2f} ({alone.low:+.2f} to {alone.high:+.2f})"
        chinese += f"，比完全不共享平均提高 {alone.value:+.2f}（{alone.low:+.2f} 至 {alone.high:+.2f}）"
    taken = {
        "auto": ("", ""),
        "all": (": so everything stays shared", "：因此保持全部共享"),
        "none": (": so nothing is shared, which the budget allows", "：因此完全不共享，预算允许"),
    }[guard.took]
    short = guard.took == "auto" and guard.over_nothing is not None and guard.over_nothing.high < 0
    more = (": sharing nothing would be better, but the budget does not hold it", "：完全不共享会更好，但超出预算")
    taken = more if short else taken
    return _said(english + taken[0] + ".", chinese + taken[1] + "。")
