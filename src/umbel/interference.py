"""What each task gains or loses by sharing: trainings of tasks alone, together and in pairs, compared like with like.

Every training gives a task the same rows in about as many steps (`subsets.Budget`). What is finished stands in one
file, so that a broken-off study goes on; `effects` makes one plain record of it, which `report` shows. Knows nothing of
the command line: it tells a function how many rows are drawn.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from umbel.affinity import Prober
from umbel.cache import atomic_write
from umbel.errors import InputError
from umbel.frozen import FrozenEncoder, HiddenStates
from umbel.publish import calibrated_scores
from umbel.subsets import Budget, Rows
from umbel.train import Trainer

if TYPE_CHECKING:
    from umbel.backbones.bert import BertEncoder
    from umbel.balance import Plan
    from umbel.checkpoint import Progress
    from umbel.data import Data
    from umbel.train import Status
    from umbel.weights import Backbone

STATE, STATES, NOW = "runs.json", "encodings.safetensors", "now"
EXACT_TASKS = 8  # packs of at most so many tasks have all pairs trained
SAMPLED_PAIRS = 30  # of larger ones, to check the estimates on
CHEAP_RATES: dict[str, Any] = {
    "learning_rate": 3e-3,
    "head_learning_rate": 5e-3,
    "precision": "float32",
    "sharing": "full",
}

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """One training: `tasks` together under a `seed`, each with at most `rows` rows (0: the budget's)."""

    tasks: tuple[str, ...]
    seed: int
    rows: int = 0
    probed: bool = False

    @property
    def key(self) -> str:
        """Name the run in the file of finished ones."""
        return f"{'+'.join(self.tasks)} seed {self.seed}" + (f" rows {self.rows}" if self.rows else "")


@dataclass(frozen=True)
class Design:
    """Which trainings a study makes. `pairs` are trained exactly; `sizes` are rows a task, below the budget's."""

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...]
    sizes: tuple[int, ...] = ()

    def runs(self) -> Iterator[Run]:
        """Yield the trainings, those first that a first answer needs."""
        for seed in self.seeds:
            yield Run(self.tasks, seed, probed=True)
            yield from (Run((task,), seed) for task in self.tasks)
        if len(self.tasks) > 2:
            yield from (Run(pair, seed) for seed in self.seeds for pair in self.pairs)
        for size in self.sizes:
            for seed in self.seeds:
                yield Run(self.tasks, seed, size)
                yield from (Run((task,), seed, size) for task in self.tasks)


def design_of(tasks: Sequence[str], seeds: int, pairs: int | None = None, sizes: Sequence[int] = ()) -> Design:
    """Return the design for a pack's tasks: all pairs of a small pack, else `pairs` of them drawn at random.

    More pairs, seeds or sizes keep what is trained already.

    Raises:
        InputError: there are fewer than two tasks.
    """
    if len(tasks) < 2:
        raise InputError(f"found {len(tasks)} task that trains, expected two at least", "sharing takes two tasks")
    every = list(combinations(tasks, 2))
    wanted = pairs if pairs is not None else len(every) if len(tasks) <= EXACT_TASKS else SAMPLED_PAIRS
    order = np.random.default_rng(1).permutation(len(every))
    chosen = tuple(every[place] for place in order[:wanted])
    return Design(tuple(tasks), tuple(range(1, seeds + 1)), chosen, tuple(sizes))


@dataclass
class Finished:
    """What one training gave."""

    scores: dict[str, float]
    seconds: float
    rows: int
    probes: list[dict[str, Any]] = field(default_factory=list)


