"""The protocol of a task kind, and the registry of kinds.

A kind is one file: it says how a gold answer looks in data, what a head must give, how it is trained, how windows of
a long text merge, how logits become a prediction, and how predictions are scored and calibrated. Only `loss` needs
torch and imports it there. Third parties register kinds under the entry point group `umbel.kinds`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from umbel.errors import SpecError, suggest
from umbel.records import Prediction, Task, Window

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
GROUP = "umbel.kinds"


class Kind(Protocol):
    """What the rest of Umbel asks of a kind. A kind keeps no state; everything about a task is in `task`."""

    name: str
    reads: Literal["pooled", "tokens", "nothing"]  # nothing: a kind of data that no text is answered from
    metrics: tuple[str, ...]  # the ones it can report; the first is the default
    trained: bool  # whether it has a head

    def parse(self, task: Task, value: object, text: str) -> Any:
        """Check one cell of data and return it as a gold answer.

        Raises:
            ValueError: the message says what was found and what was expected.
        """

    def labels_in(self, value: object) -> Sequence[str]:
        """Return the labels that one cell of data names; used where a declaration lists none."""

    def width(self, task: Task) -> int:
        """Return the number of logits per text (`pooled`) or per token (`tokens`)."""

    def target(self, task: Task, gold: Any, window: Window) -> NDArray[Any]:
        """Return what the logits of one window should be: `[]`, `[width]` or `[tokens]`, -100 where untrained."""

    def blend(self, task: Task, target: NDArray[Any], logits: Floats, share: float) -> NDArray[Any]:
        """Return a target of `share` the gold one and the rest what a teacher's logits say: probabilities or a number.

        `[width]`, or `[tokens, width]` with zeros where untrained.
        """

    def loss(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row `[rows]`; logits are `[rows, width]` or `[rows, tokens, width]`.

        The target is a stack of what `target` gives, or of what `blend` gives.
        """

    def merge(self, task: Task, logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
        """Join the logits of one text's windows: `[width]`, or `[content tokens, width]` without special tokens."""

    def predict(self, task: Task, logits: Floats, text: str, offsets: NDArray[np.int32], language: str) -> Prediction:
        """Turn one text's merged logits into its answer; `offsets` is `[content tokens, 2]`."""

    def score(self, task: Task, golds: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return every metric the kind reports, between 0 and 100 (correlations between -100 and 100)."""

    def observe(self, task: Task, rows: Iterable[tuple[str, Any, Window]]) -> Task:
        """Return the task with what can be counted in its train rows (text, gold, window), before calibration."""

    def calibrate(
        self, task: Task, logits: Sequence[Floats], targets: Sequence[NDArray[Any]], languages: Sequence[str]
    ) -> tuple[Task, Mapping[str, float]]:
        """Return the task with temperatures and thresholds fitted on merged dev logits, and `ece-before`, `ece-after`.

        `targets` are what `target` gives for the text read as one window, special tokens left out.
        """


@cache
def kinds() -> dict[str, Kind]:
    """Return every kind by name: the built-in ones and those of installed packages; broken ones are left out."""
    found: dict[str, Kind] = {}
    for entry in sorted(entry_points(group=GROUP)):
        try:
            found[entry.name] = entry.load()()
        except Exception as error:  # whatever is wrong with another package must not stop packs that do without it
            logger.warning("kind %r of %s cannot be loaded: %s", entry.name, entry.value, error)
    return found


def kind_of(name: str) -> Kind:
    """Return the kind called `name`.

    Raises:
        SpecError: there is none.
    """
    known = kinds()
    if name not in known:
        raise SpecError("kind", [f"{name!r} is not a kind{suggest(name, sorted(known))}"])
    return known[name]


def mean_of_windows(logits: Sequence[Floats], windows: Sequence[Window]) -> Floats:
    """Return the mean of the windows' logits `[width]`, weighted by their tokens: the merge of pooled kinds."""
    if len(logits) == 1:
        return logits[0]
    weights = np.array([len(window.ids) for window in windows], np.float32)
    mean: Floats = (np.stack(logits) * (weights / weights.sum())[:, None]).sum(axis=0)
    return mean
