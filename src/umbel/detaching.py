"""Gives tasks of a trained pack a part of their own, trained over what all share, which stays as it is.

The part is the upper layers, a low-rank change of them, or the head alone. What enters it is computed by the runtime's
own engine, once per text. Needs torch; knows nothing of the command line, and of how the pack was trained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from umbel import adapters
from umbel.backbones.bert import BertEncoder, Encoding
from umbel.data import Data
from umbel.engine import GraphBuilder
from umbel.errors import InputError
from umbel.evaluate import answered
from umbel.frozen import HiddenStates
from umbel.pack import ForkFile, Pack, TaskEntry
from umbel.publish import DevLogits, observe, read_ngrams, scores_of
from umbel.train import Trainer
from umbel.ways import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from umbel.manifest import NgramsFile
    from umbel.ngrams import Ngrams
    from umbel.records import Example, Prediction
    from umbel.spec import PackSpec, TrainSpec
    from umbel.train import Reporter
    from umbel.weights import Backbone

STACK = "encoder.layer."  # how the names of a layer's tensors begin
HEAD_SHARE = 0.2  # of the declared rate, for the head is trained already
ADAPTER_RATE = 10.0  # times the declared rate: low-rank factors take larger steps (packs/base/sharing.py)
RANK = 16
ENCODINGS = "encodings.safetensors"
STEPS, FEWEST_ROWS = 1000, 16  # a task alone takes at least so many steps, unless batches would have fewer rows


@dataclass(frozen=True)
class Forked:
    """Tasks with a part of their own, ready to be written into the pack, and their answers to the dev rows in order."""

    entries: Mapping[str, TaskEntry]
    heads: Mapping[str, Mapping[str, NDArray[Any]]]
    fork: Mapping[str, NDArray[Any]]
    golds: Mapping[str, Sequence[Any]]
    predictions: Mapping[str, Sequence[Prediction]]
    ngrams: Mapping[str, Ngrams]


class UpperEncoder(nn.Module):
    """What `MultiTaskModel` asks of an encoder: some upper layers over kept hidden states, without keys and values."""

    def __init__(self, states: HiddenStates, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.states, self.shape = states, states.shape
        self.layer = nn.ModuleList(layers)

    def encode(self, ids: Tensor, mask: Tensor) -> Encoding:
        """Return the hidden states `[batch, tokens, hidden]` of right-padded ids."""
        hidden = self.states.of(ids, mask)
        for layer in self.layer:
            hidden, _ = layer(hidden, mask[:, None, None, :], 0.0, None)
        return Encoding(hidden, mask, ())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the hidden states alone."""
        return self.encode(ids, mask).hidden


