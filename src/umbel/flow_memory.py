"""A conversation: each turn is read once, and the readings of the last turns are kept to be asked again.

Bounded in turns and in bytes, so that the hundredth turn costs what the tenth did.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from umbel.errors import InputError
from umbel.flow import Flow, FlowResult

if TYPE_CHECKING:
    from umbel.encodings import Encoding

TURNS = 8
MOST_BYTES = 32 * 2**20


class Conversation:
    """The turns of one conversation through a flow; `of: earlier` in the flow asks the ones that are kept.

    Turns are taken one after the other, also from several threads. `turns` are the readings that are kept, the oldest
    first; `forgotten` counts those that had to go.

    >>> talk = umbel.Conversation(umbel.Flow.load("examples/assistant/flow.yaml"))
    >>> talk("Book a table in Lisbon")
    >>> talk("What will the weather be?")["earlier-city"]

    Raises:
        InputError: a bound is not positive.
    """

    def __init__(self, flow: Flow, turns: int = TURNS, most_bytes: int = MOST_BYTES) -> None:
        if turns < 1 or most_bytes < 1:
            raise InputError(f"turns: {turns}, most_bytes: {most_bytes}; expected 1 or more of each")
        self.flow, self.most_turns, self.most_bytes = flow, turns, most_bytes
        self.turns: deque[Encoding] = deque()
        self.forgotten = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """The bytes that the kept readings take."""
        return sum(turn.nbytes for turn in self.turns)

    def __call__(self, text: str) -> FlowResult:
        """Take the next message through the flow.

        Raises:
            InputError: it is not a string or is blank.
        """
        with self._lock:
            began = time.perf_counter()
            encoding = self.flow.model.read(text)
            spent = 1000 * (time.perf_counter() - began)
            result = self.flow.run(encoding, tuple(self.turns), spent)
            self.turns.append(encoding)
            while len(self.turns) > self.most_turns or self.nbytes > self.most_bytes:
                self.turns.popleft()
                self.forgotten += 1
            return result

    def clear(self) -> None:
        """Forget every turn."""
        with self._lock:
            self.turns.clear()
            self.forgotten = 0