class Quiet:
    """Tells how many rows a training has drawn, and probes it where it should be."""

    def __init__(self, told: Callable[[int], None] = lambda rows: None, prober: Prober | None = None) -> None:
        self.told, self.prober = told, prober

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Say nothing."""

    def stepped(self, status: Status) -> None:
        """Tell the rows, and let the prober look."""
        self.told(status.rows)
        if self.prober:
            self.prober.stepped(status)

    def evaluated(self, record: object) -> None:
        """Say nothing."""


class Study:
    """Makes the trainings of a design, each kept as soon as it is finished.

    With `states` every training runs over kept hidden states of the frozen backbone and shares a small adapter: the
    cheap mode. Without, it tunes the backbone as the declaration says.
    """

    def __init__(
        self, rows: Rows, backbone: Backbone, folder: Path, budget: Budget, states: HiddenStates | None = None
    ) -> None:
        self.rows, self.backbone, self.folder, self.budget, self.states = rows, backbone, folder, budget, states
        self.finished: dict[str, Finished] = {}
        self._restore()

    @property
    def mode(self) -> str:
        """Say what is shared: `cheap` or `full`."""
        return "cheap" if self.states is not None else "full"

    def prepare(self, tasks: Sequence[str], told: Callable[[int], None] = lambda rows: None) -> None:
        """Encode all train and dev rows of the tasks once; needed in the cheap mode, and nothing else."""
        if self.states is None:
            return
        cut = self.backbone.tokenizer.windows_many
        self.states.restore(self.folder / STATES)
        known = len(self.states)
        _, data = self.rows.of(tasks, self.budget, 1)
        train = [row.text for rows in data.train.values() for row in rows]
        self.states.prepare([windows[0] for windows in cut(train, self.budget.max_tokens)], told)
        scale = self.states.mean, self.states.scale
        dev = [row.text for rows in data.dev.values() for row in rows]
        self.states.prepare([window for windows in cut(dev) for window in windows], told)
        self.states.mean, self.states.scale = scale  # what is learnt from must not depend on dev rows
        if len(self.states) > known:
            self.states.save(self.folder / STATES)

    def run(self, design: Design, told: Told = lambda done, rows: None, seconds: float = float("inf")) -> bool:
        """Make the trainings that are not finished; tell whether all are, for no new one begins after `seconds`.

        `told` is given the rows drawn so far and in all.
        """
        began = time.monotonic()
        runs = list(dict.fromkeys(design.runs()))
        total = sum(self.budget.drawn * len(run.tasks) for run in runs)
        done = 0
        for run in runs:
            size = self.budget.drawn * len(run.tasks)
            if run.key not in self.finished:
                if time.monotonic() - began > seconds:
                    return False
                self.finished[run.key] = self.train(run, lambda rows, done=done: told(done + rows, total))  # type: ignore[misc]
                self.keep()
            done += size
            told(done, total)
        return True

    def train(self, run: Run, told: Callable[[int], None]) -> Finished:
        """Train one run, or go on with it where it was broken off."""
        folder = self.folder / NOW / hashlib.sha256(run.key.encode()).hexdigest()[:16]
        prober = Prober(folder / "probes.json") if run.probed else None
        limits = dict.fromkeys(run.tasks, run.rows) if run.rows else None
        spec, data = self.rows.of(
            run.tasks, self.budget, run.seed, limits, **(CHEAP_RATES if self.states is not None else {})
        )
        trainer = Trainer(spec, data, self.backbone, folder, Quiet(told, prober), encoder=self.encoder(run.seed))
        if prober:
            prober.watch(trainer)
        trainer.run()
        progress = trainer.progress
        probes = list(prober.found.values()) if prober else []
        found = Finished(calibrated_scores(trainer), progress.seconds, progress.rows, probes)
        shutil.rmtree(self.folder / NOW, ignore_errors=True)
        return found

    def encoder(self, seed: int) -> BertEncoder | None:
        """Return a fresh adapter over the kept hidden states; None where the backbone itself is tuned."""
        if self.states is None:
            return None
        torch.manual_seed(seed)
        return cast("BertEncoder", FrozenEncoder(self.states))  # it answers what a training asks of an encoder

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            runs = {key: Finished(**each) for key, each in kept["runs"].items()}
            name = kept["study"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read: {error}", "delete it, or choose another --out") from error
        if name != self._name():
            raise InputError(
                f"{path}: belongs to another declaration, budget or mode than the one given",
                "undo the change, or choose another --out",
            )
        self.finished = runs

    def keep(self) -> None:
        """Write what is finished to the study's folder."""
        kept = {"study": self._name(), "runs": {key: asdict(each) for key, each in self.finished.items()}}
        with atomic_write(self.folder / STATE) as draft:
            draft.write_text(json.dumps(kept), encoding="utf-8")

    def _name(self) -> str:
        """Name what finished trainings must agree with: settings, rows, backbone, budget and mode."""
        sizes = {name: (len(rows), len(self.rows.dev[name])) for name, rows in self.rows.train.items()}
        parts = (self.rows.spec.train.model_dump_json(), sizes, self.backbone.sha256, self.budget, self.mode)
        return hashlib.sha256(repr(parts).encode()).hexdigest()
