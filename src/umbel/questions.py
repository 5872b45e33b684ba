"""Questions decided at request time, their answers' types, and the words a model reads them in.

A question hangs from a text's encoding as a branch: its instruction, and under it its options, which do not see each
other. Knows nothing of tokens, engines or how a question is answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from umbel.errors import InputError
from umbel.records import Span

MOST_OPTIONS = 255
LEAST_LEVELS, MOST_LEVELS = 2, 10
MOST_CHARACTERS = 2000  # of an instruction, a statement, or an option with its description


@dataclass(frozen=True)
class Option:
    """One option of a choice, one level of a score or one type of span, with what tells it apart."""

    name: str
    description: str = ""

    @property
    def words(self) -> str:
        """Return what the model reads."""
        return f"{self.name}: {self.description}" if self.description else self.name


@dataclass(frozen=True)
class Choice:
    """Which one of the options holds of the text: 2 to 255 of them."""

    instruction: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Predicate:
    """Whether a statement holds of the text."""

    statement: str


@dataclass(frozen=True)
class Score:
    """How far the text goes on a scale of 2 to 10 described levels, the lowest first."""

    instruction: str
    levels: tuple[Option, ...]


@dataclass(frozen=True)
class Extract:
    """A question whose answer stands in the text, or does not; with `must_answer` the likeliest span is given."""

    question: str
    must_answer: bool = False


@dataclass(frozen=True)
class Mentions:
    """Which stretches of the text are of these types; `overlapping` ones are all given, else the likelier wins."""

    types: tuple[Option, ...]
    overlapping: bool = False


Question = Choice | Predicate | Score | Extract | Mentions


@dataclass(frozen=True)
class PredicateAnswer:
    """Whether a statement holds, and with what probability it does."""

    holds: bool
    probability: float


@dataclass(frozen=True)
class ScoreAnswer:
    """The expected level, counted from 0, the likeliest level's name, and each level's probability."""

    score: float
    level: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class ExtractAnswer:
    """The best answer in the text with its probability; None where the text holds none."""

    span: Span | None
    probability: float  # of the span, or of there being no answer


def checked(question: Question, where: str = "") -> Question:
    """Return the question, or tell everything that is wrong with it; `where` names it.

    Raises:
        InputError: words are blank or too long, options are too few, too many, or named twice.
    """
    faults = [*_faults(question)]
    if faults:
        raise InputError("\n  ".join(f"{where}{fault}" for fault in faults))
    return question


def _faults(question: Question) -> Sequence[str]:
    match question:
        case Choice(instruction, options):
            return [*_words("instruction", instruction), *_options("options", options, 2, MOST_OPTIONS)]
        case Predicate(statement):
            return _words("statement", statement)
        case Score(instruction, levels):
            return [*_words("instruction", instruction), *_options("levels", levels, LEAST_LEVELS, MOST_LEVELS)]
        case Extract(text):
            return _words("question", text)
        case Mentions(types):
            return _options("types", types, 1, MOST_OPTIONS)


def _words(what: str, words: object) -> list[str]:
    if not isinstance(words, str):
        return [f"{what}: found {type(words).__name__}, expected text"]
    if not words.strip():
        return [f"{what}: it is blank; say in plain words what is asked"]
    if len(words) > MOST_CHARACTERS:
        return [f"{what}: found {len(words)} characters, expected at most {MOST_CHARACTERS}"]
    return []


def _options(what: str, options: Sequence[Option], least: int, most: int) -> list[str]:
    faults = [fault for place, option in enumerate(options) for fault in _words(f"{what}[{place}]", option.words)]
    if not least <= len(options) <= most:
        faults.append(f"{what}: found {len(options)}, expected {least} to {most}")
    seen: dict[str, int] = {}
    for place, option in enumerate(options):
        first = seen.setdefault(option.name.strip(), place)
        if first != place:
            faults.append(f"{what}[{place}]: {option.name!r} is already {what}[{first}]; each needs a name of its own")
    return faults