class OwnPart:
    """A part of one task's own, or of several together, in training: over hidden states of what all share, kept.

    They stand in `encodings`, a file that other parts of the same tasks above the same layer can take, or in `folder`.
    `fresh`: layers begin at the untouched backbone, and heads anew.
    """

    def __init__(
        self,
        pack: Pack,
        tasks: Sequence[str],
        spec: PackSpec,
        data: Data,
        backbone: Backbone,
        way: Way,
        folder: Path,
        reporter: Reporter,
        rank: int = RANK,
        encodings: Path | None = None,
        fresh: bool = False,
    ) -> None:
        layers = backbone.shape.layers
        if not 0 <= way.layer < layers:
            raise InputError(f"found layer {way.layer} to fork at, expected 0 to {layers - 1}")
        self.pack, self.tasks, self.way, self.folder, self.fresh = pack, tasks, way, folder, fresh
        self.encodings = encodings or folder / ENCODINGS
        self.first = way.layer if way.own else layers
        self.shared = adapters.merge(backbone.tensors, pack.adapter())
        graph = GraphBuilder(backbone.shape, self.shared).build_lower(self.first)
        adapter = pack.manifest.adapter.sha256 if pack.manifest.adapter else ""
        self.states = HiddenStates(backbone, graph, f"{adapter} below {self.first}")
        begun = backbone.all_tensors() if fresh else {**backbone.all_tensors(), **self.shared}
        whole = BertEncoder.from_tensors(backbone.shape, begun)
        self.upper = UpperEncoder(self.states, whole.encoder.layer[self.first :])
        if way.low_rank:
            torch.manual_seed(spec.train.seed)
            adapters.attach(self.upper, rank)
            rate = ADAPTER_RATE * spec.train.learning_rate
            spec = spec.model_copy(update={"train": spec.train.model_copy(update={"learning_rate": rate})})
        encoder = cast("BertEncoder", self.upper)  # it answers what a training asks of an encoder
        self.trainer = Trainer(spec, data, backbone, folder, reporter, encoder=encoder)
        self.heads = {task: self.trainer.model.heads[task] for task in tasks}
        for task, head in self.heads.items() if not fresh else ():
            head.load_state_dict({name: torch.from_numpy(value) for name, value in pack.head(task).items()})

    def encode(self, told: Callable[[int], None] = lambda rows: None) -> None:
        """Encode the train and dev rows once; a training that goes on finds them where the one before kept them."""
        self.states.restore(self.encodings)
        known = len(self.states)
        windows = [item.window for items in self.trainer.items.values() for item in items]
        texts = [example.text for examples in self.trainer.data.dev.values() for example in examples]
        windows += [window for cut in self.trainer.backbone.tokenizer.windows_many(texts) for window in cut]
        self.states.encode(windows, told)
        if len(self.states) > known:
            self.states.save(self.encodings)

    def run(self) -> Forked:
        """Train, or go on where it was broken off; calibrate and score what is stored."""
        self.trainer.run()
        return self.answer(self._stored(), {task.name for task in self.trainer.spec.tasks if task.ngrams})

    def answer(
        self,
        fork: Mapping[str, NDArray[Any]],
        reading: Collection[str] = (),
        told: Callable[[int], None] = lambda rows: None,
    ) -> Forked:
        """Calibrate and score the part as it is now; untrained, that is the tasks as they stand in the pack.

        N-grams of the tasks in `reading` are learnt anew, as they are declared; those of others are the pack's. `told`
        is called with how many dev rows more are answered.
        """
        observe(self.trainer)
        ngrams = self.trainer.model.ngrams = self.pack.ngrams(set(self.tasks) - set(reading))
        known = {task: self.pack.manifest.tasks[task].ngrams for task in ngrams}
        dev = DevLogits(self.trainer, told)
        if reading:
            known |= read_ngrams(self.trainer, dev)
        reports = scores_of(self.trainer, dev)
        golds: dict[str, list[Any]] = {task: [] for task in self.tasks}
        said: dict[str, list[Prediction]] = {task: [] for task in self.tasks}
        for file in self.trainer.data.dev.values():
            for example, predictions in answered(dev, file, self.tasks):
                for task in self.tasks:
                    if task in example.golds:
                        golds[task].append(example.golds[task])
                        said[task].append(predictions[task])
        entries = {task: self._entry(task, reports[task], known.get(task)) for task in self.tasks}
        return Forked(entries, {task: _arrays(head) for task, head in self.heads.items()}, fork, golds, said, ngrams)

    def _stored(self) -> Mapping[str, NDArray[Any]]:
        """Return what the pack will hold of the layers, and give them the same, rounded as it is stored."""
        if self.way.kind == "head":
            return {}
        if self.way.low_rank:
            own = adapters.low_rank(self.upper)
            adapters.load_low_rank(self.upper, own)
            return {_whole_name(name, self.first): value for name, value in own.items()}
        fork = adapters.full_difference(self.shared, _named(self.upper, self.first))
        _load(self.upper, self.first, adapters.merge(self.shared, fork))
        return fork

    def _entry(self, name: str, report: Mapping[str, Any], ngrams: NgramsFile | None) -> TaskEntry:
        """Return the pack's entry with calibration and scores of the part; `together` keeps the score before."""
        task, before = self.trainer.model.tasks[name], self.pack.manifest.tasks[name]
        kept = {name: before.scores[name] for name in ("alone", "together") if name in before.scores}
        together = {"together": before.scores["score"]} if "score" in before.scores else {}
        kind: Literal["lora", "full"] = "lora" if self.way.low_rank else "full"
        fork = ForkFile(file="", sha256="", kind=kind, layer=self.first, anew=self.fresh) if self.way.own else None
        return before.model_copy(
            update={
                "temperature": dict(task.temperature),
                "thresholds": dict(task.thresholds),
                "trim_start": task.trim_start,
                "trim_end": task.trim_end,
                "outside_bias": task.outside_bias,
                "scores": {**report, **together, **kept},
                "fork": fork,
                "ngrams": ngrams,
            }
        )


