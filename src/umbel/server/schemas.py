"""The bodies of the native routes, as clients write and read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from umbel.questions import (
    MOST_OPTIONS,
    Choice,
    Extract,
    Mentions,
    Option,
    Predicate,
    Question,
    Score,
)

MOST_TEXTS, MOST_QUESTIONS, MOST_TASKS, MOST_EXAMPLES = 256, 64, 256, 10_000
Text = Annotated[str, Field(min_length=1)]
PackOf = Annotated[str | None, Field(description="A pack by name; the server's first one where none is named.")]


class Given(BaseModel):
    """A part of a request: what it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OptionGiven(Given):
    """An option, level, type or label, with what tells it apart."""

    name: Text
    description: str = ""


def _options(given: list[str | OptionGiven]) -> tuple[Option, ...]:
    return tuple(Option(each) if isinstance(each, str) else Option(each.name, each.description) for each in given)


class ChoiceGiven(Given):
    """Which one of the options holds?"""

    kind: Literal["choice"]
    question: Text
    options: list[Text | OptionGiven] = Field(min_length=2, max_length=MOST_OPTIONS)

    def question_of(self) -> Question:
        """Return it as the library has it."""
        return Choice(self.question, _options(self.options))


class PredicateGiven(Given):
    """Does the statement hold?"""

    kind: Literal["predicate"]
    statement: Text

    def question_of(self) -> Question:
        """Return it as the library has it."""
        return Predicate(self.statement)


class ScoreGiven(Given):
    """How far, on a scale of levels, the lowest first?"""

    kind: Literal["score"]
    question: Text
    levels: list[Text | OptionGiven] = Field(min_length=2, max_length=10)

    def question_of(self) -> Question:
        """Return it as the library has it."""
        return Score(self.question, _options(self.levels))


class ExtractGiven(Given):
    """Which words of the text answer?"""

    kind: Literal["extract"]
    question: Text
    must_answer: bool = False

    def question_of(self) -> Question:
        """Return it as the library has it."""
        return Extract(self.question, self.must_answer)


class MentionsGiven(Given):
    """Which stretches of the text are of these types?"""

    kind: Literal["mentions"]
    types: list[Text | OptionGiven] = Field(min_length=1, max_length=MOST_OPTIONS)
    overlapping: bool = False

    def question_of(self) -> Question:
        """Return it as the library has it."""
        return Mentions(_options(self.types), self.overlapping)


QuestionGiven = Annotated[
    ChoiceGiven | PredicateGiven | ScoreGiven | ExtractGiven | MentionsGiven, Field(discriminator="kind")
]


class AnalyzeRequest(Given):
    """Texts, and which tasks to answer for each."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["I was charged twice!", "房间很干净"], "tasks": ["sentiment"]}]}
    )

    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)
    tasks: list[str] | None = Field(
        None, max_length=MOST_TASKS, description="Tasks of the pack; all but those of vectors where none are named."
    )
    pack: PackOf = None
    top: int | None = Field(None, ge=0, le=1000, description="Of each task's probabilities only the N highest.")
    cost: bool = Field(False, description="Tell what each text and each task took.")


class AskRequest(Given):
    """A text, questions on it, and tasks of the pack to answer from the same encoding."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "text": "I was charged twice!",
                    "questions": [
                        {"kind": "choice", "question": "Which team?", "options": ["billing", "technical"]},
                        {"kind": "predicate", "statement": "The customer wants money back"},
                    ],
                }
            ]
        }
    )

    text: Text
    questions: list[QuestionGiven] = Field(min_length=1, max_length=MOST_QUESTIONS)
    tasks: list[str] = Field(default_factory=list, max_length=MOST_TASKS)
    exact: bool = Field(False, description="Read every option of a choice closely, however many there are.")
    pack: PackOf = None


class AnswerRequest(Given):
    """A document, and questions that it may answer in its own words."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"document": "We are open from nine to five.", "questions": ["When do you open?"]}]
        }
    )

    document: Text
    questions: list[Text] = Field(min_length=1, max_length=MOST_QUESTIONS)
    must_answer: bool = Field(False, description="Give the likeliest words even where none seem to answer.")
    pack: PackOf = None


class SearchRequest(Given):
    """What to find in an index that the server was given."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"index": "docs", "query": "How do I get a refund?"}]})

    index: str
    query: Text
    k: int = Field(5, ge=1, le=1000)
    where: dict[str, str] = Field(default_factory=dict, max_length=32)
    by: Literal["both", "vectors", "words"] = "both"


