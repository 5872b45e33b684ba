"""What a pack says of itself, as typed records; knows nothing of files and folders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from umbel.decide import Calibration
from umbel.overhangs import Sheds
from umbel.records import Task
from umbel.writings import Writing

FORMAT = 12  # the newest this Umbel reads; a pack is written as the oldest that holds it
WITH_BRANCHES, WITH_READING, WITH_NEWER = 2, 3, 4  # newer: forks, writing, a flow
WITH_BLANK, WITH_BREVITY, WITH_KNOWN, WITH_HEADS = 5, 6, 7, 8  # known: layers that were trained anew, too
WITH_NGRAMS, WITH_MAP, WITH_BIAS = 9, 10, 11  # map: vectors have a head; bias: of the tag outside
WITH_ROUNDINGS = 12

VECTORS = "feature-extraction"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    newer: ClassVar[tuple[str, ...]] = ()  # fields left out where they are empty: older versions do not know them

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if value or name not in self.newer}


class File(_Record):
    """A file of the pack, relative to its folder."""

    file: str
    sha256: str


class BackboneName(_Record):
    """The weights a pack was trained on."""

    name: str
    sha256: str


class AdapterFile(File):
    """The shared adapter and its form."""

    kind: Literal["full", "lora"]


class BranchesFile(File):
    """The readouts of questions, their calibration and dev scores by kind, and the scores on sets not trained on."""

    newer = ("blank", "brevity", "known")
    temperatures: dict[str, float] = Field(default_factory=dict)
    mention: float = 0.5
    blank: float = 0.0
    brevity: float = 0.0
    known: int = 0  # names of options that it was trained on, whose vectors stand beside the readouts
    scores: dict[str, Any] = Field(default_factory=dict)
    unseen: dict[str, Any] = Field(default_factory=dict)

    @property
    def calibration(self) -> Calibration:
        """What answering needs of this entry."""
        return Calibration(self.temperatures, self.mention, self.blank, self.brevity)


class ReadingFile(File):
    """The reading head, what its answers are calibrated by and its dev scores; what it was trained with.

    `heads`: how many stand in the file, where it is more than one.
    """

    newer = ("brevity", "trim_start", "trim_end", "heads")
    temperature: float = 1.0
    brevity: float = 0.0
    trim_start: str = ""
    trim_end: str = ""
    heads: int = 0
    scores: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    def calibration(self, other: Calibration) -> Calibration:
        """Return the calibration of other questions with what answers from passages need."""
        temperatures = {**other.temperatures, "extract": self.temperature}
        sheds = Sheds(self.trim_start, self.trim_end)
        return replace(other, temperatures=temperatures, brevity=self.brevity, sheds=sheds)


class ForkFile(AdapterFile):
    """A detached task's own layers from `layer` on, counted from 0; those below are the pack's.

    `anew`: they began at the untouched backbone, and not at the pack's own layers.
    """

    newer = ("anew",)
    layer: int
    anew: bool = False


class NgramsFile(File):
    """What a task reads off character n-grams of up to `longest` characters, and the dev score it has without them.

    Both scores, `without` and `score`, are of dev rows whose other half fitted how much they count.
    """

    longest: int
    without: float
    score: float


class RoundingsFile(File):
    """How the encoder's maps are done in 8 bits, and what that costs.

    `scores` are each task's dev score without and with it, `cosines` the least and the mean of hidden states with it to
    those without.
    """

    scores: dict[str, tuple[float, float]] = Field(default_factory=dict)
    cosines: tuple[float, float] = (1.0, 1.0)


class DataNote(_Record):
    """Where a task's data came from; shown in the card."""

    source: str
    licence: str
    language: str = ""
    train: int = 0
    dev: int = 0


class TaskEntry(_Record):
    """A task as the manifest stores it; the fields of `records.Task` and what is known of its training."""

    newer = ("outside_bias", "fork", "writing", "ngrams")
    kind: str
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    metric: str = ""
    description: str = ""
    languages: tuple[str, ...] = ()
    temperature: dict[str, float] = Field(default_factory=dict)
    thresholds: dict[str, float] = Field(default_factory=dict)
    abstain_below: float = 0.0
    out_of_scope: str = ""
    trim_start: str = ""
    trim_end: str = ""
    outside_bias: float = 0.0
    instruction: str = ""
    descriptions: dict[str, str] = Field(default_factory=dict)
    writing: Writing | None = None
    head: File | None = None
    fork: ForkFile | None = None
    ngrams: NgramsFile | None = None
    scores: dict[str, Any] = Field(default_factory=dict)
    data: tuple[DataNote, ...] = ()

    def task(self, name: str) -> Task:
        """Return what predictions need of this entry."""
        fields = self.model_dump(exclude={"writing", "head", "fork", "ngrams", "scores", "data"})
        return Task(name=name, **fields)


class Manifest(_Record):
    """Everything a pack says of itself."""

    format: int = 1
    name: str
    version: str
    licence: str = ""
    description: str = ""
    backbone: BackboneName
    adapter: AdapterFile | None = None
    branches: BranchesFile | None = None
    reading: ReadingFile | None = None
    roundings: RoundingsFile | None = None
    tasks: dict[str, TaskEntry]
    flow: dict[str, Any] | None = None
    training: dict[str, Any] = Field(default_factory=dict)

    @property
    def asked_scores(self) -> dict[str, dict[str, Any]]:
        """The dev scores of questions asked on the spot, by kind; none where the pack was not trained for them."""
        if self.branches is None:
            return {}
        read = self.reading.scores if self.reading else {}
        own = {key: value for key, value in read.items() if key != "sets"}
        return self.branches.scores | ({"extract": own} if "score" in own else {})


def format_of(manifest: Manifest) -> int:
    """Return the oldest format that holds all of a manifest."""
    asks = manifest.branches or any(entry.instruction for entry in manifest.tasks.values())
    newer = manifest.flow or any(entry.fork or entry.writing for entry in manifest.tasks.values())
    blank = manifest.branches and manifest.branches.blank
    parts = [part for part in (manifest.branches, manifest.reading) if part]
    brevity = any(name in part.model_dump() for part in parts for name in ("brevity", "trim_start", "trim_end"))
    needs = {
        WITH_BRANCHES: asks,
        WITH_READING: manifest.reading,
        WITH_NEWER: newer,
        WITH_BLANK: blank,
        WITH_BREVITY: brevity,
        WITH_KNOWN: (manifest.branches and manifest.branches.known)
        or any(entry.fork and entry.fork.anew for entry in manifest.tasks.values()),
        WITH_HEADS: manifest.reading and manifest.reading.heads,
        WITH_NGRAMS: any(entry.ngrams for entry in manifest.tasks.values()),
        WITH_MAP: any(entry.head and entry.kind == VECTORS for entry in manifest.tasks.values()),
        WITH_ROUNDINGS: manifest.roundings,
        WITH_BIAS: any(entry.outside_bias for entry in manifest.tasks.values()),
    }
    return max((number for number, needed in needs.items() if needed), default=1)
