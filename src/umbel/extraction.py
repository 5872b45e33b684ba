"""Reads answers off kept encodings with the pack's reading head: a text's part once, then each question's.

A question's own encoding does not depend on the text, so those asked lately are remembered. Knows nothing of how
logits become answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umbel.branch_graph import Kept
from umbel.reading import Floats
from umbel.reading_graph import ReadingHeads
from umbel.records import Window

MOST_QUESTIONS = 2000  # remembered; each takes some 40 kB
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Sought:
    """One question of a text: its token `ids`, and the hidden `states` of its branch `[tokens, hidden]`."""

    ids: Ints
    states: Floats


class Extraction:
    """Gives the logits of answers' beginnings and ends; `keep` encodes windows, `layers` are those values come from."""

    def __init__(
        self, head: ReadingHeads, layers: Sequence[int], keep: Callable[[Sequence[Window]], list[Kept]]
    ) -> None:
        self.head, self.layers, self.keep = head, layers, keep
        self._known: dict[bytes, Floats] = {}
        self._lock = threading.Lock()

    def logits(self, window: Window, kept: Kept, questions: Sequence[Sought]) -> list[tuple[Floats, Floats]]:
        """Return each question's logits at the tokens of one window `[tokens]`, twice: beginnings and ends."""
        if not questions:
            return []
        text = self.head.text(features_of(kept, self.layers))
        found = []
        for sought, question in zip(questions, self.questions([each.ids for each in questions]), strict=True):
            found.append(self.head.logits(text, shared_words(window.ids, sought.ids), question, sought.states))
        return found

    def questions(self, asked: Sequence[Ints]) -> list[Floats]:
        """Return the features of questions `[tokens, features]`, each read by itself."""
        keys = [ids.tobytes() for ids in asked]
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        new = {key: ids for key, ids in zip(keys, asked, strict=True) if key not in known}
        windows = [Window(ids, np.zeros((len(ids), 2), np.int32)) for ids in new.values()]
        for key, kept in zip(new, self.keep(windows), strict=True):
            known[key] = features_of(kept, self.layers)
        with self._lock:
            if len(self._known) + len(new) > MOST_QUESTIONS:
                self._known.clear()
            self._known.update({key: known[key] for key in new})
        return [known[key] for key in keys]


def features_of(kept: Kept, layers: Sequence[int]) -> Floats:
    """Return what the reading head sees of each token `[tokens, features]`: hidden state, and values of some layers."""
    return np.concatenate([kept.hidden, *(kept.values(layer) for layer in layers)], axis=1)


def shared_words(text: Ints, question: Ints) -> Floats:
    """Return 1 for each token of the text `[tokens]` that stands in the question, too, special tokens left aside."""
    return np.isin(text, question[1:-1]).astype(np.float32)
