"""The joint training loop: one encoder, all tasks, batches that mix them; resumable at any moment, seeded.

Knows nothing of the command line: it reports through a `Reporter` and returns the trained model; `publish` makes a
pack of it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umbel import adapters, answered, checkpoint, metrics
from umbel.backbones.bert import BertEncoder, Encoding
from umbel.balance import ROUND_ROWS, Plan, Row, by_progress, shares_of
from umbel.branching import Asked
from umbel.checkpoint import Progress
from umbel.combining import Combiner, combiner_of
from umbel.cuts import Cuts, count
from umbel.decide import UNCALIBRATED, kind_name
from umbel.distil import read_teacher, write_teacher
from umbel.errors import InputError
from umbel.evaluate import evaluate, spread
from umbel.kinds.base import kind_of
from umbel.model import MultiTaskModel, TrainedPredictor, window_logits
from umbel.optimizing import optimizer_of, schedule
from umbel.processes import ALONE, Processes
from umbel.quiz import Asker, Drawn, Quiz
from umbel.records import Example, Window
from umbel.reporter import Reporter as Reporter
from umbel.reporter import Silent
from umbel.reporter import Status as Status
from umbel.targets import stacked, target_of
from umbel.vectors import VectorTeacher

if TYPE_CHECKING:
    from umbel.data import Data
    from umbel.spec import PackSpec, TrainSpec
    from umbel.weights import Backbone

logger = logging.getLogger(__name__)

SAVE_SECONDS = 45.0  # a kill loses less than a minute
VECTOR_STEPS = 3  # vectors are compared at every third step, for three of them
DEV_ASKED = 50  # rows of each dev file that questions are drawn for on the way
FULL_BATCHES = 8  # a round holds at least so many, for its last batch may be a small one
FROZEN = "embeddings.word_embeddings.weight"  # most of the parameters, and rows of rare pieces would only drift


@dataclass(frozen=True)
class Item:
    """A row as it is trained on: its first window (all would repeat its labels), its golds and its teachers' logits.

    `asked` are questions drawn for one step.
    """

    window: Window
    golds: Mapping[str, Any]
    taught: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    asked: Sequence[Drawn] = ()


class Trainer:
    """Trains the tasks of one declaration on one backbone; `run` goes on from the checkpoint in `folder`.

    With several `processes` each takes its share of every batch, and their gradients are summed before the step: the
    result is that of one process up to rounding, and dropout. All must see the same `folder`; the first one alone
    writes and reports, and its losses are those of its own rows.
    """

    def __init__(
        self,
        spec: PackSpec,
        data: Data,
        backbone: Backbone,
        folder: Path,
        reporter: Reporter,
        processes: Processes = ALONE,
        asker: Asker | None = None,
        encoder: BertEncoder | None = None,
    ) -> None:
        self.spec, self.data, self.backbone, self.folder, self.processes = spec, data, backbone, folder, processes
        self.reporter = reporter if processes.leads else Silent()
        self.settings = spec.train
        self.weights = {task.name: task.weight for task in spec.tasks}
        self.precision = torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32
        torch.manual_seed(self.settings.seed)
        encoder = encoder or _encoder(backbone, self.settings)
        pad, dropout = backbone.tokenizer.pad, self.settings.dropout
        self.model = MultiTaskModel(encoder, data.answered, pad, dropout, branching=asker is not None)
        self.optimizer = optimizer_of(self.model, self.settings)
        self.cuts: Cuts = {}
        self.items = {source: self._read(rows) for source, rows in data.train.items()}
        if self.settings.teachers:
            self._be_taught(spec.folder / self.settings.teachers)
        self.vectors = VectorTeacher(backbone) if self.settings.keep_vectors or asker else None
        self.quiz = Quiz(asker, backbone, self.vectors) if asker and self.vectors else None
        self.plan = self._plan()
        self.combiner = combiner_of(self.model, self.settings.combining, processes, self.weights)
        self.began: dict[str, str] = {}  # the pack it began with, if any
        self.averaged: dict[str, str] = {}  # the pack that its weights were averaged with at the end, if any
        self.progress = Progress("")
        self._saved = time.monotonic()

    def run(self) -> MultiTaskModel:
        """Train to the end of the plan and return the model.

        Raises:
            InputError: the folder holds the state of another training, or cannot be written or shared.
        """
        self.progress = checkpoint.restore(self.folder, self._declaration(), self.model, self.optimizer)
        if self.processes.from_leader(self.progress.step) != self.progress.step:
            raise InputError(f"{self.folder}: not the same folder in all processes", "give one that all of them share")
        self.plan = replace(self.plan, turns=self.progress.turns)
        self.reporter.started(self.plan, self.data, self.progress)
        self._save()  # a folder that cannot be written is told at once
        while self.progress.round < self.plan.rounds and len(self.progress.stopped) < len(self.model.heads):
            self._round()
        if self.progress.batch or not self.progress.history or self.progress.history[-1]["step"] != self.progress.step:
            self._evaluate()
        self._save()
        if self.settings.keep == "best":
            checkpoint.restore_best(self.folder, self.model)
        return self.model

    def _round(self) -> None:
        batches = self.plan.batches(self.progress.round, self._silent_sources())
        for number in range(self.progress.batch, len(batches)):
            self._step(batches[number], self.plan.fraction(self.progress.round, number / len(batches)))
            self.progress.batch = number + 1
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self._save()
        self.progress.round, self.progress.batch = self.progress.round + 1, 0
        due = int(self.progress.round * self.plan.round_rows / self._evaluation_rows())
        if due > self.progress.evaluated:
            self.progress.evaluated = due
            self._evaluate()
            self._turn()
            self._save()

    def _step(self, rows: Sequence[Row], fraction: float) -> None:
        began = time.monotonic()
        self.model.train()
        # Dropout repeats after a resume, and differs between processes.
        torch.manual_seed(self.settings.seed * 1_000_003 + self.progress.step + (self.processes.rank << 40))
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(fraction, self.settings.warm_up)
        self._learn(self._going(rows), fraction)
        length = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        if length.isfinite():
            self.optimizer.step()
        else:  # one such update would spoil every weight it reaches for good
            logger.warning("step %d: the gradient is not finite; its batch is left out", self.progress.step)
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.progress.rows += len(rows)
        self.progress.seconds += time.monotonic() - began
        rate = self.progress.rows / self.progress.seconds
        left = (1 - fraction) * self.plan.rows / rate
        self.reporter.stepped(
            Status(fraction, self.progress.step, self.progress.rows, rate, left, dict(self.progress.losses))
        )

    def _going(self, rows: Sequence[Row]) -> list[Item]:
        """Return the rows' items that still train a task, with the questions drawn for this step."""
        items = [self.items[source][index] for source, index in rows]
        if self.quiz:
            examples = [self.data.train[source][index] for source, index in rows]
            drawn = self.quiz.draw(examples, self.settings.questions_per_row, [self.settings.seed, self.progress.step])
            items = [replace(item, asked=asked) for item, asked in zip(items, drawn, strict=True)]
        going = self.model.heads.keys() - self.progress.stopped.keys()
        return [item for item in items if item.asked or not going.isdisjoint(item.golds)]

    def _learn(self, items: Sequence[Item], fraction: float) -> None:
        """Set the gradients of the loss of all items, each process having read its share."""
        mine = self.processes.share(items)
        if self.combiner:
            self._combine(self.combiner, mine, len(items), fraction)
            return
        if mine:
            loss = self._loss(mine, fraction) * (len(mine) / len(items))  # a mean over rows: shares add up to it
            loss.backward()  # type: ignore[no-untyped-call]
        self.processes.sum_gradients([each for each in self.model.parameters() if each.requires_grad])

    def _loss(self, items: Sequence[Item], fraction: float = 1.0) -> Tensor:
        """Return the weighted sum of all rows' losses over the number of rows; each row trains the tasks it labels.

        `fraction` of the training is done: so much of a target is the gold answer's, the rest its teacher's, if any.
        """
        encoding, losses = self.losses(items, fraction)
        return (sum(losses.values(), torch.zeros(())) + self._rest(encoding, items)) / len(items)

    def _combine(self, combiner: Combiner, items: Sequence[Item], rows: int, fraction: float) -> None:
        """Set the gradients as the declared way of combining tasks has it; `rows` are those of all processes."""
        losses: dict[str, Tensor] = {}
        rest = None
        if items:
            encoding, found = self.losses(items, fraction)
            losses = {name: loss / rows for name, loss in found.items()}
            rest = self._rest(encoding, items) / rows
        counts = {name: sum(name in item.golds for item in items) for name in losses}
        combiner.backward(losses, counts, rest, self.progress.combining)

    def _rest(self, encoding: Encoding, items: Sequence[Item]) -> Tensor:
        """Return the losses that are no task's, summed over the items: kept vectors and questions."""
        hidden, mask = encoding.hidden.float(), encoding.mask
        total = hidden.new_zeros(())
        windows = [item.window for item in items]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == torch.bfloat16):
            if self.vectors and self.settings.keep_vectors and self.progress.step % VECTOR_STEPS == 0:
                kept = self.vectors.loss(hidden, mask, windows)
                total = total + self.settings.keep_vectors * VECTOR_STEPS * kept.sum()
            if self.quiz:
                total = total + self._question_loss(encoding, items)
        return total

    def losses(self, items: Sequence[Item], fraction: float = 1.0) -> tuple[Encoding, dict[str, Tensor]]:
        """Encode the items once; return each task's losses, summed over its rows and weighted, where it has rows."""
        ids, mask = self.model.pad_windows([item.window for item in items])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == torch.bfloat16):
            encoding = self.model.encoder.encode(ids, mask)
        hidden = encoding.hidden.float()
        found: dict[str, Tensor] = {}
        losses_so_far = self.progress.losses
        for name in self.model.heads:
            rows = [row for row, item in enumerate(items) if name in item.golds]
            if not rows or name in self.progress.stopped:
                continue
            task = self.data.tasks[name]
            kind = kind_of(task.kind)
            targets = [
                target_of(task, items[row].golds[name], items[row].window, items[row].taught.get(name), fraction)
                for row in rows
            ]
            logits = self.model.logits(name, hidden[rows], mask[rows])
            losses = kind.loss(task, logits, stacked(targets, ids.shape[1] if kind.reads == "tokens" else 0))
            found[name] = self.weights[name] * losses.sum()
            mean = float(losses.detach().mean())
            losses_so_far[name] = 0.95 * losses_so_far.get(name, mean) + 0.05 * mean
        return encoding, found

    def _question_loss(self, encoding: Encoding, items: Sequence[Item]) -> Tensor:
        assert self.quiz
        asked = [Asked(row, *drawn) for row, item in enumerate(items) for drawn in item.asked]
        if not asked:
            return encoding.hidden.new_zeros(())
        losses = self.quiz.losses(self.model, encoding, [item.window for item in items], asked)
        so_far = self.progress.losses
        for each, loss in zip(asked, losses.tolist(), strict=True):
            name = kind_name(each.question)
            so_far[name] = 0.99 * so_far.get(name, loss) + 0.01 * loss
        return self.settings.question_weight * losses.sum()

    def _evaluate(self) -> None:
        """Score every task on some dev rows, and stop those that have not improved for `patience` evaluations."""
        scores = self.processes.from_leader(self.dev_scores(self.settings.dev_rows) if self.processes.leads else {})
        number = len(self.progress.history)
        record = {
            "step": self.progress.step,
            "rows": self.progress.rows,
            "scores": scores,
            "losses": {**self.progress.losses},
        }
        if self.quiz and self.processes.leads:
            rows = [row for file in self.data.dev.values() for row in spread(file, DEV_ASKED)]
            found = self.quiz.ask(self.model, rows, self.settings.seed)
            record["questions"] = {kind: each["score"] for kind, each in answered.scores(found, UNCALIBRATED).items()}
        self.progress.history.append(record)
        for task, score in scores.items():
            best = self.progress.best.get(task)
            if best is None or metrics.better(self.data.tasks[task].metric, score, best[0]):
                self.progress.best[task] = (score, number)
            elif self.settings.patience and number - best[1] >= self.settings.patience:
                self.progress.stopped.setdefault(task, self.progress.round)
        if self.settings.keep == "best":
            self._keep_best(scores)
        self.reporter.evaluated(record)

    def _keep_best(self, scores: Mapping[str, float]) -> None:
        """Keep the weights where the mean over tasks is the best so far: of a single task, its best epoch."""
        signs = {task: -1 if self.data.tasks[task].metric in metrics.LOWER_IS_BETTER else 1 for task in scores}
        mean = sum(signs[task] * score for task, score in scores.items()) / max(len(scores), 1)
        if self.progress.best_mean is None or mean > self.progress.best_mean:
            self.progress.best_mean = mean
            if self.processes.leads:
                checkpoint.save_best(self.folder, self.model)

    def _turn(self) -> None:
        """Let dev progress change the mix from the next round on, where it is declared so."""
        if self.settings.mixing.by != "progress":
            return
        rows = {s: [set(item.golds) for item in items] for s, items in self.items.items()}
        history = [record["scores"] for record in self.progress.history]
        self.progress.turns.append((self.progress.round, by_progress(self.plan.shares, rows, history)))
        self.plan = replace(self.plan, turns=self.progress.turns)

    def dev_scores(self, limit: int) -> dict[str, float]:
        """Return each task's own metric on at most `limit` rows of each dev file."""
        predictor = TrainedPredictor(self.model, self.backbone.tokenizer, self.precision)
        reports = evaluate(predictor, self.data.answered, self.data.dev, limit=limit)
        return {name: report["score"] for name, report in reports.items()}

    def _read(self, rows: Sequence[Example]) -> list[Item]:
        windows = self.backbone.tokenizer.windows_many([row.text for row in rows], self.settings.max_tokens)
        count(self.cuts, self.data.tasks, zip(rows, windows, strict=True))
        return [Item(cut[0], row.golds) for cut, row in zip(windows, rows, strict=True)]

    def _be_taught(self, folder: Path) -> None:
        """Give every item the logits of its tasks' teachers, where `folder` holds them."""
        for name in self.model.heads:
            for source, logits in (read_teacher(folder, name, self.data.train) or {}).items():
                answered = [item for item in self.items[source] if name in item.golds]
                for item, said in zip(answered, logits, strict=True):
                    item.taught[name] = said if kind_of(self.data.tasks[name].kind).reads == "tokens" else said[0]

    def teach(self, folder: Path) -> None:
        """Keep what the trained model says of its train rows in `folder`, one file for each task.

        Raises:
            CacheError: the folder cannot be written.
        """
        for name in self.model.heads:
            rows: dict[str, tuple[list[Example], list[NDArray[np.float32]]]] = {}
            for source, items in self.items.items():
                windows = [item.window for item in items if name in item.golds]
                if windows:
                    said = window_logits(self.model, windows, [name], self.precision)
                    examples = [row for row in self.data.train[source] if name in row.golds]
                    rows[source] = (examples, [each[name] for each in said])
            write_teacher(folder, name, rows)

    def _plan(self) -> Plan:
        sizes = {source: len(items) for source, items in self.items.items()}
        mixing = self.settings.mixing
        shares = shares_of(sizes, mixing.by, mixing.temperature, self.data.shares, mixing.cap)
        lengths = {s: np.array([len(item.window.ids) for item in items]) for s, items in self.items.items()}
        settings = self.settings
        rows = max(round(settings.epochs * sum(sizes.values())), 1)
        between = round(settings.evaluate_every * sum(sizes.values()))  # dev is scored between rounds
        round_rows = min(ROUND_ROWS, rows, max(between, FULL_BATCHES * settings.batch_rows))
        return Plan(lengths, shares, rows, settings.batch_rows, settings.batch_tokens, settings.seed, round_rows)

    def _silent_sources(self) -> set[str]:
        ended = {task for task, since in self.progress.stopped.items() if since <= self.progress.round}
        return {s for s, items in self.items.items() if all(ended.issuperset(item.golds) for item in items)}

    def _evaluation_rows(self) -> float:
        return max(self.settings.evaluate_every * sum(map(len, self.items.values())), self.plan.round_rows)

    def _save(self) -> None:
        if self.processes.leads:
            checkpoint.save(self.folder, self.progress, self.model, self.optimizer)
        self._saved = time.monotonic()

    def _declaration(self) -> str:
        """Name what a checkpoint must agree with: the settings, the tasks and the amount of data."""
        usual = {"keep": "end", "start": "", "fold": 0.5}  # keys that older states do not know
        later = {key for key, value in usual.items() if getattr(self.settings, key) == value}
        settings = self.settings.model_dump_json(exclude={*later, "average_with"})  # no step depends on that
        sizes = {source: len(items) for source, items in self.items.items()}
        tasks = [(task.name, task.kind, task.labels, self.weights[name]) for name, task in self.data.tasks.items()]
        return hashlib.sha256(repr((settings, sizes, tasks, self.backbone.sha256)).encode()).hexdigest()


def _encoder(backbone: Backbone, settings: TrainSpec) -> BertEncoder:
    tensors = {**backbone.tensors, FROZEN: backbone.embedding.dense()}
    encoder = BertEncoder.from_tensors(backbone.shape, tensors)
    encoder.get_parameter(FROZEN).requires_grad_(False)
    if settings.sharing == "heads":
        encoder.requires_grad_(False)
    if settings.sharing == "adapter":
        adapters.attach(encoder, settings.rank)
    return encoder
