"""Trains questions in two ways on the same rows, and asks both about sets that neither has seen.

    python packs/experiments/sequences.py --sets DATA --way branches --out runs/branches
    python packs/experiments/sequences.py --sets DATA --way sequence --out runs/sequence

`branches` hangs questions from an encoding that knows nothing of them; `sequence` is the usual way, question, options
and text in one input with full attention. Both start from the untouched backbone, draw the same questions of the rows
of `packs/base/base.yaml` in the same order, one for each row, take as many steps with the same settings, and have the
same readouts. No heads are trained. A choice's options are compared with the text by vectors, too: of the encoding,
which learns to keep them, or of the untouched backbone for `sequence`. Training resumes in `--out`.

Unseen sets are asked as `unseen.py` does, with the first window of each text; the figures go to unseen.json beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from unseen import FIGURES, HERE, Asked, gather, measure, read_asks

from umbel import branching, decide
from umbel.asking import Asker, read_templates
from umbel.backbones.bert import Encoding
from umbel.balance import Plan
from umbel.catalogue import load_backbone
from umbel.checkpoint import Progress
from umbel.data import Data, load
from umbel.errors import UmbelError
from umbel.model import MultiTaskModel
from umbel.questions import Choice, Extract, Mentions, Predicate, Question
from umbel.quiz import Quiz
from umbel.readouts import logits_of
from umbel.records import Window
from umbel.spec import PackSpec, load_spec
from umbel.train import Status, Trainer

CHUNK = 16  # questions asked at once
SPEC = HERE.parent / "base" / "base.yaml"


class SequenceQuiz(Quiz):
    """Reads every question in a sequence of its own: the question, its options or types, then the text."""

    longest = 512

    def logits(
        self,
        model: MultiTaskModel,
        encoding: Encoding,
        windows: Sequence[Window],
        questions: Sequence[branching.Asked],
    ) -> list[tuple[Tensor, ...]]:
        """Return each question's logits; the encoding of the text alone is not looked at."""
        asked = [self._parts(each.question) for each in questions]
        rows = [
            torch.cat([*parts, torch.from_numpy(windows[each.text].ids[1:])])[: self.longest].long()
            for parts, each in zip(asked, questions, strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.pad)
        hidden = model.encoder(ids, torch.arange(ids.shape[1]) < lengths[:, None]).float()
        weights = dict(model.readouts)
        found = []
        for row, (parts, each, cosines) in enumerate(
            zip(asked, questions, self._untouched(windows, questions), strict=True)
        ):
            ends = torch.tensor([len(part) for part in parts]).cumsum(0) - 1
            states = hidden[row, ends]
            roots, leaves = (states, states[:0]) if isinstance(each.question, Mentions) else (states[:1], states[1:])
            tokens = hidden[row, int(ends[-1]) :]  # what ends the question stands for the text's first token
            short = len(windows[each.text].ids) - len(tokens[: len(windows[each.text].ids)])
            tokens = functional.pad(tokens[: len(windows[each.text].ids)], (0, 0, 0, short))
            found.append(logits_of(weights, each.question, roots, leaves, cosines, tokens))
        return found

    def _parts(self, question: Question) -> list[Tensor]:
        """Return the token ids of a question and its options, or of types, each ended by the special token."""
        branches = self.brancher.branches(question)
        texts = [branches[0].question, *(branch.question[1:] for branch in branches[1:]), *branches[0].options]
        return [torch.from_numpy(ids) for ids in texts]

    def _untouched(self, windows: Sequence[Window], questions: Sequence[branching.Asked]) -> list[Tensor]:
        wanted = {o.words for each in questions if isinstance(each.question, Choice) for o in each.question.options}
        self._learn_vectors(sorted(wanted - self._vectors.keys()))
        texts = self.teacher.vectors(windows)
        return [
            torch.stack([self._vectors[option.words] for option in each.question.options]) @ texts[each.text]
            if isinstance(each.question, Choice)
            else texts.new_zeros(0)
            for each in questions
        ]


class Trained:
    """Answers with a trained model of either way; the first window of a text is all that is read."""

    kinds: tuple[type[Question], ...] = (Choice, Predicate, Mentions, Extract)

    def __init__(self, model: MultiTaskModel, quiz: Quiz) -> None:
        self.model, self.quiz = model.eval(), quiz

    @torch.no_grad()
    def __call__(self, asked: Sequence[Asked]) -> list[decide.Answer]:
        """Answer each question."""
        found: list[decide.Answer] = []
        for at in range(0, len(asked), CHUNK):
            some = asked[at : at + CHUNK]
            windows = [cut[0] for cut in self.quiz.tokenizer.windows_many([each.text for each in some])]
            questions = [branching.Asked(place, each.question, None) for place, each in enumerate(some)]
            with torch.autocast("cpu", torch.bfloat16):
                encoding = self.model.encoder.encode(*self.model.pad_windows(windows))
                logits = self.quiz.logits(self.model, encoding, windows, questions)
            for each, window, values in zip(some, windows, logits, strict=True):
                read = [(window.offsets, [value.float().numpy() for value in values])]
                found.append(decide.answer(each.question, each.text, read))
        return found


class _Told:
    """Tells of the training in a line a minute."""

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        self.told = time.monotonic()
        print(f"{plan.rows} rows, from step {progress.step}", flush=True)

    def stepped(self, status: Status) -> None:
        if time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            losses = " ".join(f"{name} {loss:.2f}" for name, loss in sorted(status.losses.items()))
            print(f"{status.fraction:.1%}, {status.rate:.0f} rows/s, {losses}", flush=True)

    def evaluated(self, record: Mapping[str, Any]) -> None:
        print(json.dumps(record["questions"]), flush=True)


def questions_alone(spec: PackSpec, rows: int, total: int, way: str) -> PackSpec:
    """Return the declaration with one question of each row, no teachers, and so many rows in all."""
    settings: dict[str, Any] = {
        "epochs": rows / total,
        "evaluate_every": rows / total,
        "dev_rows": 1,
        "questions_per_row": 1.0,
    }
    settings |= {"teachers": ""} | ({"keep_vectors": 0.0} if way == "sequence" else {})
    return spec.model_copy(update={"train": spec.train.model_copy(update=settings)})


def trained(way: str, spec: PackSpec, rows: int, out: Path) -> Trained:
    """Train one way, or go on where it stopped."""
    data, backbone = load(spec), load_backbone(spec.backbone)
    total = sum(map(len, data.train.values()))
    asker = Asker(read_templates(spec.folder / spec.train.questions, data.tasks), data.tasks)
    trainer = Trainer(questions_alone(spec, rows, total, way), data, backbone, out, _Told(), asker=asker)
    trainer.weights = dict.fromkeys(trainer.weights, 0.0)
    assert trainer.quiz
    if way == "sequence":
        trainer.quiz = SequenceQuiz(trainer.quiz.asker, backbone, trainer.quiz.teacher)
    return Trained(trainer.run(), trainer.quiz)


def main() -> None:
    """Train and measure one way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--way", choices=("branches", "sequence"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the training's checkpoint")
    parser.add_argument("--rows", type=int, default=24_000, help="to train on; each is asked one question")
    parser.add_argument("--asked", type=int, default=400, help="rows of an unseen set, at most")
    options = parser.parse_args()
    began = time.monotonic()
    engine = trained(options.way, load_spec(SPEC), options.rows, options.out)
    minutes = (time.monotonic() - began) / 60
    asks = read_asks(HERE / "unseen.yaml")
    questions = gather(options.sets, SPEC.parent / "data", asks, options.asked)
    found = measure(engine, questions)
    print(json.dumps({"minutes": round(minutes, 1), **found["mean of choices"]}))
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(kept | {f"{options.way}, {options.rows} rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
