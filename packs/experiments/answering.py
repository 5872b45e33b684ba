"""Measures how well a pack answers questions on passages, in the passages' own words.

    python packs/experiments/answering.py --sets DATA [--pack base] [--rows 0]

Dev questions of three sets are asked of whole texts, all questions of a text at once: cmrc2018 and drcd, whose train
parts packs/base/base.yaml trains on, and subjqa_restaurants, English, of which nothing is trained on: what crosses over
from Chinese. Scored as the sets' authors do: exact match and F1, the best over a question's gold answers, without
punctuation; for Chinese F1 is the longest common stretch of characters (Cui et al., EMNLP 2019), for English the common
words (Rajpurkar et al., EMNLP 2016), and a question without an answer is right where none is given. Every question of
the Chinese sets has an answer, so there the likeliest span is taken (`must_answer`); the same without that is told as
`free`. The figures go to answering.json beside this file, the table to the terminal.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

import umbel
from umbel.errors import UmbelError
from umbel.metrics import calibration_error
from umbel.questions import Extract, ExtractAnswer
from umbel.rows import read_rows
from umbel.runtime import Model

FIGURES = Path(__file__).with_suffix(".json")
SETS = {"cmrc2018": "zh", "drcd": "zh", "subjqa_restaurants": "en"}
PUNCTUATION = frozenset(string.punctuation + "，。：？！“”；’《》‘…·、「」（）－～『』—")
ARTICLES = re.compile(r"\b(a|an|the)\b")
CHINESE = re.compile(r"[\u4e00-\u9fff]|[^\u4e00-\u9fff\s]+")


def pieces(text: str, language: str) -> list[str]:
    """Return what an answer is compared by: characters and Latin words without punctuation, or words."""
    plain = "".join(" " if letter in PUNCTUATION and language == "en" else letter for letter in text.lower())
    if language == "en":
        return ARTICLES.sub(" ", plain).split()
    return CHINESE.findall("".join(letter for letter in plain if letter not in PUNCTUATION))


def f1(gold: Sequence[str], given: Sequence[str], language: str) -> float:
    """Return the F1 of an answer's pieces; an empty one matches an empty one alone."""
    if not gold or not given:
        return float(gold == given)
    if language == "en":
        common = sum((Counter(gold) & Counter(given)).values())
    else:
        found = SequenceMatcher(None, gold, given, autojunk=False).find_longest_match()
        common = found.size
    return 2 * common / (len(gold) + len(given))


def compare(answers: Sequence[str], said: str, language: str) -> tuple[float, float]:
    """Return exact match and F1 against the best gold answer; no gold answer is an empty one."""
    given = pieces(said, language)
    golds = [pieces(answer, language) for answer in answers] or [[]]
    return max(float(gold == given) for gold in golds), max(f1(gold, given, language) for gold in golds)


def measure(model: Model, rows: Sequence[Mapping[str, Any]], language: str, must_answer: bool) -> dict[str, float]:
    """Return exact match, F1 and the calibration error of a set's rows."""
    by_text: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_text.setdefault(row["text"], []).append(row)
    scores, sure = [], []
    for text, asked in by_text.items():
        answers = model.ask(text, [Extract(row["question"], must_answer) for row in asked])
        for row, answer in zip(asked, answers, strict=True):
            assert isinstance(answer, ExtractAnswer)
            golds = [each["text"] for each in row["answers"]]
            scores.append(compare(golds, answer.span.text if answer.span else "", language))
            sure.append(answer.probability)
    exact, overlap = np.array(scores).T
    error = calibration_error(np.array(sure), exact > 0)
    return {
        "questions": len(scores),
        "exact": round(100 * float(exact.mean()), 1),
        "f1": round(100 * float(overlap.mean()), 1),
        "ece": round(error, 3),
    }


def main() -> None:
    """Measure all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--rows", type=int, default=0, help="questions of a set, at most; 0: all")
    options = parser.parse_args()
    model = umbel.load(options.pack)
    figures: dict[str, Any] = {}
    for name, language in SETS.items():
        rows = [row for _, row in read_rows(options.sets / name / "dev.jsonl.gz") if row["question"].strip()]
        rows = rows[: options.rows or None]
        for must in (True, False) if language == "zh" else (False,):
            key = name if must or language == "en" else f"{name}, free"
            figures[key] = measure(model, rows, language, must)
            print(f"{key:<28}" + "".join(f"  {part} {value:g}" for part, value in figures[key].items()), flush=True)
    print(json.dumps(figures))
    if not options.rows:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
