"""Makes questions of labelled rows from templates, to train answering what is asked on the spot.

Templates are YAML files, one mapping of task to:

    instructions: {en: [...], zh: [...]}
    statements:   {en: {holds: [...], fails: [...]}}    with `{label}`: true of a row that has it, or has it not
    labels:       {label: {en: ["name", "name | description"]}}    without them a label is its own name
    levels:       [{order: [label, ...], en: instruction}]    labels that make a scale, the lowest first
    numbers:      [{low: 0, high: 5, en: {instructions: [...], levels: [...]}}]    a number as a place on a scale

Tasks of kind `asked` bring their questions themselves. Knows nothing of tokens and training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from umbel.errors import SpecError, suggest
from umbel.questions import Choice, Mentions, Option, Predicate, Question, Score
from umbel.records import Example, Task
from umbel.yamlfile import read_yaml, written

OWN_LANGUAGE = 0.75  # of questions are in the text's language
DESCRIBED = 0.5  # of options with a description show it
NONE_OFFERED = 0.15  # of choices offer "none of these"; in half of those it is right
OPTIONS = (2, 3, 3, 4, 4, 5, 6, 8, 10, 12)  # how many a choice has
MANY, MANY_SHARE = 30, 0.04  # rarely as many as this
OWN = 4  # questions that a row brings, asked at one reading, at most
TYPES = 5  # of spans asked for at once, at most
NONE = {"en": ("none of these", "something else", "none of the above"), "zh": ("以上都不是", "其他", "都不符合")}

Drawn = tuple[Question, Any]
Generator = np.random.Generator
T = TypeVar("T")
Words = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Statements(_Record):
    """Sentences that hold of a row with the label, and ones that hold of a row without it."""

    holds: Words
    fails: Words


class Scale(_Record):
    """Instructions and levels of one language."""

    instructions: Words
    levels: Annotated[list[str], Field(min_length=2, max_length=10)]


class Levels(_Record):
    """Labels that make a scale."""

    model_config = ConfigDict(frozen=True, extra="allow")
    order: Annotated[list[str], Field(min_length=2, max_length=10)]


class Numbers(_Record):
    """A scale that numbers from `low` to `high` are put on."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Scale]
    low: float
    high: float


class Templates(_Record):
    """How the rows of one task are asked about."""

    instructions: dict[str, Words] = Field(default_factory=dict)
    statements: dict[str, Statements] = Field(default_factory=dict)
    labels: dict[str, dict[str, Words]] = Field(default_factory=dict)
    levels: list[Levels] = Field(default_factory=list)
    numbers: list[Numbers] = Field(default_factory=list)


def read_templates(folder: Path, tasks: Mapping[str, Task]) -> dict[str, Templates]:
    """Read every YAML file of a folder.

    Raises:
        SpecError: with all faults: of keys and types, tasks or labels that do not exist, tasks named twice.
    """
    found: dict[str, Templates] = {}
    faults: list[str] = []
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        faults.append(f"{folder}: holds no YAML file")
    for path in paths:
        document = read_yaml(path)
        lines = [(line, written(place), message) for line, place, message in document.faults]
        for name, value in (document.value or {}).items():
            line = document.line((name,))
            if name not in tasks:
                lines.append((line, name, f"not a task{suggest(name, sorted(tasks))}"))
            elif name in found:
                lines.append((line, name, "another file has templates for it, too"))
            else:
                templates, wrong = _validated(value, tasks[name])
                lines += [(document.line((name, *place)), written((name, *place)), fault) for place, fault in wrong]
                if templates:
                    found[name] = templates
        faults += [f"{path.name}:{line}: {place}: {message}" for line, place, message in sorted(lines)]
    if faults:
        raise SpecError(str(folder), faults)
    return found


