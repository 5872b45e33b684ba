"""Teaches one task's head of a pack rows that have their label by their kind, not by people; nothing else moves.

    python packs/base/head.py src/umbel/packs/base sentiment [--weight 0.05] [--near 0] [--out runs/head]
    python packs/base/head.py src/umbel/packs/base command-slots --towards PACK

Such are the rows that base.yaml declares for it without dev rows. Its linear map is fitted again, on the sealed
encoder: of rated rows to what it said of them before and to their golds, half and half, so that it stays near (Li and
Hoiem 2016); of the others to their labels, all of them together counting `--weight` times what the rated ones do. Of a
task of spans each token is a row, and its tag the label; MOST of each kind are drawn. `--near` holds the map to what it
was: it costs that much times the squared distance, so that what no row speaks of moves little. Labels that it has not
had are added. With `--towards` nothing is fitted: the map becomes the mean of itself and of that pack's.

All other files and the answers of all other tasks are compared, and the pack is written only if none has moved.
Calibration and scores are of the dev rows; the scores alone stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rescore import write
from torch import Tensor
from torch.nn import functional

import umbel
from umbel.data import Data, load
from umbel.detaching import OwnPart, alone
from umbel.errors import InputError, UmbelError, suggest
from umbel.interference import Quiet
from umbel.kinds import kind_of
from umbel.kinds.spans import UNTRAINED
from umbel.loading import backbone_of_pack
from umbel.manifest import DataNote
from umbel.model import PooledHead, TokenHead
from umbel.pack import Pack, read_pack
from umbel.packing import write_tasks
from umbel.records import Task
from umbel.spec import PackSpec, load_spec
from umbel.teach import prove
from umbel.terminal import row_bar
from umbel.training import PACK
from umbel.ways import HEAD

Rows = tuple[Tensor, Tensor]  # what a head reads of them [rows, hidden], and their labels [rows] or [rows, labels]

HERE = Path(__file__).parent
HELD = 0.5  # share of what the head said before in the targets of rated rows
STEPS = 60
ROWS = 64  # read at once
MOST = 150_000  # rows or tokens of either kind to fit


def notes(spec: PackSpec, data: Data, task: str) -> tuple[DataNote, ...]:
    """Return what a pack keeps of a task's data."""
    declared = next(each for each in spec.tasks if each.name == task)
    return tuple(
        DataNote(
            source=each.source,
            licence=each.licence,
            language=each.language,
            train=sum(task in row.golds for file in each.train for row in data.train[file]),
            dev=sum(task in row.golds for file in each.dev for row in data.dev[file]),
        )
        for each in declared.data
    )


def as_declared(pack: Pack, task: Task, folder: Path) -> Pack:
    """Return a copy of the pack whose task has the declared labels, with a row of zeros for each that it has not had.

    A task of spans has to have them already.

    Raises:
        InputError: one that it has had is none any more.
    """
    entry, head = pack.manifest.tasks[task.name], pack.head(task.name)
    if gone := set(entry.labels) - set(task.labels):
        raise InputError(f"{task.name}: base.yaml has no label {min(gone)} any more", "labels can be added, not taken")
    places = [task.labels.index(label) for label in entry.labels]
    wider = dict(head)
    for name in ("weight", "bias") if len(places) < len(task.labels) else ():
        wider[name] = np.zeros((len(task.labels), *head[name].shape[1:]), head[name].dtype)
        wider[name][places] = head[name]
    declared = {"labels": task.labels, "metric": task.metric, "out_of_scope": task.out_of_scope}
    return write_tasks(pack, folder, {task.name: entry.model_copy(update=declared)}, {task.name: wider})


@torch.no_grad()
def read(part: OwnPart, task: Task, sources: Sequence[str]) -> Rows:
    """Return what the task's head reads of files' train rows, and their labels: of tokens those that cover text."""
    head, kind, pool = part.heads[task.name], kind_of(task.kind), None
    if isinstance(head, PooledHead):
        pool = PooledHead(*head.query.shape, *head.query.shape)
        pool.query, pool.weight = head.query, torch.nn.Parameter(torch.eye(len(head.query)))
    items = [item for source in sources for item in part.trainer.items[source] if task.name in item.golds]
    states, labels = [], []
    for at in range(0, len(order := sorted(items, key=lambda item: len(item.window.ids))), ROWS):
        some = order[at : at + ROWS]
        ids, mask = part.trainer.model.pad_windows([item.window for item in some])
        hidden = part.states.of(ids, mask)
        targets = [torch.from_numpy(kind.target(task, item.golds[task.name], item.window)) for item in some]
        if pool:
            states.append(pool(hidden, mask, 0.0))
            labels.append(torch.stack(targets))
        else:
            tags = torch.cat(targets)
            states.append(hidden[mask][tags != UNTRAINED])
            labels.append(tags[tags != UNTRAINED])
    found, golds = torch.cat(states), torch.cat(labels)
    drawn = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:MOST]
    return found[drawn], golds[drawn]


