"""Measures questions on sets that no pack trains on: what a pack answers, and what cosines of vectors give.

    python packs/experiments/unseen.py --sets DATA --engine cosine [--names-only] [--only sst2,waimai_10k]
    python packs/experiments/unseen.py --sets DATA --engine pack --pack runs/base/pack

`unseen.yaml` beside this file says how each set is asked about. Dev rows are taken evenly spread, at most `--rows` of
each set; rows that stand in the files of `--trained`, in whole or in half, are left out first. Engines:

- `pack`: the pack's branches, through the runtime.
- `cosine`: the untouched backbone's vector of the text against those of the options' words, each behind the
  backbone's prefix; probabilities at the temperature that the e5 family was trained with. It answers choices alone.

Each run adds its figures to unseen.json beside this file, by the name of the engine; the table goes to the terminal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import umbel
from umbel import decide, metrics
from umbel.catalogue import load_backbone
from umbel.errors import DataError, SpecError, UmbelError, suggest
from umbel.questions import Choice, Mentions, Option, Predicate, PredicateAnswer, Question
from umbel.records import LabelPrediction, SpansPrediction
from umbel.rows import read_rows
from umbel.runtime import Model
from umbel.vectors import VectorTeacher
from umbel.weights import Backbone
from umbel.yamlfile import read_yaml, written

HERE = Path(__file__).parent
FIGURES = HERE / "unseen.json"
TRAINED = HERE.parent / "base" / "data"

ROWS = 3000  # of a set: of 400 half of the calibration error may be chance
TEMPERATURE = 0.01  # of cosines in the training of the e5 family (Wang et al. 2024)
BATCH = 16  # texts that become vectors at once
STRETCH = 16  # letters; a text is known when half of its stretches stand in the train files
KNOWN = 0.5

Row = Mapping[str, Any]


class Ask(BaseModel):
    """One way to ask about a set: a choice, a predicate or types of spans; unseen.yaml documents the keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    column: str = ""
    choice: str = ""
    options: dict[str, str] = Field(default_factory=dict)
    predicate: str = ""
    holds: list[str] = Field(default_factory=list)
    types: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A question of a text with its gold answer: an option's index, true or false, or the spans of each type."""

    text: str
    question: Question
    gold: Any


class Engine(Protocol):
    """Answers questions; `kinds` are those it can answer."""

    kinds: tuple[type[Question], ...]

    def __call__(self, asked: Sequence[Asked]) -> list[decide.Answer]:
        """Return the answer to each question, without a look at its gold one."""


# Questions


def read_asks(path: Path) -> dict[str, dict[str, Ask]]:
    """Read the asks of each set.

    Raises:
        SpecError: with all faults of the file.
    """
    document = read_yaml(path)
    faults = [f"{path.name}:{line}: {written(place)}: {message}" for line, place, message in document.faults]
    found: dict[str, dict[str, Ask]] = {}
    for name, asks in (document.value or {}).items():
        if not isinstance(asks, dict):
            faults.append(f"{path.name}:{document.line((name,))}: {name}: found {asks!r:.60}, expected asks by name")
            continue
        for key, value in asks.items():
            ask, wrong = _ask(value)
            faults += [f"{path.name}:{document.line((name, key))}: {name}.{key}: {fault}" for fault in wrong]
            if ask:
                found.setdefault(name, {})[key] = ask.model_copy(update={"column": ask.column or key})
    if faults:
        raise SpecError(str(path), faults)
    return found


def _ask(value: object) -> tuple[Ask | None, list[str]]:
    try:
        ask = Ask.model_validate(value)
    except ValidationError as error:
        return None, [f"{written(e['loc'])}: found {e['input']!r:.60}: {e['msg']}" for e in error.errors()]
    forms = [form for form in ("choice", "predicate", "types") if getattr(ask, form)]
    faults = [] if len(forms) == 1 else [f"found {forms or 'none'}, expected one of choice, predicate, types"]
    faults += ["a choice needs two options"] if ask.choice and len(ask.options) < 2 else []
    faults += ["a predicate needs the labels it holds of"] if ask.predicate and not ask.holds else []
    return ask, faults


def make(ask: Ask, row: Row) -> Asked:
    """Return the question about a row with its gold answer.

    Raises:
        ValueError: the row's label is none of the ask's.
    """
    text, value = str(row["text"]), row[ask.column]
    pair = str(row.get("text_pair", ""))
    if ask.predicate:
        return Asked(text, Predicate(ask.predicate.replace("{text_pair}", pair)), value in ask.holds)
    options = tuple(_option(words) for words in (ask.options or ask.types).values())
    labels = list(ask.options or ask.types)
    unknown = [label for label in _labels(value) if label not in labels]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not asked for{suggest(unknown[0], labels)}")
    if ask.choice:
        return Asked(text, Choice(ask.choice.replace("{text_pair}", pair), options), labels.index(value))
    return Asked(text, Mentions(options), tuple((labels.index(s["label"]), s["start"], s["end"]) for s in value))


