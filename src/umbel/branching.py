"""Asks questions of the training engine: branches to states, states to logits, logits to losses.

Knows nothing of where questions come from or how training draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from umbel.backbones.bert import BertEncoder, Encoding
from umbel.decide import LONGEST
from umbel.questions import Choice, Extract, Mentions, Predicate, Question, Score
from umbel.records import Window
from umbel.tree import Branch, rows_of

LENGTHS = (32, 64, 128)  # branches are padded to the longest of their group: up to so many tokens, or more
Span = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """A question of one text of the batch, with its gold answer.

    The right option's index for a choice; true or false; each level's share `[levels]`; `(start, end, words)` of every
    right answer, of which the first trains; `(type index, start, end)` of every mention.
    """

    text: int
    question: Question
    gold: Any


def branch_states(
    encoder: BertEncoder, roles: Tensor, encoding: Encoding, branches: Sequence[tuple[int, Branch]], pad: int
) -> list[Tensor]:
    """Return for each (text, branch) the states of its question and of its options `[1 + options, hidden]`."""
    states: list[Tensor] = [torch.empty(0)] * len(branches)
    for group in _grouped(branches):
        rows = rows_of([branches[place][1] for place in group], pad)
        texts = torch.tensor([branches[place][0] for place in group])
        ids, positions, attends = (torch.from_numpy(each) for each in (rows.ids, rows.positions, rows.attends))
        hidden = encoder.branch(encoding, texts, ids, positions, roles[torch.from_numpy(rows.roles)], attends)
        for row, place in enumerate(group):
            states[place] = hidden[row, torch.from_numpy(rows.reads[row])].float()
    return states


def _grouped(branches: Sequence[tuple[int, Branch]]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for place, (_, branch) in enumerate(branches):
        groups.setdefault(sum(branch.padded > length for length in LENGTHS), []).append(place)
    return list(groups.values())


def question_loss(asked: Asked, logits: Sequence[Tensor], window: Window) -> Tensor:
    """Return the loss `[]` of one question from its logits (`readouts.logits_of`) on its text's window."""
    match asked.question:
        case Choice():
            return functional.cross_entropy(logits[0], torch.tensor(asked.gold))
        case Score():
            return functional.cross_entropy(logits[0], torch.as_tensor(asked.gold))
        case Predicate():
            return functional.binary_cross_entropy_with_logits(logits[0], torch.tensor([float(asked.gold)]))
        case Extract():
            return extract_loss(logits[0], logits[1], window, asked.gold[0][:2] if asked.gold else None)
        case Mentions():
            return mentions_loss(torch.stack(list(logits)), window, asked.gold)


def extract_loss(start: Tensor, end: Tensor, window: Window, gold: Span | None) -> Tensor:
    """Return the negative log likelihood of the gold span among all spans and "no answer", the first token's."""
    covering = torch.from_numpy(window.offsets[:, 1] > window.offsets[:, 0])
    places = torch.arange(len(start))
    ahead = places[None, :] - places[:, None]
    allowed = (ahead >= 0) & (ahead < LONGEST) & covering[:, None] & covering[None, :]
    spans = (start[:, None] + end[None, :])[allowed]
    none = start[0] + end[0]
    place = token_span(window, gold) if gold else None
    right = none if place is None else start[place[0]] + end[place[1]]
    return torch.cat([spans, none[None]]).logsumexp(0) - right


def mentions_loss(logits: Tensor, window: Window, gold: Sequence[tuple[int, int, int]]) -> Tensor:
    """Return the binary cross entropy of starts, ends and insides `[3, types, tokens]`, summed over the tokens.

    Tokens that cover nothing train nothing; the sum is divided by the number of types.
    """
    targets = torch.zeros_like(logits)
    for kind, *span in gold:
        place = token_span(window, (span[0], span[1]))
        if place:
            targets[0, kind, place[0]] = 1
            targets[1, kind, place[1]] = 1
            targets[2, kind, place[0] : place[1] + 1] = 1
    covering = torch.from_numpy(window.offsets[:, 1] > window.offsets[:, 0])
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * covering).sum() / (3 * logits.shape[1])


def token_span(window: Window, span: Span) -> Span | None:
    """Return the first and last token of a span of code points; None where the window does not hold all of it."""
    starts, ends = window.offsets[:, 0], window.offsets[:, 1]
    touched = np.flatnonzero((starts < span[1]) & (ends > span[0]) & (ends > starts))
    if not len(touched) or starts[touched[0]] > span[0] or ends[touched[-1]] < span[1]:
        return None
    return int(touched[0]), int(touched[-1])
