"""Questions in a joint training: draws them for rows, gives their losses, and scores some on dev.

Knows nothing of templates (`asking` makes the questions) or of the training loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from umbel.answered import Answered
from umbel.brancher import Brancher
from umbel.branching import Asked, branch_states, question_loss
from umbel.decide import BLANK, BLANK_SHARE
from umbel.questions import Choice, Question
from umbel.readouts import logits_of
from umbel.vectors import VectorTeacher

CHUNK = 32  # rows encoded at once when asked without training

if TYPE_CHECKING:
    from umbel.backbones.bert import Encoding
    from umbel.model import MultiTaskModel
    from umbel.records import Example, Window
    from umbel.weights import Backbone


Drawn = tuple[Question, Any]  # a question and its gold answer (`branching.Asked` says of which type)


class Asker(Protocol):
    """Makes questions of a row; `asking.Asker` is one."""

    def ask(self, example: Example, generator: np.random.Generator, most: float) -> Sequence[Drawn]:
        """Return questions with their gold answers, `most` on average; everything random comes from the generator."""

    def option_names(self, rows: Iterable[Example]) -> Sequence[str]:
        """Return the names that options have in the choices it makes and in those that rows bring."""


class Quiz:
    """Asks the training engine questions; option vectors come from the untouched backbone and are kept."""

    def __init__(self, asker: Asker, backbone: Backbone, teacher: VectorTeacher) -> None:
        self.asker, self.teacher = asker, teacher
        self.brancher = Brancher(backbone.tokenizer)
        self.tokenizer = backbone.tokenizer
        self._vectors: dict[str, Tensor] = {}

    def draw(self, rows: Sequence[Example], most: float, seed: Sequence[int]) -> list[Sequence[Drawn]]:
        """Return each row's questions, `most` of them on average."""
        return [self.asker.ask(row, np.random.default_rng([*seed, place]), most) for place, row in enumerate(rows)]

    def losses(
        self, model: MultiTaskModel, encoding: Encoding, windows: Sequence[Window], questions: Sequence[Asked]
    ) -> Tensor:
        """Return the loss of each question `[questions]`; `Asked.text` is a row of the encoding."""
        logits = self.logits(model, encoding, windows, questions)
        return torch.stack(
            [question_loss(e, found, windows[e.text]) for e, found in zip(questions, logits, strict=True)]
        )

    def logits(
        self, model: MultiTaskModel, encoding: Encoding, windows: Sequence[Window], questions: Sequence[Asked]
    ) -> list[tuple[Tensor, ...]]:
        """Return each question's logits (`readouts.logits_of`)."""
        by_question = [self.brancher.branches(each.question) for each in questions]
        flat = [(each.text, branch) for each, found in zip(questions, by_question, strict=True) for branch in found]
        states = iter(branch_states(model.encoder, model.readouts["roles"], encoding, flat, model.pad))
        weights, hidden = dict(model.readouts), encoding.hidden.float()
        logits = []
        for each, found, cosines in zip(questions, by_question, self.cosines(encoding, questions), strict=True):
            of_branches = [next(states) for _ in found]
            roots, leaves = torch.cat([state[:1] for state in of_branches]), of_branches[0][1:]
            tokens = hidden[each.text, : len(windows[each.text].ids)]
            logits.append(logits_of(weights, each.question, roots, leaves, cosines, tokens))
        return logits

    def cosines(self, encoding: Encoding, questions: Sequence[Asked]) -> list[Tensor]:
        """Return for each choice the cosines of its options' vectors with the text's `[options]`; else nothing."""
        wanted = {o.words for each in questions if isinstance(each.question, Choice) for o in each.question.options}
        self._learn_vectors(sorted(wanted - self._vectors.keys()))
        mask = encoding.mask[..., None]
        texts = functional.normalize((encoding.hidden.float() * mask).sum(1) / mask.sum(1), dim=-1)
        return [
            self.option_vectors(each.question) @ texts[each.text]
            if isinstance(each.question, Choice)
            else texts.new_zeros(0)
            for each in questions
        ]

    def option_vectors(self, question: Choice) -> Tensor:
        """Return the vectors of a choice's options `[options, hidden]`, which it was asked with before."""
        return torch.stack([self._vectors[option.words] for option in question.options])

    def _learn_vectors(self, words: Sequence[str]) -> None:
        if words:
            windows = [cut[0] for cut in self.tokenizer.windows_many(words)]
            self._vectors.update(zip(words, self.teacher.vectors(windows), strict=True))

    @torch.no_grad()
    def ask(
        self,
        model: MultiTaskModel,
        rows: Sequence[Example],
        seed: int,
        blank: float = BLANK_SHARE,
        told: Callable[[int], None] = lambda rows: None,
    ) -> list[Answered]:
        """Ask the questions that the asker makes of rows, each text read as its first window.

        `blank` is `Calibration.blank`, taken off as the runtime's reader does; `told` is called with how many rows
        more are done.
        """
        model.eval()
        (nothing,) = self.tokenizer.windows_many([BLANK])
        empty = model.encoder.encode(*model.pad_windows(nothing))
        found = []
        for at in range(0, len(rows), CHUNK):
            some = rows[at : at + CHUNK]
            windows = [cut[0] for cut in self.tokenizer.windows_many([row.text for row in some])]
            drawn = [
                self.asker.ask(row, np.random.default_rng([seed, at + place]), 1) for place, row in enumerate(some)
            ]
            questions = [Asked(place, *each) for place, row in enumerate(drawn) for each in row]
            if questions:
                encoding = model.encoder.encode(*model.pad_windows(windows))
                choices = [replace(each, text=0) for each in questions if isinstance(each.question, Choice)]
                said = iter(self.logits(model, empty, nothing, choices) if blank else ())
                for each, logits in zip(questions, self.logits(model, encoding, windows, questions), strict=True):
                    if blank and isinstance(each.question, Choice):
                        logits = (logits[0] - blank * next(said)[0],)
                    window = windows[each.text].offsets, [values.float().numpy() for values in logits]
                    found.append(Answered(each.question, each.gold, some[each.text].text, [window]))
            told(len(some))
        return found