def _validated(value: object, task: Task) -> tuple[Templates | None, list[tuple[tuple[str | int, ...], str]]]:
    try:
        templates = Templates.model_validate(value)
    except ValidationError as error:
        return None, [(each["loc"], f"found {each['input']!r:.60}: {each['msg']}") for each in error.errors()]
    faults: list[tuple[tuple[str | int, ...], str]] = [
        (("labels", label), f"not a label of {task.name}{suggest(label, task.labels)}")
        for label in templates.labels
        if label not in task.labels
    ]
    for place, levels in enumerate(templates.levels):
        wrong = [label for label in levels.order if label not in task.labels]
        faults += [(("levels", place, "order"), f"{label!r} is not a label of {task.name}") for label in wrong]
    return templates, faults


class Asker:
    """Makes questions of rows; everything random comes from the generator that is given."""

    def __init__(self, templates: Mapping[str, Templates], tasks: Mapping[str, Task]) -> None:
        self.templates, self.tasks = templates, tasks

    def ask(self, example: Example, generator: Generator, most: float) -> list[Drawn]:
        """Return questions about a row: `most` of them on average, each about another gold answer that templates cover.

        A row that brings its own questions is asked a few of them, for it serves nothing else.
        """
        own = self._own(example)
        asked = [own[place] for place in generator.permutation(len(own))[:OWN]]
        count = int(most) + int(generator.random() < most % 1)
        names = [name for name in example.golds if name in self.templates]
        for place in generator.permutation(len(names))[:count]:
            drawn = self._ask(self.tasks[names[place]], example, generator)
            asked += [drawn] if drawn else []
        return asked

    def option_names(self, rows: Iterable[Example]) -> list[str]:
        """Return the names that options have in the choices it makes and in those that rows bring, sorted."""
        own = [question for row in rows for question, _ in self._own(row) if isinstance(question, Choice)]
        words = [option.name for question in own for option in question.options]
        words += [word for some in NONE.values() for word in some]
        for name, templates in self.templates.items():
            languages = {language for by_language in templates.labels.values() for language in by_language} or {""}
            for label in self.tasks[name].labels if templates.instructions else ():
                words += [word for language in languages for word in _words_of(templates, label, language)]
        return sorted({word.partition(" | ")[0] for word in words})

    def _own(self, row: Example) -> list[Drawn]:
        """Return the questions that a row brings."""
        return [drawn for name, gold in row.golds.items() if self.tasks[name].kind == "asked" for drawn in gold]

    def _ask(self, task: Task, example: Example, generator: Generator) -> Drawn | None:
        gold = example.golds[task.name]
        templates = self.templates[task.name]
        form = _Form(task, templates, _language(templates, example.language, generator), generator)
        if task.kind == "token-classification":
            return form.mentions(gold)
        if task.kind == "regression":
            return form.number(gold)
        labels = gold if isinstance(gold, frozenset) else frozenset([gold])
        return form.label(labels)


