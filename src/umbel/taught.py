"""Finds rows more for a task that has few: other tasks' texts that are most like its own, labelled by a trained part.

So what several tasks learnt together goes on to a small one, which then trains alone on more than it has: self-training
on texts that are found by their vectors (SentAugment, Du et al. 2021), with a teacher of several tasks. Knows nothing
of trainings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umbel.kinds.base import kind_of
from umbel.records import Example, LabelPrediction, LabelsPrediction, Prediction, ScorePrediction, SpansPrediction

if TYPE_CHECKING:
    from umbel.data import Data
    from umbel.runtime import Model

SOURCE = "taught"  # what the rows are named after
TIMES = 7  # as many rows as the task has of its own
LOOKED_AT = 30_000  # texts of others, at most: comparing more takes long
BATCH = 64
SEED = 0

Told = Callable[[int], None]  # how many more are done


def taught_rows(data: Data, task: str, teacher: Model, told: Told = lambda rows: None) -> list[Example]:
    """Return other tasks' train texts, `TIMES` as many as the task has rows at most, with the teacher's answers.

    Of texts in the task's languages those are taken that are nearest to one of its own, by the cosine of the teacher's
    means. None is the task's own, in train or in dev. `told` hears how many texts more were compared or labelled.
    """
    own = list(data.train_of(task))
    others = _others(data, task, own)
    if not own or not others:
        return []
    random.Random(SEED).shuffle(others)
    near = _nearest(teacher, own, others[:LOOKED_AT], TIMES * len(own), told)
    return _labelled(teacher, task, near, told)


def _others(data: Data, task: str, own: Sequence[Example]) -> list[Example]:
    """Return the rows of other tasks whose texts the task does not have, each text once."""
    languages = {row.language for row in own}
    seen = {row.text for row in (*own, *data.dev_of(task))}
    found = []
    for rows in data.train.values():
        for row in rows:
            if row.language in languages and row.text.strip() and row.text not in seen:
                seen.add(row.text)
                found.append(row)
    return found


def _nearest(
    teacher: Model, own: Sequence[Example], others: Sequence[Example], count: int, told: Told
) -> list[Example]:
    """Return the rows of `others` whose vectors are nearest to one of `own`, in the order in which they came."""
    ours, theirs = (_vectors(teacher, rows, told) for rows in (own, others))
    nearness = np.concatenate([(part @ ours.T).max(axis=1) for part in np.array_split(theirs, 1 + len(theirs) // 1024)])
    return [others[place] for place in sorted(np.argsort(-nearness, kind="stable")[:count])]


def _vectors(teacher: Model, rows: Sequence[Example], told: Told) -> Any:
    """Return means of length 1 `[rows, hidden]`."""
    found = []
    for at in range(0, len(rows), BATCH):
        part = rows[at : at + BATCH]
        found.append(teacher.means([row.text for row in part]))
        told(len(part))
    vectors = np.concatenate(found)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _labelled(teacher: Model, task: str, rows: Sequence[Example], told: Told) -> list[Example]:
    """Return the rows with the teacher's answers for golds, but for those of which it is not sure enough to answer."""
    known, found = teacher.tasks[task], []
    for at in range(0, len(rows), BATCH):
        part = rows[at : at + BATCH]
        for row, result in zip(part, teacher([each.text for each in part], [task]), strict=True):
            cell = _cell(result[task])
            if cell is not None:
                gold = kind_of(known.kind).parse(known, cell, row.text)
                found.append(Example(row.text, {task: gold}, f"{SOURCE}:{row.source}", row.language))
        told(len(part))
    return found


def _cell(said: Prediction) -> object:
    """Return an answer as data files have it; None where there is none."""
    match said:
        case LabelPrediction():
            return said.label
        case LabelsPrediction():
            return list(said.labels)
        case ScorePrediction():
            return said.score
        case SpansPrediction():
            return [{"start": span.start, "end": span.end, "label": span.label} for span in said.spans]
    return None