def _labels(value: Any) -> list[str]:
    return [span["label"] for span in value] if isinstance(value, list) else [value]


def _option(words: str) -> Option:
    name, _, description = words.partition(" | ")
    return Option(name, description)


def names_only(asked: Asked) -> Asked:
    """Return the question without its options' descriptions."""
    question = asked.question
    if isinstance(question, Choice):
        return replace(asked, question=replace(question, options=_names(question.options)))
    if isinstance(question, Mentions):
        return replace(asked, question=replace(question, types=_names(question.types)))
    return asked


def _names(options: Sequence[Option]) -> tuple[Option, ...]:
    return tuple(Option(option.name) for option in options)


# Rows


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """Return at most so many rows, evenly spread, for some files are sorted by label."""
    count = min(most, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def stretches(text: str) -> set[str]:
    """Return all stretches of STRETCH letters and digits of a text, or all it has where they are fewer."""
    letters = "".join(filter(str.isalnum, text.casefold()))
    return {letters[at : at + STRETCH] for at in range(max(len(letters) - STRETCH, 0) + 1)}


def unknown(sets: Mapping[str, Sequence[Row]], trained: Iterable[str]) -> dict[str, list[Row]]:
    """Return the rows of each set whose text is not known from the trained texts.

    Reviews are gathered again and again: some dev rows of one set are train rows of another.
    """
    own = {name: [stretches(str(row["text"])) for row in rows] for name, rows in sets.items()}
    wanted = set().union(*(found for texts in own.values() for found in texts))
    known: set[str] = set()
    for text in trained:
        known |= stretches(text) & wanted
    return {
        name: [r for r, found in zip(rows, own[name], strict=True) if len(found & known) < KNOWN * len(found)]
        for name, rows in sets.items()
    }


def trained_texts(folder: Path) -> Iterable[str]:
    """Yield the texts of all train files of a folder.

    Raises:
        DataError: there are none, or one is damaged.
    """
    paths = sorted(folder.glob("*.train.jsonl.gz"))
    if not paths:
        raise DataError(
            str(folder), ["no train files"], "packs/base/prepare.py makes them; --trained names their folder"
        )
    return (str(row["text"]) for path in paths for _, row in read_rows(path))


def dev_rows(folder: Path, name: str) -> list[Row]:
    """Return a set's dev rows.

    Raises:
        DataError: they are missing or damaged.
    """
    return [row for _, row in read_rows(folder / name / "dev.jsonl.gz")]


# Engines


class Cosines:
    """Compares the untouched backbone's vectors of a text and of options' words."""

    kinds: tuple[type[Question], ...] = (Choice,)

    def __init__(self, backbone: Backbone) -> None:
        self.tokenizer, self.teacher = backbone.tokenizer, VectorTeacher(backbone)
        self._vectors: dict[str, np.ndarray] = {}

    def __call__(self, asked: Sequence[Asked]) -> list[decide.Answer]:
        """Answer choices by the option nearest to the text; long texts by their first window."""
        words = {option.words for each in asked for option in self._options(each)}
        self._learn(sorted(words | {each.text for each in asked}, key=len))
        return [self._answer(each) for each in asked]

    def _answer(self, asked: Asked) -> decide.Answer:
        assert isinstance(asked.question, Choice)
        options = np.stack([self._vectors[option.words] for option in self._options(asked)])
        return decide.choose(asked.question, options @ self._vectors[asked.text], TEMPERATURE)

    def _options(self, asked: Asked) -> Sequence[Option]:
        assert isinstance(asked.question, Choice)
        return asked.question.options

    def _learn(self, texts: Sequence[str]) -> None:
        new = [text for text in texts if text not in self._vectors]
        for at in range(0, len(new), BATCH):
            some = new[at : at + BATCH]
            vectors = self.teacher.vectors([cut[0] for cut in self.tokenizer.windows_many(some)])
            self._vectors.update(zip(some, vectors.numpy(), strict=True))


class Branches:
    """Asks a pack through the runtime."""

    kinds: tuple[type[Question], ...] = (Choice, Predicate, Mentions)

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, asked: Sequence[Asked]) -> list[decide.Answer]:
        """Answer each question."""
        return [self.model.ask(each.text, [each.question])[0] for each in asked]


# Figures


def figures(asked: Sequence[Asked], answers: Sequence[decide.Answer]) -> dict[str, float]:
    """Return `rows` and, of spans, F1, precision and recall; else accuracy, macro-F1 and the calibration error."""
    if isinstance(asked[0].question, Mentions):
        wanted = [_spans(each) for each in asked]
        given = [{(s.label, s.start, s.end) for s in found} for found in answers if isinstance(found, SpansPrediction)]
        return {"rows": len(asked), **_rounded(metrics.micro(wanted, given))}
    said, confidence = zip(*(says(answer) for answer in answers), strict=True)
    return {"rows": len(asked), **label_figures([gold_of(each) for each in asked], said, confidence)}


