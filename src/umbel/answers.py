"""Turns results into plain values, ready for JSON; knows nothing of terminals or HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from umbel.records import (
    LabelPrediction,
    LabelsPrediction,
    Prediction,
    Result,
    ScorePrediction,
    Span,
    SpansPrediction,
    VectorPrediction,
)

DIGITS = 6  # more would suggest a precision that no probability has


def best(probabilities: Mapping[str, float], most: int | None = None) -> dict[str, float]:
    """Return the `most` likeliest labels, or all of them, likeliest first; ties keep the task's order."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return dict(ranked[:most])


def plain_result(result: Result, most: int | None = None) -> dict[str, Any]:
    """Return text, language and answers by task; of each task's probabilities only the `most` highest.

    >>> plain_result(model("Good morning"))["answers"]["sentiment"]["label"]
    'positive'
    """
    answers = {task: plain_answer(prediction, most) for task, prediction in result.items()}
    return {"text": result.text, "language": result.language, "answers": answers}


def plain_answer(prediction: Prediction, most: int | None = None) -> dict[str, Any]:
    """Return one prediction's fields as plain values."""
    if isinstance(prediction, LabelPrediction):
        answer: dict[str, Any] = {"label": prediction.label, "probability": round(prediction.probability, DIGITS)}
        flags = {"abstained": prediction.abstained, "out_of_scope": prediction.out_of_scope}
        return answer | {name: True for name, on in flags.items() if on} | _ranked(prediction.probabilities, most)
    if isinstance(prediction, LabelsPrediction):
        return {"labels": list(prediction.labels)} | _ranked(prediction.probabilities, most)
    if isinstance(prediction, ScorePrediction):
        return {"score": round(prediction.score, DIGITS)}
    if isinstance(prediction, SpansPrediction):
        return {"spans": [vars(span) | {"probability": round(span.probability, DIGITS)} for span in prediction]}
    return {"vector": [round(number, DIGITS) for number in prediction.vector.tolist()]}


def prediction_from(plain: Mapping[str, Any]) -> Prediction:
    """Return the prediction that `plain_answer` made these values of, to as many digits."""
    if "labels" in plain:
        return LabelsPrediction(tuple(plain["labels"]), plain["probabilities"])
    if "label" in plain:
        flags = (bool(plain.get("abstained")), bool(plain.get("out_of_scope")))
        return LabelPrediction(plain["label"], plain["probability"], plain["probabilities"], *flags)
    if "spans" in plain:
        return SpansPrediction(tuple(Span(**span) for span in plain["spans"]))
    if "vector" in plain:
        return VectorPrediction(np.array(plain["vector"], np.float32))
    return ScorePrediction(plain["score"])


def _ranked(probabilities: Mapping[str, float], most: int | None) -> dict[str, dict[str, float]]:
    shown = {label: round(probability, DIGITS) for label, probability in best(probabilities, most).items()}
    return {"probabilities": shown}


def json_line(value: Mapping[str, Any]) -> bytes:
    """Return one line of JSON in UTF-8; lone surrogates, which UTF-8 has no bytes for, stay as JSON escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