class ExampleGiven(Given):
    """A text and its label."""

    text: Text
    label: Text


class TeachRequest(Given):
    """One task, by an instruction and labels, by examples, or by both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "task": "team",
                    "instruction": "Which team should answer?",
                    "labels": [{"name": "billing", "description": "payments"}, {"name": "technical"}],
                    "examples": [{"text": "I was charged twice", "label": "billing"}],
                }
            ]
        }
    )

    task: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    instruction: str = ""
    labels: list[OptionGiven] = Field(default_factory=list, max_length=MOST_OPTIONS)
    examples: list[ExampleGiven] = Field(default_factory=list, max_length=MOST_EXAMPLES)
    dev: list[ExampleGiven] = Field(
        default_factory=list, max_length=MOST_EXAMPLES, description="Scored on before and after; not learned from."
    )
    correct: bool = Field(
        False,
        description="The examples are corrections: the task moves as little as they ask.",
    )
    pack: PackOf = None
    name: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$",
        description="Serve the new pack as this; in the old one's place where not given.",
    )

    @model_validator(mode="after")
    def _has_something(self) -> TeachRequest:
        if not self.examples and not (self.instruction and self.labels):
            raise ValueError("give examples, or an instruction and labels")
        return self


class PackSource(Given):
    """Where a pack is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"source": "base"}]})

    source: Text = Field(description="A shipped pack's name, or a folder on the server.")


class CostShown(BaseModel):
    """What a text took: its share of encoding, where it was not kept from before, and each task beside."""

    tokens: int
    milliseconds_encoding: float
    milliseconds: dict[str, float]


class AnalyzedText(BaseModel):
    """One text's language, as far as its script says, and its answers by task."""

    language: str
    answers: dict[str, dict[str, Any]] = Field(
        description="`label` and `probability`, `labels`, `score`, `spans` or `vector`, by the task's kind; "
        "with `probabilities`, the likeliest first. Offsets are code points, end exclusive."
    )
    cost: CostShown | None = Field(None, description="Where it was asked for.")


class AnalyzeAnswer(BaseModel):
    """The answers, in the order of the texts."""

    pack: str
    version: str
    results: list[AnalyzedText]


class AskAnswer(BaseModel):
    """The answers, in the order of the questions."""

    pack: str
    version: str
    language: str
    answers: list[dict[str, Any]] = Field(description="`kind`, `question`, `answer` or `spans`, `probability`, ...")
    tasks: dict[str, dict[str, Any]]


class SearchAnswer(BaseModel):
    """The passages that fit best, the best first."""

    hits: list[dict[str, Any]]


class TeachAnswer(BaseModel):
    """What the task is worth now, in percent; how many files and answers of others were compared, all the same."""

    pack: str
    version: str
    task: str
    folder: str
    accuracy_before: float | None
    accuracy: float | None
    scored_on: str
    examples: int
    unchanged: dict[str, int]


class TaskShown(BaseModel):
    """A task of a pack."""

    name: str
    kind: str
    description: str
    languages: list[str]
    labels: list[str]
    multi_label: bool
    scores: dict[str, Any]


class PackShown(BaseModel):
    """A pack that is served."""

    name: str
    version: str
    licence: str
    description: str
    backbone: str
    asks: bool = Field(description="Whether it answers questions decided on the spot.")
    default: bool
    tasks: list[str]
    writes: list[str] = Field(description="Tasks that `/v1/generate` writes.")
    flow: bool = Field(description="Whether it declares a flow, which `/v1/flow` runs.")


class PacksAnswer(BaseModel):
    """All packs that are served, the default first."""

    packs: list[PackShown]


class TasksAnswer(BaseModel):
    """The tasks of a pack."""

    pack: str
    tasks: list[TaskShown]


class HealthAnswer(BaseModel):
    """Whether the server lives or is ready."""

    status: str