def alone(
    spec: PackSpec, data: Data, pack: Pack, tasks: Collection[str], epochs: float, head_share: float = HEAD_SHARE
) -> tuple[PackSpec, Data]:
    """Return the declaration and data of some tasks of the pack, for `epochs` passes over their rows.

    Batches and rates are those of `settings_alone`. `head_share` is that of the declared rate which the heads take: 1
    for heads that have not been trained.

    Raises:
        InputError: the declaration has no rows of them.
    """
    train, dev = ({s: _rows(rows, tasks) for s, rows in files.items()} for files in (data.train, data.dev))
    train, dev = ({s: rows for s, rows in files.items() if rows} for files in (train, dev))
    if not train or not dev:
        found = f"{spec.name}: holds no train or no dev rows of {', '.join(tasks)}"
        raise InputError(found, "name the pack's declaration")
    basis = settings_alone(spec.train, epochs * sum(map(len, train.values())), len(tasks))
    settings = {
        "epochs": epochs,
        "evaluate_every": epochs,
        "patience": 0,
        "sharing": "full",
        "combining": "sum",
        "head_learning_rate": head_share * basis.head_learning_rate,
        "teachers": "",
        "questions": "",
        "keep_vectors": 0.0,
    }
    kept = tuple(each for each in spec.tasks if each.name in tasks)
    declared = spec.model_copy(update={"tasks": kept, "train": basis.model_copy(update=settings)})
    shares = {source: data.shares[source] for source in train}
    return declared, Data({task: data.tasks[task] for task in tasks}, train, dev, shares)


def settings_alone(declared: TrainSpec, rows: float, tasks: int = 1) -> TrainSpec:
    """Return the settings that one task takes of those declared for all together, for so many rows to train on.

    Jointly a task is in nearly every step with a few of its rows. In batches made for all tasks a small one alone would
    take too few steps to learn anything, and any sharing would look good beside it. So batches get smaller where else
    there were fewer than STEPS, and the rates with the root of their size. Several `tasks` want half of STEPS for each.
    """
    steps = STEPS * max(tasks / 2, 1)
    batch = min(declared.batch_rows, max(FEWEST_ROWS, int(rows / steps)))
    slower = (batch / declared.batch_rows) ** 0.5
    return declared.model_copy(
        update={
            "batch_rows": batch,
            "learning_rate": slower * declared.learning_rate,
            "head_learning_rate": slower * declared.head_learning_rate,
        }
    )


def _rows(examples: Iterable[Example], tasks: Collection[str]) -> list[Example]:
    found = ((each, {task: each.golds[task] for task in tasks if task in each.golds}) for each in examples)
    return [replace(each, golds=golds) for each, golds in found if golds]


def _whole_name(name: str, first: int) -> str:
    """Return the name in the whole encoder of a tensor of the upper layers."""
    number, _, rest = name.removeprefix("layer.").partition(".")
    return f"{STACK}{int(number) + first}.{rest}"


def _named(upper: UpperEncoder, first: int) -> dict[str, NDArray[Any]]:
    """Return the layers' tensors under the names they have in the whole encoder."""
    return {_whole_name(name, first): value.detach().numpy() for name, value in upper.layer.named_parameters()}


@torch.no_grad()
def _load(upper: UpperEncoder, first: int, tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, value in upper.layer.named_parameters():
        value.copy_(torch.tensor(tensors[_whole_name(name, first)]))


def _arrays(head: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: parameter.detach().numpy() for name, parameter in head.named_parameters()}
