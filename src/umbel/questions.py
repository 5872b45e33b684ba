"""Questions decided at request time, their answers' types, and the words a model reads them in.

A question hangs from a text's encoding as a branch: its instruction, and under it its options, which do not see each
other. Knows nothing of tokens, engines or how a question is answered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from umbel.errors import InputError
from umbel.records import Span, language_of

MOST_OPTIONS = 255
LEAST_LEVELS, MOST_LEVELS = 2, 10
MOST_CHARACTERS = 2000  # of an instruction, a statement, or an option with its description
MOST_FAULTS = 20  # told at once
_KINDS = "ask with Choice, Predicate, Score, Extract or Mentions of umbel.questions"


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


def checked(question: Question) -> Question:
    """Return the question, or tell everything that is wrong with it.

    Raises:
        InputError: as `all_checked` does.
    """
    tell(_faults(question, ()))
    return question


def all_checked(questions: Sequence[Question], languages: Collection[str] = ()) -> list[Question]:
    """Return the questions, or tell everything that is wrong with them, each fault with its question's place.

    `languages` are those the questions' pack was trained on, if it says so: types of spans in another one find nothing.

    Raises:
        InputError: one is no question, words are blank or too long, options are too few, too many, or named twice, or
            types are written in a script that none of the languages uses.
    """
    if isinstance(questions, str) or not isinstance(questions, Sequence):
        raise InputError(f"questions: found {type(questions).__name__}, expected a list; {_KINDS}")
    faulty = ((place, fault) for place, each in enumerate(questions) for fault in _faults(each, languages))
    tell([f"questions[{place}].{fault}" for place, fault in faulty])
    return list(questions)


def tell(faults: Sequence[str]) -> None:
    """Tell faults, if there are any: of very many only the first.

    Raises:
        InputError: there are some.
    """
    if faults:
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise InputError("\n  ".join([*faults[:MOST_FAULTS], *more]))


def _faults(question: object, languages: Collection[str]) -> Sequence[str]:
    match question:
        case Choice(instruction, options):
            asked = _words("instruction", instruction)
            return [*asked, *_options("options", options, 2, MOST_OPTIONS, "ask first for a group, then within it")]
        case Predicate(statement):
            return _words("statement", statement)
        case Score(instruction, levels):
            asked = _words("instruction", instruction)
            return [*asked, *_options("levels", levels, LEAST_LEVELS, MOST_LEVELS, "a coarser scale is read as well")]
        case Extract(text):
            return _words("question", text)
        case Mentions(types):
            faults = _options("types", types, 1, MOST_OPTIONS, "ask for some of them at a time")
            return faults or [*_foreign(types, languages)]
    return [f"kind: found {type(question).__name__}; {_KINDS}"]


def _words(what: str, words: object) -> list[str]:
    if not isinstance(words, str):
        return [f"{what}: found {type(words).__name__}, expected text"]
    if not words.strip():
        return [f"{what}: it is blank; say in plain words what is asked"]
    if len(words) > MOST_CHARACTERS:
        return [f"{what}: found {len(words)} characters, expected at most {MOST_CHARACTERS}; say it in fewer words"]
    return []


def _options(what: str, options: object, least: int, most: int, if_many: str) -> list[str]:
    """Return what is wrong with options; of far too many only their number is told."""
    if isinstance(options, str) or not isinstance(options, Sequence):
        return [f"{what}: found {type(options).__name__}, expected a tuple of Option"]
    if len(options) > most:
        return [f"{what}: found {len(options)}, expected {least} to {most}; {if_many}"]
    if len(options) < least:
        return [f"{what}: found {len(options)}, expected {least} to {most}; name what to tell apart"]
    faults: list[str] = []
    seen: dict[str, int] = {}
    for place, option in enumerate(options):
        where = f"{what}[{place}]"
        if not isinstance(option, Option):
            faults.append(f"{where}: found {type(option).__name__}, expected an Option: Option('a name')")
            continue
        wrong = _words(where, option.name) or (_words(where, option.words) if option.description else [])
        faults += wrong
        if wrong:
            continue
        first = seen.setdefault(option.name.strip(), place)
        if first != place:
            faults.append(f"{where}: {option.name!r} is already {what}[{first}]; each needs a name of its own")
    return faults


def _foreign(types: Sequence[Option], languages: Collection[str]) -> Sequence[str]:
    """Tell types in a script that no language of the pack is written in, as far as `language_of` tells scripts apart.

    Latin letters pass in any pack: names and abbreviations are written in them everywhere.
    """
    by_script = {"en", "ja", "ko", "zh"}
    known = {"en", *languages} if by_script.issuperset(languages) else {"en", "und", *languages}
    return [
        f"types[{place}]: {option.name!r} is not in a language of this pack; name the type in {' or '.join(languages)}"
        for place, option in enumerate(types)
        if languages and language_of(option.name) not in known
    ]