class _Form:
    """The forms of questions about one row, in one language."""

    def __init__(self, task: Task, templates: Templates, language: str, generator: Generator) -> None:
        self.task, self.templates, self.language, self.generator = task, templates, language, generator

    def label(self, gold: frozenset[str]) -> Drawn | None:
        """Ask for a label: by a choice, a statement, or a level where the labels make a scale."""
        draw = self.generator.random()
        scales = [levels for levels in self.templates.levels if gold & set(levels.order)]
        if scales and draw < 0.2:
            return self._level(_one(scales, self.generator), gold)
        if not gold or (self.language in self.templates.statements and draw < 0.45):
            return self._predicate(gold)
        return self._choice(gold) if self.language in self.templates.instructions else None

    def _choice(self, gold: frozenset[str]) -> Drawn:
        others = [label for label in self.task.labels if label not in gold]
        wanted = MANY if self.generator.random() < MANY_SHARE else int(_one(OPTIONS, self.generator))
        picked = [others[place] for place in self.generator.permutation(len(others))[: wanted - 1]]
        offered = self.generator.random() < NONE_OFFERED or not picked
        hidden = offered and len(picked) > 1 and self.generator.random() < 0.5  # then "none of these" is right
        labels = picked if hidden else [*picked, _one(sorted(gold), self.generator)]
        options = [self._option(label) for label in labels]
        right = len(options) if hidden else len(options) - 1
        if offered:
            options.append(Option(_one(NONE.get(self.language, NONE["en"]), self.generator)))
        options = _apart(options)
        order = self.generator.permutation(len(options)).tolist()
        instruction = _one(self.templates.instructions[self.language], self.generator)
        return Choice(instruction, tuple(options[place] for place in order)), order.index(right)

    def _predicate(self, gold: frozenset[str]) -> Drawn | None:
        statements = self.templates.statements.get(self.language)
        others = [label for label in self.task.labels if label not in gold]
        if not statements or not (gold or others):
            return None
        has = bool(gold) and (not others or self.generator.random() < 0.5)
        label = _one(sorted(gold) if has else others, self.generator)
        holds = self.generator.random() < 0.6
        template = _one(statements.holds if holds else statements.fails, self.generator)
        return Predicate(template.replace("{label}", self._option(label).name)), has == holds

    def _level(self, levels: Levels, gold: frozenset[str]) -> Drawn:
        extra = levels.model_extra or {}
        instruction = str(extra.get(self.language) or next(iter(extra.values())))
        options = _apart([self._option(label) for label in levels.order])
        shares = np.array([label in gold for label in levels.order], np.float32)
        return Score(instruction, tuple(options)), shares / shares.sum()

    def number(self, gold: float) -> Drawn | None:
        """Ask for a number as a level; one between two levels gives both a share."""
        scales = [(each, (each.model_extra or {}).get(self.language)) for each in self.templates.numbers]
        known = [(each, scale) for each, scale in scales if isinstance(scale, Scale)]
        if not known:
            return None
        numbers, scale = _one(known, self.generator)
        place = (float(gold) - numbers.low) / (numbers.high - numbers.low) * (len(scale.levels) - 1)
        place = min(max(place, 0.0), len(scale.levels) - 1.0)
        shares = np.maximum(1 - np.abs(np.arange(len(scale.levels)) - place), 0).astype(np.float32)
        levels = tuple(Option(name) for name in scale.levels)
        return Score(_one(scale.instructions, self.generator), levels), shares

    def mentions(self, gold: Sequence[tuple[int, int, str]]) -> Drawn:
        """Ask for spans of a few types, some of them in the text if any are."""
        present = sorted({label for _, _, label in gold})
        absent = [label for label in self.task.labels if label not in present]
        count = int(self.generator.integers(1, TYPES + 1))
        shown = [present[place] for place in self.generator.permutation(len(present))][: max(count - 1, 1)]
        more = [absent[place] for place in self.generator.permutation(len(absent))][: max(count - len(shown), 0)]
        labels = shown + more
        labels = [labels[place] for place in self.generator.permutation(len(labels))]
        found = tuple((labels.index(label), start, end) for start, end, label in gold if label in labels)
        return Mentions(tuple(_apart([self._option(label) for label in labels]))), found

    def _option(self, label: str) -> Option:
        words = _words_of(self.templates, label, self.language)
        name, _, description = _one(words, self.generator).partition(" | ")
        return Option(name, description if self.generator.random() < DESCRIBED else "")


def _words_of(templates: Templates, label: str, language: str) -> Sequence[str]:
    """Return what a label is called, each with a description or none."""
    return templates.labels.get(label, {}).get(language) or [label.replace("_", " ").replace("-", " ")]


def _language(templates: Templates, own: str, generator: Generator) -> str:
    """Return the language to ask in: the text's, mostly, where there are words of it."""
    numbers = [language for each in templates.numbers for language in each.model_extra or {}]
    names = [language for each in templates.labels.values() for language in each]
    known = sorted({*templates.instructions, *templates.statements, *numbers, *names}) or [own]
    others = [language for language in known if language != own]
    stays = own in known and (not others or generator.random() < OWN_LANGUAGE)
    return own if stays else _one(others, generator)


def _one(values: Sequence[T], generator: Generator) -> T:
    return values[int(generator.integers(len(values)))]


def _apart(options: Sequence[Option]) -> list[Option]:
    """Tell options of one name apart by a number, as two labels may share a word."""
    seen: dict[str, int] = {}
    apart = []
    for option in options:
        seen[option.name] = count = seen.get(option.name, 0) + 1
        apart.append(option if count == 1 else Option(f"{option.name} ({count})", option.description))
    return apart