def fit(head: PooledHead | TokenHead, had: Tensor, rated: Rows, others: Rows, weight: float, near: float = 0.0) -> None:
    """Fit the head's linear map, in place; `had` `[labels]` tells the labels that it has had.

    `near` is what a squared distance from where it was costs, with states of variance 1.
    """
    (rows, golds), (plain, labels) = rated, others
    several = golds.ndim == 2  # labels are each there or not
    mean, scale = rows.mean(0), rows.std(0)
    with torch.no_grad():
        before = functional.linear(rows, head.weight, head.bias).masked_fill(~had, -torch.inf)
        said = before.sigmoid() if several else before.softmax(1)
        targets = HELD * said + (1 - HELD) * (golds if several else functional.one_hot(golds, len(had)))
        weights = (head.weight * scale).requires_grad_()
        bias = (head.bias + head.weight @ mean).requires_grad_()
        start = weights.detach().clone()
    rows, plain = (rows - mean) / scale, (plain - mean) / scale
    loss_of = functional.binary_cross_entropy_with_logits if several else functional.cross_entropy
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(functional.linear(rows, weights, bias), targets)
        loss = loss + weight * loss_of(functional.linear(plain, weights, bias), labels)
        loss = loss + near * (weights - start).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(step)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.copy_(weights / scale)
        head.bias.copy_(bias - head.weight @ mean)


def halfway(head: PooledHead | TokenHead, task: Task, towards: Path) -> None:
    """Make the head's linear map, in place, the mean of itself and of another pack's.

    Raises:
        InputError: the other pack has no such task, or other labels of it.
    """
    other = read_pack(towards)
    if task.name not in other.tasks or other.tasks[task.name].labels != task.labels:
        raise InputError(f"{towards}: has no task {task.name} with the same labels", "name a pack that has")
    arrays = other.head(task.name)
    with torch.no_grad():
        head.weight.lerp_(torch.from_numpy(arrays["weight"]), 0.5)
        head.bias.lerp_(torch.from_numpy(arrays["bias"]), 0.5)


def taught(folder: Path, task: str, options: argparse.Namespace) -> None:
    """Fit the head, compare, and put the pack in the place of the old one.

    Raises:
        InputError: the pack has no such task, or base.yaml no rows of it without dev rows.
        UmbelError: something else of the pack moved.
    """
    pack = read_pack(folder)
    before = pack.manifest.tasks.get(task)
    if not before:
        raise InputError(f"{folder}: has no task {task}{suggest(task, list(pack.tasks))}", "name one of its tasks")
    spec = load_spec(HERE / "base.yaml")
    declared = next(each.data for each in spec.tasks if each.name == task)
    rated, others = (
        [file for each in declared if bool(each.dev) == known for file in each.train] for known in (True, False)
    )
    if not others and not options.towards:
        raise InputError(f"{task}: base.yaml declares no rows of it without dev rows", "there is nothing to teach it")
    data, out = load(spec), options.out / task
    labelled = as_declared(pack, data.tasks[task], out / "declared")
    settings = alone(spec, data, labelled, [task], 1.0)
    part = OwnPart(labelled, [task], *settings, backbone_of_pack(pack), HEAD, out, Quiet())
    with row_bar("encoding its rows") as told:
        part.encode(told)
    head, known = part.heads[task], data.tasks[task]
    assert isinstance(head, PooledHead | TokenHead)
    had = torch.ones(len(head.bias), dtype=torch.bool)
    if isinstance(head, PooledHead):
        had = torch.tensor([label in before.labels for label in known.labels])
    if options.towards:
        halfway(head, known, options.towards)
    else:
        fit(head, had, read(part, known, rated), read(part, known, others), options.weight, options.near)
    found = part.answer({})
    scores = {name: value for name, value in found.entries[task].scores.items() if name != "together"}
    entry = found.entries[task].model_copy(update={"data": notes(spec, data, task), "scores": scores})
    new = write_tasks(labelled, out / PACK, {task: entry}, {task: found.heads[task]})
    write(new.folder, new.manifest.model_copy(update={"version": options.version or pack.manifest.version}))
    same = prove(umbel.load(folder), umbel.load(new.folder), task)
    print(f"{task}: {entry.metric} {before.scores['score']:.2f}, now {scores['score']:.2f}")
    print(f"by language {before.scores['languages']}, now {scores['languages']}")
    print(f"compared, and the same: {same['files']} files and entries, {same['answers']} answers")
    write_tasks(read_pack(new.folder), folder, {}, {})  # all at once


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="folder")
    parser.add_argument("task")
    parser.add_argument("--weight", type=float, default=0.05, help="of the rows that nobody rated")
    parser.add_argument("--near", type=float, default=0.0, help="what it costs to move")
    parser.add_argument("--towards", type=Path, help="a pack's folder")
    parser.add_argument("--version", default="", help="of the pack; as it was by default")
    parser.add_argument("--out", type=Path, default=Path("runs/head"), help="where encodings are kept")
    options = parser.parse_args()
    taught(options.pack, options.task, options)


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
