"""The plain records that modules hand to each other: tasks, examples, windows, predictions, results.

Knows nothing of files, engines or torch. Offsets are code points, end exclusive: `text[start:end]` is the mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umbel.errors import InputError

ANY_LANGUAGE = "*"


@dataclass(frozen=True)
class Task:
    """What a pack knows of one task once it is trained; the manifest stores it.

    `temperature` maps a language (or `*`) to the number that logits are divided by. `thresholds` maps a label of a
    multi-label task, or the out-of-scope label of any, to the probability from which it is given. Below
    `abstain_below` an answer is withheld; `out_of_scope` is the label that means "none of the others". `trim_start` and
    `trim_end` are characters that a span sheds where a token reaches over its border; `outside_bias` is added to the
    logit of being in no span where spans are sought. A task without a head is asked by
    its `instruction`, with `descriptions` of labels.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    metric: str = ""
    description: str = ""
    languages: tuple[str, ...] = ()
    temperature: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    thresholds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    abstain_below: float = 0.0
    out_of_scope: str = ""
    trim_start: str = ""
    trim_end: str = ""
    outside_bias: float = 0.0
    instruction: str = ""
    descriptions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def temperature_for(self, language: str) -> float:
        """Return the temperature for texts of `language`, the general one where it has none of its own, or 1."""
        return self.temperature.get(language, self.temperature.get(ANY_LANGUAGE, 1.0))


@dataclass(frozen=True)
class Example:
    """One row of data: a text and, for some tasks, its gold answer (a kind's `parse` says of which type)."""

    text: str
    golds: Mapping[str, Any]
    source: str  # file:line
    language: str


@dataclass(frozen=True)
class Window:
    """One stretch of a text that fits the backbone, special tokens at both ends.

    `ids` is `[tokens]`; `offsets` is `[tokens, 2]`, code points in the text, (0, 0) for special tokens; `first` is the
    place of the window's first content token among all content tokens of the text.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    first: int = 0


@dataclass(frozen=True)
class Span:
    """A labelled stretch of the text: `text[start:end]`."""

    start: int
    end: int
    label: str
    text: str = ""
    probability: float = 1.0


@dataclass(frozen=True)
class LabelPrediction:
    """One label out of several. `label` is None when the task abstains; `probabilities` cover all labels."""

    label: str | None
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool = False
    out_of_scope: bool = False


@dataclass(frozen=True)
class LabelsPrediction:
    """Any number of labels, those whose probability reaches their threshold."""

    labels: tuple[str, ...]
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class ScorePrediction:
    """A number on the task's own scale."""

    score: float


@dataclass(frozen=True)
class SpansPrediction:
    """Spans in the order of the text; they do not overlap."""

    spans: tuple[Span, ...]

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> Span:
        return self.spans[index]


@dataclass(frozen=True)
class VectorPrediction:
    """A vector of length 1, `[hidden]`: cosine similarity is the dot product."""

    vector: NDArray[np.float32]


Prediction = LabelPrediction | LabelsPrediction | ScorePrediction | SpansPrediction | VectorPrediction


@dataclass(frozen=True)
class Cost:
    """What answering one text took: `tokens` read, seconds `encoding` them, once, and seconds of each task beside.

    A text that was encoded in a batch bears its share; one whose encoding was kept bears none. The upper layers of a
    detached task's own count as encoding.
    """

    tokens: int
    encoding: float
    tasks: Mapping[str, float]


@dataclass(frozen=True)
class Result(Mapping[str, Prediction]):
    """The answers of all asked tasks to one text, by task name; results are equal if their answers are."""

    text: str
    predictions: Mapping[str, Prediction]
    language: str = ""
    cost: Cost | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, task: str) -> Prediction:
        return self.predictions[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass
class Counters:
    """What a model has done since it was loaded. `encodings` counts texts, `windows` the pieces they were read in."""

    encodings: int = 0
    windows: int = 0
    tasks: int = 0
    seconds_tokenising: float = 0.0
    seconds_encoding: float = 0.0
    seconds_heads: float = 0.0
    questions: int = 0
    seconds_branches: float = 0.0


@dataclass(frozen=True)
class Refused:
    """A text of a stream that could not be answered, and why."""

    text: str
    error: InputError


UNKNOWN_LANGUAGE = "und"  # as BCP 47 has it: undetermined
_HAN = re.compile(r"[\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFF]+")
_KANA = re.compile(r"[\u3041-\u3096\u30A1-\u30FA\u31F0-\u31FF\uFF66-\uFF9D]+")
_HANGUL = re.compile(r"[\u1100-\u11FF\u3131-\u318E\uAC00-\uD7A3]+")
_LATIN = re.compile(
    r"[A-Za-z\u00AA\u00BA\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u024F\u1E00-\u1EFF\uFF21-\uFF3A\uFF41-\uFF5A]+"
)


def label_text(value: str | int) -> str:
    """Return the label that a cell or a declaration names: numbers and truth values as they are written there.

    YAML and JSON write `true` and `false`.
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def language_of(text: str) -> str:
    """Return the language that a text's letters speak for: `ja`, `ko`, `zh`, `en`, or `und` for other scripts.

    A rule of scripts, enough to choose a calibration: it takes all that is written in Latin letters, or without any,
    for English. A share of Eastern letters is enough, as names in Latin letters often stand between them.
    """
    letters = sum(map(str.isalpha, text))
    for language, script, parts in (("ja", _KANA, 5), ("ko", _HANGUL, 5), ("zh", _HAN, 10)):
        found = _count(script, text)
        if found and found * parts >= letters:
            return language
    return "en" if _count(_LATIN, text) * 2 >= letters else UNKNOWN_LANGUAGE


def _count(script: re.Pattern[str], text: str) -> int:
    return sum(map(len, script.findall(text)))
