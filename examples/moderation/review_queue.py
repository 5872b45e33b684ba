"""A queue of messages that a person has to look at: one JSON object a line, appended whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class ReviewQueue:
    """A file that several processes may append to at once.

    A line is written in one call, under a lock, to the file's end, and is on disk when `add` returns. What a crash has
    left behind of a line is cut off by the next one who adds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry."""
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _cut_off_half_a_line(descriptor)
            if os.write(descriptor, line) != len(line):
                raise OSError(f"{self.path}: the disk is full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the entries that are whole, the oldest first."""
        if self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    yield json.loads(line)


def _cut_off_half_a_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    end, step = size, 1 << 16
    while end:
        start = max(end - step, 0)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
