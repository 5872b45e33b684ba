"""Trains a pack's reading head on its sealed encodings: nothing else of the pack changes.

The runtime reads every passage and question once; what the head sees of them is kept in memory, in 16 bits, some 3 kB a
token. Needs torch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from umbel import answered, checkpoint
from umbel.answered import Answered
from umbel.branching import token_span
from umbel.card import card_of
from umbel.checkpoint import Progress
from umbel.data import Data
from umbel.decide import LONGEST, UNCALIBRATED, GoldAnswer
from umbel.errors import InputError
from umbel.extraction import features_of, shared_words
from umbel.overhangs import Sheds, learnt
from umbel.pack import Pack
from umbel.packing import write_reading
from umbel.questions import Extract
from umbel.reading import apart, value_layers
from umbel.reading_model import ReadingModel
from umbel.records import Example, Window
from umbel.runtime import Model

SAVE_SECONDS = 45.0  # a kill loses less than a minute
SORTED = 512  # passages among which those of like length share a batch
SHARES = (0.0, 0.3, 0.5, 1.0)  # of the way from the head that a training began with to the trained one
ASKED = 4  # questions of a passage in one batch, at most
IMPOSSIBLE = -1e9
Halves = NDArray[np.float16]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ReadingSettings:
    """How the reading head is trained; the defaults are those of the pack `base`."""

    epochs: float = 8.0
    width: int = 128
    blocks: int = 2
    dropout: float = 0.15
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    batch_questions: int = 32
    max_tokens: int = 384
    seed: int = 1


@dataclass(frozen=True)
class Known:
    """A question as the head sees it: `features` and `states` of its tokens, the text's `shared` words, its `gold`.

    `gold` is the answer's first and last token, or the first token twice where the text holds no answer.
    """

    features: Halves
    states: Halves
    shared: NDArray[np.float32]
    gold: tuple[int, int]


@dataclass(frozen=True)
class Passage:
    """A passage as the head sees it, with its questions; `covering` are tokens that are no special ones `[tokens]`."""

    features: Halves
    covering: NDArray[np.bool_]
    questions: Sequence[Known]


def passages_of(
    model: Model, rows: Sequence[Example], data: Data, most: int, done: Callable[[int], None] = lambda rows: None
) -> list[Passage]:
    """Read rows that bring questions to be answered from them; a row is read as its first window.

    Questions whose answer lies outside of it, or is longer than answers may be, are left out.
    """
    found = []
    for row in rows:
        window = model.tokenizer.windows_many([row.text], most)[0][0]
        golds = [(question, _place(window, gold)) for question, gold in extracts_of(row, data)]
        asked = [(question, place) for question, place in golds if place]
        if asked:
            found.append(_passage(model, window, asked))
        done(1)
    return found


def extracts_of(row: Example, data: Data) -> list[tuple[Extract, Sequence[GoldAnswer]]]:
    """Return the questions that a row brings and that want a span, with their gold ones, of which the first trains."""
    own = [drawn for name, gold in row.golds.items() if data.tasks[name].kind == "asked" for drawn in gold]
    return [(question, gold) for question, gold in own if isinstance(question, Extract)]


def _place(window: Window, golds: Sequence[GoldAnswer]) -> tuple[int, int] | None:
    if not golds:
        return 0, 0
    place = token_span(window, golds[0][:2])
    return place if place and place[1] - place[0] < LONGEST else None


def _passage(model: Model, window: Window, asked: Sequence[tuple[Extract, tuple[int, int]]]) -> Passage:
    reader = model.reader
    layers = value_layers(reader.engine.layers)
    (kept,) = reader.keep_each([window])
    branches = [reader.brancher.branches(question)[0] for question, _ in asked]
    own = reader.keep_each([Window(b.question, np.zeros((len(b.question), 2), np.int32)) for b in branches])
    questions = [
        Known(
            features_of(each, layers).astype(np.float16),
            states.question.astype(np.float16),
            shared_words(window.ids, branch.question),
            gold,
        )
        for each, states, branch, (_, gold) in zip(own, reader.states(kept, branches), branches, asked, strict=True)
    ]
    covering = window.offsets[:, 1] > window.offsets[:, 0]
    return Passage(features_of(kept, layers).astype(np.float16), covering, questions)


class ReadingTrainer:
    """Trains a head on passages; goes on from the checkpoint in `folder`, to the same weights as an unbroken run.

    It begins with the weights of another head (`weights_of`), if given: one of another shape is refused. `basis` names
    what the passages were encoded with.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        settings: ReadingSettings,
        folder: Path,
        start: Mapping[str, NDArray[np.float32]] | None = None,
        basis: str = "",
    ) -> None:
        if not passages:
            raise InputError(
                "no row brings a question whose answer stands in its text",
                "give a declaration with tasks of kind asked and cells like {question: ..., answers: [...]}",
            )
        self.passages, self.settings, self.folder, self.basis = passages, settings, folder, basis
        first = passages[0].questions[0]
        torch.manual_seed(settings.seed)
        hidden, features = first.states.shape[1], first.features.shape[1]
        self.model = ReadingModel(hidden, features, settings.width, settings.blocks, settings.dropout)
        self.began = ""  # names the head it begins with, if any
        if start:
            _take(self.model, start)
            self.began = hashlib.sha256(b"".join(start[name].tobytes() for name in sorted(start))).hexdigest()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.steps = max(round(settings.epochs * len(self._batches(0))), 1)

    def run(self, report: Callable[[Progress, int], None] = lambda progress, steps: None) -> ReadingModel:
        """Train to the end; `report` is told after each step.

        Raises:
            InputError: `folder` holds the state of another training, or cannot be written.
        """
        progress = checkpoint.restore(self.folder, self._declaration(), self.model, self.optimizer)
        saved = time.monotonic()
        self.model.train()
        while progress.step < self.steps:
            batches = self._batches(progress.round)
            for batch in batches[progress.batch :]:
                self._step(batch, progress)
                progress.batch += 1
                report(progress, self.steps)
                if time.monotonic() - saved > SAVE_SECONDS or progress.step >= self.steps:
                    checkpoint.save(self.folder, progress, self.model, self.optimizer)
                    saved = time.monotonic()
                if progress.step >= self.steps:
                    break
            progress.round, progress.batch = progress.round + 1, 0
        return self.model.eval()

    def _step(self, batch: Sequence[int], progress: Progress) -> None:
        torch.manual_seed(self.settings.seed * 1_000_003 + progress.step)  # dropout repeats after a resume
        fraction, warm = progress.step / self.steps, self.settings.warm_up
        share = fraction / warm if fraction < warm else 0.5 * (1 + np.cos(np.pi * (fraction - warm) / (1 - warm)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * max(float(share), 1e-3)
        generator = np.random.default_rng([self.settings.seed, progress.step])
        loss = self._loss([self.passages[place] for place in batch], generator)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        progress.step += 1
        value = float(loss.detach())
        progress.losses["reading"] = 0.99 * progress.losses.get("reading", value) + 0.01 * value

    def _loss(self, passages: Sequence[Passage], generator: np.random.Generator) -> Tensor:
        """Return the mean negative log likelihood of the gold spans among all spans and "no answer"."""
        asked = [
            (place, passage.questions[int(number)])
            for place, passage in enumerate(passages)
            for number in generator.permutation(len(passage.questions))[:ASKED]
        ]
        tokens = max(len(passage.covering) for passage in passages)
        texts, mask = _padded([passage.features for passage in passages])
        covering, _ = _padded([passage.covering for passage in passages])
        questions, own = _padded([question.features for _, question in asked])
        states, _ = _padded([question.states for _, question in asked])
        shared = torch.zeros(len(asked), tokens)
        for row, (_, question) in enumerate(asked):
            shared[row, : len(question.shared)] = torch.from_numpy(question.shared)
        which = torch.tensor([place for place, _ in asked])
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(texts, mask, which, shared, questions, states, own).float()
        gold = torch.tensor([question.gold[0] * tokens + question.gold[1] for _, question in asked])
        return functional.cross_entropy(_span_logits(logits, covering.bool()[which]), gold)

    def _batches(self, number: int) -> list[list[int]]:
        """Return the batches of an epoch: passages of like length, about as many questions in each."""
        generator = np.random.default_rng([self.settings.seed, number])
        order = generator.permutation(len(self.passages)).tolist()
        batches: list[list[int]] = []
        for at in range(0, len(order), SORTED):
            batch: list[int] = []
            count = 0
            for place in sorted(order[at : at + SORTED], key=lambda place: len(self.passages[place].covering)):
                if count >= self.settings.batch_questions:
                    batches.append(batch)
                    batch, count = [], 0
                batch.append(place)
                count += min(len(self.passages[place].questions), ASKED)
            batches.append(batch)
        return [batches[place] for place in generator.permutation(len(batches))]

    def _declaration(self) -> str:
        counts = [(len(passage.covering), len(passage.questions)) for passage in self.passages]
        named = (asdict(self.settings), counts, *filter(None, (self.began, self.basis)))
        return hashlib.sha256(repr(named).encode()).hexdigest()


def _take(model: ReadingModel, weights: Mapping[str, NDArray[np.float32]]) -> None:
    own = model.state_dict()
    if {name: tuple(value.shape) for name, value in own.items()} != {n: v.shape for n, v in weights.items()}:
        raise InputError("the reading head to begin with has another shape", "leave out --start to begin anew")
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})


