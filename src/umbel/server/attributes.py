"""What Perspective's attributes mean here: labels of a pack's tasks, or a statement or choice asked on the spot.

The first of an attribute's tasks that knows the text's language, and all the labels named, gives their probability;
where there is none, the question is asked, of texts in its languages. A file changes and adds attributes:

    TOXICITY:
      tasks: {hate: [hate, offensive], offensive: [offensive]}
      statement: The text is rude, disrespectful or unreasonable
      languages: [zh, en]      # that the statement is asked of
    SPAM: {statement: The text advertises something}
    PRAISE: {question: What does the writer do?, options: {praise: "", blame: "", neither: ""}, counts: [praise]}
    THREAT: null               # no such attribute
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from umbel.errors import InputError
from umbel.questions import Choice, Option, Predicate, checked
from umbel.records import Task
from umbel.yamlfile import read_yaml, written

LANGUAGES = ("zh", "en")  # that packs are trained to answer questions in


class Attribute(BaseModel):
    """Labels whose probabilities are added up, by task; a statement, or a question with options, some of which count.

    `options` map names to descriptions; `languages` are those of texts that are asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    statement: str = ""
    question: str = ""
    options: dict[str, str] = Field(default_factory=dict)
    counts: tuple[str, ...] = ()
    languages: tuple[str, ...] = LANGUAGES

    @model_validator(mode="after")
    def _means_something(self) -> Attribute:
        if not self.tasks and not self.asked:
            raise ValueError("it has neither tasks nor a statement or a question")
        if self.statement and self.question:
            raise ValueError("it has a statement and a question; leave out one")
        if self.question and (not self.counts or not {*self.counts} < {*self.options}):
            raise ValueError("`counts` names some of the question's `options`, not all and not others")
        if self.asked:
            checked(self.asked)
        return self

    @property
    def asked(self) -> Predicate | Choice | None:
        """What is asked where no task tells it."""
        if self.question:
            return Choice(self.question, tuple(Option(*option) for option in self.options.items()))
        return Predicate(self.statement) if self.statement else None

    def known(self, tasks: Mapping[str, Task], asks: bool) -> bool:
        """Tell whether a pack of these tasks can tell it in any language."""
        return bool(self._known(tasks)) or (asks and self.asked is not None)

    def task_for(self, language: str, tasks: Mapping[str, Task]) -> str | None:
        """Return the task that tells it of texts of a language, if the pack has one."""
        found = self._known(tasks)
        return next((name for name in found if not tasks[name].languages or language in tasks[name].languages), None)

    def _known(self, tasks: Mapping[str, Task]) -> list[str]:
        return [name for name, labels in self.tasks.items() if name in tasks and {*labels} <= {*tasks[name].labels}]


Attributes = Mapping[str, Attribute]

# Measured, see docs/log.md: a statement of threats takes insults for threats, the choice does not; a statement of
# attacks on identities says little of Chinese, and one of flirtation takes all that is sexual.
DEFAULTS: Attributes = {
    "TOXICITY": Attribute(
        tasks={"hate": ("hate", "offensive"), "offensive": ("offensive",)},
        statement="The text is rude, disrespectful or unreasonable",
    ),
    "SEVERE_TOXICITY": Attribute(statement="The text is very hateful or aggressive"),
    "IDENTITY_ATTACK": Attribute(tasks={"hate": ("hate",)}),
    "INSULT": Attribute(statement="The text insults or demeans someone"),
    "PROFANITY": Attribute(statement="The text contains swear words or obscene language"),
    "THREAT": Attribute(
        question="What does the writer do?",
        options={"threaten": "announces to hurt or kill someone", "insult": "", "neither": ""},
        counts=("threaten",),
    ),
    "SEXUALLY_EXPLICIT": Attribute(statement="The text speaks of sex or sexual acts"),
}


def read_attributes(path: Path) -> Attributes:
    """Return the attributes of a file, over those that are there without it.

    Raises:
        InputError: it cannot be read, or is not as it should be; all faults are told, with their lines.
    """
    document = read_yaml(path)
    faults = [(line, written(place), message) for line, place, message in document.faults]
    found = dict(DEFAULTS)
    given = document.value or {}
    if not isinstance(given, dict):
        faults.append((1, "", "found no mapping, expected attributes by name"))
        given = {}
    for name, value in given.items():
        if value is None:
            found.pop(name, None)
            continue
        try:
            found[name] = Attribute.model_validate(value)
        except ValidationError as error:
            for each in error.errors():
                place = (name, *each["loc"])
                faults.append((document.line(place), written(place), each["msg"]))
        except InputError as error:
            faults.append((document.line((name,)), name, error.message))
    if faults:
        lines = "\n".join(f"  {path.name}:{line}: {place}: {message}" for line, place, message in sorted(faults))
        raise InputError(f"{path}: attributes with faults\n{lines}", "docs/how-to/move-from-perspective.md shows one")
    return found
