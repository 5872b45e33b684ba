"""Parts of tasks' own while a pack is separated: trained, kept in files as soon as they are there, put into packs.

Needs torch for training alone. Knows nothing of which parts are wanted (`separation`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file, save_file

from umbel.balance import shares_of
from umbel.cache import atomic_write
from umbel.console import training as shown
from umbel.kinds.base import kind_of
from umbel.manifest import TaskEntry
from umbel.ngrams import ngrams_of
from umbel.pack import MANIFEST, Pack, read_pack
from umbel.packing import write_tasks
from umbel.report import read_json
from umbel.spec import MixingSpec
from umbel.taught import SOURCE
from umbel.terminal import count_bar, output, row_bar, spinner
from umbel.ways import GROUP, HEAD, Way, rank_of

if TYPE_CHECKING:
    from umbel.data import Data
    from umbel.detaching import Forked, OwnPart
    from umbel.records import Example
    from umbel.spec import PackSpec
    from umbel.train import Reporter
    from umbel.weights import Backbone

STATE, PARTS, BARE, ALONE = "separation.json", "parts", "bare", "alone"
WHOLE = Way("fork", 0)  # what a task has that shares nothing
ENTRY, HEADS, LAYERS, NGRAMS = "entries.json", "head.safetensors", "fork.safetensors", "ngrams.safetensors"


@dataclass
class State:
    """What was measured: the name of all that it depends on, scores together and alone, trials by task and way.

    A part of several tasks together stands under each of them, by the name that `together` gives it.
    """

    name: str = ""
    together: dict[str, list[float]] = field(default_factory=dict)  # with intervals
    alone: dict[str, float] = field(default_factory=dict)
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)


class Parts:
    """Trains parts of their own for the tasks of one declaration; `basis` names what they are parts of."""

    def __init__(self, spec: PackSpec, data: Data, backbone: Backbone, folder: Path, basis: str = "") -> None:
        self.spec, self.data, self.backbone, self.folder = spec, data, backbone, folder
        self.tasks = [name for name, task in data.answered.items() if kind_of(task.kind).trained]
        self.state = self._restored(basis)

    def trained(
        self, pack: Pack, tasks: Sequence[str], way: Way, name: str, epochs: float, taught: Sequence[Example] = ()
    ) -> Forked:
        """Train a part of some tasks over a pack, or go on with it, and keep it by name; `taught` are more rows."""
        with shown(output()) as reporter:
            part = self._part(pack, tasks, way, name, epochs, way.fresh, reporter, taught)
            with row_bar(f"encoding the rows of {', '.join(tasks)}") as told:
                part.encode(told)
            for other in set(part.encodings.parent.glob("below-*")) - {part.encodings}:
                other.unlink()  # of another layer: up to a gigabyte that no part takes any more
            forked = part.run()
        _keep(self._place(tasks, name), forked)
        shutil.rmtree(part.folder, ignore_errors=True)
        return forked

    def before(self, pack: Pack, tasks: Sequence[str]) -> Forked:
        """Return the answers of some tasks to their dev rows as they stand in a pack, each row encoded once."""
        from umbel.interference import Quiet

        with count_bar("answering the dev rows as they stand", "rows") as advance:
            part = self._part(pack, tasks, HEAD, "before", 1.0, False, Quiet())
            rows, done = sum(map(len, part.trainer.data.dev.values())), 0

            def told(more: int) -> None:
                nonlocal done
                done += more
                advance(done, rows)

            return part.answer({}, told=told)

    def alone(self, task: str) -> float:
        """Train a task alone over the untouched backbone, on as many rows as it sees jointly; return its score."""
        if task not in self.state.alone:
            output().print(f"training {task} alone", soft_wrap=True)
            forked = self.trained(self.bare, [task], WHOLE, ALONE, self.passes([task]))
            self.state.alone[task] = float(forked.entries[task].scores["score"])
            self.save()
        return self.state.alone[task]

    def put(self, pack: Pack, tasks: Sequence[str], name: str, takers: Collection[str] = ()) -> Pack:
        """Return a copy of a pack, a draft, with the part of some tasks that was kept under a name.

        `takers` are those of the tasks that are given it; all by default.
        """
        place = self._place(tasks, name)
        known = json.loads((place / ENTRY).read_text(encoding="utf-8"))
        entries = {task: TaskEntry.model_validate(known[task]) for task in takers or tasks}
        heads = {task: load_file(place / f"{task}.{HEADS}") for task in entries}
        fork = load_file(place / LAYERS) if any(entry.fork for entry in entries.values()) else {}
        ngrams = {
            task: ngrams_of(entry.ngrams.longest, load_file(place / f"{task}.{NGRAMS}"), len(entry.labels))
            for task, entry in entries.items()
            if entry.ngrams
        }
        return write_tasks(pack, self.folder / PARTS / "draft", entries, heads, fork, ngrams)

    def nothing_shared(self) -> Pack:
        """Return a draft of the pack in which every task has all layers to itself."""
        pack = self.bare
        for task in self.tasks:
            self.alone(task)
            pack = self.put(pack, [task], ALONE)
        return pack

    def save(self) -> None:
        """Write what was measured."""
        with atomic_write(self.folder / STATE) as draft:
            draft.write_text(json.dumps(asdict(self.state)), encoding="utf-8")

    @cached_property
    def bare(self) -> Pack:
        """A pack of the declaration over the untouched backbone, its heads untrained: where tasks alone begin."""
        folder = self.folder / PARTS / BARE
        if not (folder / MANIFEST).exists():
            from umbel.interference import Quiet
            from umbel.publish import publish
            from umbel.train import Trainer

            changed = {"sharing": "heads", "teachers": "", "questions": "", "keep_vectors": 0.0}
            spec = self.spec.model_copy(update={"train": self.spec.train.model_copy(update=changed)})
            with spinner("writing the pack that tasks alone begin from"):
                data = replace(self.data, dev={})  # which heads that know nothing need not answer
                publish(Trainer(spec, data, self.backbone, folder, Quiet()), folder)
        return read_pack(folder)

    def passes(self, tasks: Collection[str]) -> float:
        """Return how often the joint training draws each row of some tasks, on average."""
        files = self.data.train.items()
        rows = {s: sum(not row.golds.keys().isdisjoint(tasks) for row in some) for s, some in files}
        return sum(count * self._drawn[s] for s, count in rows.items()) / max(sum(rows.values()), 1)

    @cached_property
    def _drawn(self) -> Mapping[str, float]:
        """How often the joint training draws each row of a file."""
        sizes = {source: len(rows) for source, rows in self.data.train.items()}
        mixing = self.spec.train.mixing
        shares = shares_of(sizes, mixing.by, mixing.temperature, self.data.shares, mixing.cap)
        return {s: share * self.spec.train.epochs * sum(sizes.values()) / sizes[s] for s, share in shares.items()}

    def _part(
        self,
        pack: Pack,
        tasks: Sequence[str],
        way: Way,
        name: str,
        epochs: float,
        fresh: bool,
        reporter: Reporter,
        taught: Sequence[Example] = (),
    ) -> OwnPart:
        from umbel.detaching import HEAD_SHARE, OwnPart, alone

        spec, data = self.spec, self.data
        if taught:
            spec, data, epochs = with_rows(spec, data, tasks, taught, epochs)
        spec, data = alone(spec, data, pack, tasks, epochs, 1.0 if fresh else HEAD_SHARE)
        folder, rank = self._place(tasks, f"{name}.training"), rank_of(way, self.spec.separation.rank)
        layer = way.layer if way.own else self.backbone.shape.layers
        encodings = self._place(tasks, f"below-{layer}.safetensors")
        return OwnPart(pack, tasks, spec, data, self.backbone, way, folder, reporter, rank, encodings, fresh)

    def tidy(self) -> None:
        """Take away what no further run needs."""
        shutil.rmtree(self.folder / PARTS / "draft", ignore_errors=True)
        for path in (self.folder / PARTS).glob("*/below-*"):
            path.unlink()

    def _place(self, tasks: Sequence[str], name: str) -> Path:
        """Return where a part of some tasks is kept."""
        return self.folder / PARTS / (tasks[0] if len(tasks) == 1 else together(tasks)) / name

    def _restored(self, basis: str) -> State:
        sizes = {source: len(rows) for source, rows in (self.data.train | self.data.dev).items()}
        settings = self.spec.separation.model_dump(include={"epochs", "rank"})
        parts = [basis, self.backbone.sha256, sizes, settings, self.spec.train.model_dump_json()]
        parts += [reads] if (reads := {task.name: task.ngrams for task in self.spec.tasks if task.ngrams}) else []
        name = hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()
        path = self.folder / STATE
        kept = State(**read_json(path, "what was measured")) if path.exists() else State()
        if kept.name == name:
            return kept
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)  # of another pack, other data or settings
        return State(name)


def _keep(place: Path, forked: Forked) -> None:
    """Write a part, its entries last: what a kill leaves half-written is not known to `State`, and made again."""
    place.mkdir(parents=True, exist_ok=True)
    for task, head in forked.heads.items():
        save_file(dict(head), place / f"{task}.{HEADS}")
    for task, ngrams in forked.ngrams.items():
        save_file(ngrams.tensors(), place / f"{task}.{NGRAMS}")
    if forked.fork:
        save_file(dict(forked.fork), place / LAYERS)
    entries = {task: entry.model_dump(mode="json") for task, entry in forked.entries.items()}
    (place / ENTRY).write_text(json.dumps(entries), encoding="utf-8")


def with_rows(
    spec: PackSpec, data: Data, tasks: Collection[str], more: Sequence[Example], passes: float
) -> tuple[PackSpec, Data, float]:
    """Return a declaration, data and passes over it in which tasks' own rows are read `passes` times, `more` once."""
    own = sum(not row.golds.keys().isdisjoint(tasks) for rows in data.train.values() for row in rows)
    by_size = spec.train.model_copy(update={"mixing": MixingSpec(by="size")})
    shares = {source: passes * share for source, share in data.shares.items()} | {SOURCE: 1.0}
    found = replace(data, train={**data.train, SOURCE: list(more)}, shares=shares)
    return spec.model_copy(update={"train": by_size}), found, (passes * own + len(more)) / (own + len(more))


def together(tasks: Sequence[str], way: Way = GROUP) -> str:
    """Name what is kept of several tasks together."""
    name = "together-" + hashlib.sha256("\n".join(tasks).encode()).hexdigest()[:12]
    return name if way == GROUP else f"{name}-{way.name}"