def label_figures(golds: Sequence[str], said: Sequence[str], confidence: Sequence[float]) -> dict[str, float]:
    """Return accuracy, macro-F1 and the calibration error of labels that were said with some confidence."""
    labels = sorted({*golds, *said})
    values = {
        "accuracy": metrics.accuracy(golds, said),
        "macro-f1": metrics.macro_f1([{gold} for gold in golds], [{found} for found in said], labels),
    }
    right = np.array([gold == found for gold, found in zip(golds, said, strict=True)])
    error = metrics.calibration_error(np.array(confidence), right)
    return {**_rounded(values), "ece": round(error, 3)}


def _spans(asked: Asked) -> set[tuple[str, int, int]]:
    assert isinstance(asked.question, Mentions)
    return {(asked.question.types[kind].name, start, end) for kind, start, end in asked.gold}


def gold_of(asked: Asked) -> str:
    """Return the right answer of a choice or a predicate in words."""
    return asked.question.options[asked.gold].name if isinstance(asked.question, Choice) else str(asked.gold)


def says(answer: decide.Answer) -> tuple[str, float]:
    """Return what an answer says and how sure it is; an answer that is withheld says nothing, and is wrong."""
    match answer:
        case LabelPrediction(label=label, probability=probability):
            return label or "", probability
        case PredicateAnswer(holds=holds, probability=probability):
            return str(holds), max(probability, 1 - probability)
    raise TypeError(f"{type(answer).__name__} is no label")


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in values.items()}


def means(found: Mapping[str, Mapping[str, float]], choices: Sequence[str]) -> dict[str, float]:
    """Return the means of the choices' figures, each set counting once however many asks it has."""
    of_sets: dict[str, list[Mapping[str, float]]] = {}
    for name in choices:
        of_sets.setdefault(name.split(".")[0], []).append(found[name])
    keys = ("accuracy", "macro-f1", "ece")
    by_set = [{key: np.mean([each[key] for each in some]) for key in keys} for some in of_sets.values()]
    return {"sets": len(by_set)} | {key: round(float(np.mean([each[key] for each in by_set])), 3) for key in keys}


def measure(engine: Engine, questions: Mapping[str, Sequence[Asked]]) -> dict[str, dict[str, float]]:
    """Return the figures of every ask that the engine can answer, and the means of choices."""
    found = {}
    for name, asked in questions.items():
        if asked and isinstance(asked[0].question, engine.kinds):
            found[name] = figures(asked, engine(asked))
            print(f"{name:<36}" + "".join(f"  {key} {value:g}" for key, value in found[name].items()), flush=True)
    choices = [name for name in found if isinstance(questions[name][0].question, Choice)]
    return found | ({"mean of choices": means(found, choices)} if choices else {})


def gather(folder: Path, trained: Path, asks: Mapping[str, Mapping[str, Ask]], most: int) -> dict[str, list[Asked]]:
    """Return the questions of each ask, `set.ask`, about the same rows of its set.

    Raises:
        DataError: rows are missing or damaged, or have labels that nothing asks for.
    """
    every = {name: dev_rows(folder, name) for name in asks}
    rows = unknown(every, trained_texts(trained))
    print(
        "left out as known:",
        {name: len(of) - len(rows[name]) for name, of in every.items() if len(of) > len(rows[name])},
    )
    found: dict[str, list[Asked]] = {}
    faults = []
    for name, of_set in asks.items():
        chosen = spread(rows[name], most)
        for key, ask in of_set.items():
            try:
                found[f"{name}.{key}"] = [make(ask, row) for row in chosen if ask.column in row]
            except ValueError as error:
                faults.append(f"{name}.{ask.column}: {error}")
    if faults:
        raise DataError(str(folder), faults)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure one engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--trained", type=Path, default=TRAINED, help="folder of the files that were trained on")
    parser.add_argument("--engine", choices=("pack", "cosine"), required=True)
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--only", default="", help="names of sets, separated by commas; all by default")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a set, at most")
    parser.add_argument("--names-only", action="store_true", help="leave out the options' descriptions")
    options = parser.parse_args(arguments)
    asks = read_asks(HERE / "unseen.yaml")
    names = options.only.split(",") if options.only else list(asks)
    if faults := [f"{name!r} is not a set{suggest(name, list(asks))}" for name in names if name not in asks]:
        raise SpecError("--only", faults)
    questions = gather(options.sets, options.trained, {name: asks[name] for name in names}, options.rows)
    if options.names_only:
        questions = {name: [names_only(each) for each in asked] for name, asked in questions.items()}
    engine = Cosines(load_backbone()) if options.engine == "cosine" else Branches(umbel.load(options.pack))
    found = measure(engine, questions)
    print(json.dumps(found.get("mean of choices", {})))
    if not options.only:
        key = options.engine + (", names only" if options.names_only else "")
        kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
        FIGURES.write_text(json.dumps(kept | {key: found}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