def _padded(parts: Sequence[NDArray[Any]]) -> tuple[Tensor, Tensor]:
    """Return arrays of different lengths in one, in fp32, and a mask `[parts, longest]`."""
    tensors = [torch.from_numpy(part.astype(np.float32)) for part in parts]
    lengths = torch.tensor([len(part) for part in parts])
    padded = pad_sequence(tensors, batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def _span_logits(logits: Tensor, covering: Tensor) -> Tensor:
    """Return the logit of every span `[questions, tokens * tokens]`, from its first token to its last.

    The first token's own span means "no answer"; those that are none have a logit that trains nothing.
    """
    start, end = logits.unbind(-1)
    places = torch.arange(start.shape[1])
    ahead = places[None, :] - places[:, None]
    allowed = ((ahead >= 0) & (ahead < LONGEST))[None] & covering[:, :, None] & covering[:, None, :]
    allowed[:, 0, 0] = True
    return (start[:, :, None] + end[:, None, :]).masked_fill(~allowed, IMPOSSIBLE).flatten(1)


def weights_of(model: ReadingModel) -> Weights:
    """Return the head's weights by name, as `reading` wants them."""
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def on_the_way(start: Weights, trained: Weights) -> dict[str, Weights]:
    """Return heads between that which a training began with and the trained one, by name, both included.

    Those between are less bent to the train rows (Wortsman et al. 2022).
    """
    return {
        f"{share:g} of the way": {name: _between(start[name], value, share) for name, value in trained.items()}
        for share in SHARES
    }


def _between(start: NDArray[np.float32], end: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return (start + np.float32(share) * (end - start)).astype(np.float32)


def add_reading(
    model: Model,
    folder: Path,
    heads: Mapping[str, Weights],
    data: Data,
    training: dict[str, Any],
    version: str = "",
) -> Pack:
    """Write the model's pack with a reading head to `folder`, calibrated and scored on the dev rows of `data`.

    Which characters answers shed is learnt from the train rows. Of several heads, by name, it is the one whose answers
    to dev questions are best (exact and overlapping); `training` notes all their scores.
    The pack keeps its version unless another is given.

    Raises:
        CacheError: the folder cannot be written.
    """
    sheds = learnt(_gold_places(model, data))
    tried = {name: _calibrated(asked, sheds) for name, asked in _asked(model, heads, data).items()}
    taken = max(tried, key=lambda name: _worth(tried[name]["scores"]))
    if len(tried) > 1:
        training = training | {"heads": {name: _worth(each["scores"]) for name, each in tried.items()}}
    version = version or model.pack.manifest.version
    several = len(apart(heads[taken]))
    known = tried[taken] | {"training": training, "heads": several if several > 1 else 0}
    return write_reading(model.pack, folder, heads[taken], known, version, card_of)


def _worth(scores: Mapping[str, float]) -> float:
    """Return the mean of how many answers are exact, and of how much they overlap with the gold ones."""
    return (scores.get("score", 0.0) + scores.get("f1", 0.0)) / 2


def _gold_places(model: Model, data: Data) -> Iterable[tuple[str, list[tuple[int, int]], NDArray[np.int32]]]:
    """Yield train texts with their gold answers and tokens' offsets, as `overhangs.learnt` wants them."""
    for row in (row for rows in data.train.values() for row in rows):
        places = [golds[0][:2] for _, golds in extracts_of(row, data) if golds]
        if places:
            offsets = model.tokenizer.windows_many([row.text])[0][0].offsets
            yield row.text, [place for place in places if place[1] <= offsets[:, 1].max()], offsets


def _calibrated(asked: Sequence[Answered], sheds: Sheds) -> dict[str, Any]:
    """Return what a pack keeps of the answers of a head: their calibration and scores."""
    start = replace(UNCALIBRATED, sheds=sheds)
    calibration = answered.fit(asked, start)
    before, after = (answered.scores(asked, each).get("extract", {}) for each in (start, calibration))
    return {
        "temperature": calibration.temperatures.get("extract", 1.0),
        "brevity": calibration.brevity,
        "trim_start": sheds.start,
        "trim_end": sheds.end,
        "scores": after | {"ece-before": before.get("ece")},
    }


def _asked(model: Model, heads: Mapping[str, Weights], data: Data) -> dict[str, list[Answered]]:
    """Ask each head the questions of all dev rows, each row encoded once."""
    readers = {name: model.reader.with_head(weights) for name, weights in heads.items()}
    asked: dict[str, list[Answered]] = {name: [] for name in heads}
    for row in (row for rows in data.dev.values() for row in rows):
        if not (drawn := extracts_of(row, data)):
            continue
        encoding = model.keep(row.text)
        offsets = [window.offsets for window in encoding.windows]
        for name, reader in readers.items():
            logits = reader.logits(encoding, [question for question, _ in drawn])
            for (question, golds), found in zip(drawn, logits, strict=True):
                asked[name].append(Answered(question, golds, row.text, list(zip(offsets, found, strict=True))))
    return asked
