"""Gathers items into lists: many at once from a source that is quick, few and soon from one that is slow.

Knows nothing of what the items are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE = 0.05  # seconds that an item waits for others


def by_pace(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield lists of at most `most` items, each twice as long as the one before while items come quickly.

    After a list that was slow to come the next item goes alone. The items are drawn by the caller's own thread, so one
    that is held back waits until the next comes: `as_they_come` leaves none waiting.
    """
    size, some, began = 1, list[T](), time.monotonic()
    for item in items:
        some.append(item)
        slow = time.monotonic() - began > PATIENCE
        if slow or len(some) == size:
            yield some
            size, some, began = 1 if slow else min(2 * size, most), [], time.monotonic()
    if some:
        yield some


def as_they_come(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield lists of at most `most` items, none of which waits longer than a moment for the others.

    A thread draws the items, no more than `most` ahead of what was yielded; what it raises is raised here, after the
    items before. It ends with the items, or when the iterator is closed and one more has come.
    """
    ahead = _Ahead(items, most)
    threading.Thread(target=ahead.draw, daemon=True).start()
    try:
        while some := ahead.take():
            yield some
    finally:
        ahead.close()


class _Ahead(Generic[T]):
    """What was drawn and not yet taken; one thread draws, another takes."""

    def __init__(self, items: Iterable[T], most: int) -> None:
        self._items, self._most = items, most
        self._held: list[T] = []
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def draw(self) -> None:
        """Draw items to their end, as there is room for them."""
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._held) < self._most or self._ended)
                    if self._ended:
                        return
                    self._held.append(item)
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        self.close()

    def take(self) -> list[T]:
        """Return what has come, at least one item; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._ended)
            self._changed.wait_for(lambda: len(self._held) >= self._most or self._ended, PATIENCE)
            taken, self._held = self._held, []
            self._changed.notify_all()
        if not taken and self._error:
            raise self._error
        return taken

    def close(self) -> None:
        """Take in no more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
