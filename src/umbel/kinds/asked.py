"""Questions that come with their rows: data to train answering what is asked on the spot; no task of its own.

A cell is one question or a list of them:

    {"question": "Who called?", "answers": [{"start": 3, "text": "Anna"}]}      no answers: the text holds none
    {"choice": "Which team?", "options": ["billing", "technical: it does not work"], "answer": "billing"}
    {"predicate": "The customer wants a refund", "answer": true}
    {"score": "How angry?", "levels": ["calm", "cross", "furious"], "answer": 1.4}      a place on the scale, from 0
    {"types": ["person", "place"], "spans": [{"start": 3, "end": 7, "label": "person"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel.errors import InputError, suggest
from umbel.kinds.base import Floats
from umbel.kinds.untrained import Untrained
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Question, Score, checked
from umbel.records import Prediction, Task

Drawn = tuple[Question, Any]


class Asked(Untrained):
    """Rows of questions with their gold answers, tuples of (question, gold); questions have losses of their own."""

    name = "asked"

    def parse(self, task: Task, value: object, text: str) -> tuple[Drawn, ...]:
        """Return the cell's questions, each checked against the text."""
        return tuple(_question(item, text) for item in (value if isinstance(value, list) else [value]))

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Refuse: questions are asked, not answered unasked."""
        raise InputError(f"{task.name}: a task of kind asked answers nothing by itself", "ask a question")


_FORMS = ("question", "choice", "predicate", "score", "types")


def _question(item: object, text: str) -> Drawn:
    forms = [form for form in _FORMS if isinstance(item, dict) and form in item]
    if not isinstance(item, dict) or len(forms) != 1:
        raise ValueError(f"found {item!r:.60}, expected a question: a mapping with one of {', '.join(_FORMS)}")
    question, gold = _READ[forms[0]](item, text)
    try:
        return checked(question), gold
    except InputError as error:
        raise ValueError(str(error)) from None


def _extract(item: Mapping[str, Any], text: str) -> Drawn:
    answers = item.get("answers", [])
    if not isinstance(answers, list):
        raise ValueError(f"answers: found {answers!r:.40}, expected a list of {{start, text}}")
    for answer in answers:
        if not isinstance(answer, dict):
            raise ValueError(f"answers: found {answer!r:.40}, expected {{start, text}}")
        start, words = answer.get("start"), answer.get("text")
        if not isinstance(start, int) or not isinstance(words, str) or text[start : start + len(words)] != words:
            raise ValueError(f"answers: {answer!r:.60} does not stand there in the text")
    golds = tuple((each["start"], each["start"] + len(each["text"]), each["text"]) for each in answers)
    return Extract(item["question"]), golds


def _choice(item: Mapping[str, Any], text: str) -> Drawn:
    options = _options(item, "options")
    names = [option.name for option in options]
    if item.get("answer") not in names:
        raise ValueError(f"answer: {item.get('answer')!r} is not an option{suggest(str(item.get('answer')), names)}")
    return Choice(item["choice"], options), names.index(item["answer"])


def _predicate(item: Mapping[str, Any], text: str) -> Drawn:
    if not isinstance(item.get("answer"), bool):
        raise ValueError(f"answer: found {item.get('answer')!r}, expected true or false")
    return Predicate(item["predicate"]), item["answer"]


def _score(item: Mapping[str, Any], text: str) -> Drawn:
    levels, answer = _options(item, "levels"), item.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not 0 <= answer <= len(levels) - 1:
        raise ValueError(f"answer: found {answer!r}, expected a place on the scale, 0 to {len(levels) - 1}")
    return Score(item["score"], levels), np.maximum(1 - np.abs(np.arange(len(levels)) - answer), 0).astype(np.float32)


def _mentions(item: Mapping[str, Any], text: str) -> Drawn:
    types = _options(item, "types")
    names = [option.name for option in types]
    found = []
    for span in item.get("spans", []):
        if not isinstance(span, dict):
            raise ValueError(f"spans: found {span!r:.40}, expected {{start, end, label}}")
        start, end, label = span.get("start"), span.get("end"), span.get("label")
        if label not in names:
            raise ValueError(f"spans: {label!r} is not one of the types{suggest(str(label), names)}")
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
            raise ValueError(f"spans: {span!r:.60} lies outside the text of {len(text)} characters or is empty")
        found.append((names.index(label), start, end))
    return Mentions(types), tuple(found)


def _options(item: Mapping[str, Any], key: str) -> tuple[Option, ...]:
    values = item.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key}: found {values!r:.60}, expected a list of texts")
    parts = [value.partition(": ") for value in values]
    return tuple(Option(name, description) for name, _, description in parts)


_READ = {"question": _extract, "choice": _choice, "predicate": _predicate, "score": _score, "types": _mentions}
