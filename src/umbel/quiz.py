"""Questions in a joint training: draws them for rows, gives their losses, and scores some on dev.

Knows nothing of templates (`asking` makes the questions) or of the training loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from umbel import decide
from umbel.brancher import Brancher
from umbel.branching import Asked, branch_states, question_loss
from umbel.questions import Choice, Question
from umbel.readouts import logits_of
from umbel.vectors import VectorTeacher

if TYPE_CHECKING:
    from umbel.backbones.bert import Encoding
    from umbel.model import MultiTaskModel
    from umbel.records import Example, Window
    from umbel.weights import Backbone


Drawn = tuple[Question, Any]  # a question and its gold answer (`branching.Asked` says of which type)


class Asker(Protocol):
    """Makes questions of a row; `asking.Asker` is one."""

    def ask(self, example: Example, generator: np.random.Generator) -> Sequence[Drawn]:
        """Return questions with their gold answers; everything random comes from the generator."""


class Quiz:
    """Asks the training engine questions; option vectors come from the untouched backbone and are kept."""

    def __init__(self, asker: Asker, backbone: Backbone, teacher: VectorTeacher) -> None:
        self.asker, self.teacher = asker, teacher
        self.brancher = Brancher(backbone.tokenizer)
        self.tokenizer = backbone.tokenizer
        self._vectors: dict[str, Tensor] = {}

    def draw(self, rows: Sequence[Example], most: float, seed: Sequence[int]) -> list[Sequence[Drawn]]:
        """Return each row's questions, `most` of them on average: a whole number always, the rest of it by chance."""
        drawn: list[Sequence[Drawn]] = []
        for place, row in enumerate(rows):
            generator = np.random.default_rng([*seed, place])
            count = int(most) + int(generator.random() < most % 1)
            drawn.append([*self.asker.ask(row, generator)][:count] if count else [])
        return drawn

    def losses(
        self, model: MultiTaskModel, encoding: Encoding, windows: Sequence[Window], asked: Sequence[Asked]
    ) -> Tensor:
        """Return the loss of each question `[questions]`; `Asked.text` is a row of the encoding."""
        logits = self.logits(model, encoding, windows, asked)
        return torch.stack([question_loss(e, found, windows[e.text]) for e, found in zip(asked, logits, strict=True)])

    def logits(
        self, model: MultiTaskModel, encoding: Encoding, windows: Sequence[Window], asked: Sequence[Asked]
    ) -> list[tuple[Tensor, ...]]:
        """Return each question's logits (`readouts.logits_of`)."""
        by_question = [self.brancher.branches(each.question) for each in asked]
        flat = [(each.text, branch) for each, found in zip(asked, by_question, strict=True) for branch in found]
        states = iter(branch_states(model.encoder, model.readouts["roles"], encoding, flat, model.pad))
        weights, hidden = dict(model.readouts), encoding.hidden.float()
        logits = []
        for each, found, cosines in zip(asked, by_question, self.cosines(encoding, asked), strict=True):
            of_branches = [next(states) for _ in found]
            roots, leaves = torch.cat([state[:1] for state in of_branches]), of_branches[0][1:]
            tokens = hidden[each.text, : len(windows[each.text].ids)]
            logits.append(logits_of(weights, each.question, roots, leaves, cosines, tokens))
        return logits

    def cosines(self, encoding: Encoding, asked: Sequence[Asked]) -> list[Tensor]:
        """Return for each choice the cosines of its options' vectors with the text's `[options]`; else nothing."""
        wanted = {o.words for each in asked if isinstance(each.question, Choice) for o in each.question.options}
        self._learn_vectors(sorted(wanted - self._vectors.keys()))
        mask = encoding.mask[..., None]
        texts = functional.normalize((encoding.hidden.float() * mask).sum(1) / mask.sum(1), dim=-1)
        return [
            torch.stack([self._vectors[option.words] for option in each.question.options]) @ texts[each.text]
            if isinstance(each.question, Choice)
            else texts.new_zeros(0)
            for each in asked
        ]

    def _learn_vectors(self, words: Sequence[str]) -> None:
        if words:
            windows = [cut[0] for cut in self.tokenizer.windows_many(words)]
            self._vectors.update(zip(words, self.teacher.vectors(windows), strict=True))

    @torch.no_grad()
    def scores(self, model: MultiTaskModel, rows: Sequence[Example], seed: int) -> dict[str, float]:
        """Return how many questions on dev rows are answered rightly, in percent, by kind of question.

        Mentions count by their F1 (`decide.is_right`).
        """
        model.eval()
        found: dict[str, list[float]] = {}
        for at in range(0, len(rows), 32):
            some = rows[at : at + 32]
            windows = [cut[0] for cut in self.tokenizer.windows_many([row.text for row in some])]
            drawn = [self.asker.ask(row, np.random.default_rng([seed, at + place])) for place, row in enumerate(some)]
            asked = [Asked(place, *each) for place, row in enumerate(drawn) for each in row]
            if not asked:
                continue
            encoding = model.encoder.encode(*model.pad_windows(windows))
            for each, logits in zip(asked, self.logits(model, encoding, windows, asked), strict=True):
                window = windows[each.text].offsets, [values.numpy() for values in logits]
                given = decide.answer(each.question, some[each.text].text, [window])
                right = decide.is_right(each.question, each.gold, given)
                found.setdefault(decide.kind_name(each.question), []).append(100 * right)
        return {name: float(np.mean(values)) for name, values in sorted(found.items())}
