"""Tells which rows of a source of messages could not be answered, and at the end what else was left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from umbel.messages import Messages
from umbel.tables import counted
from umbel.terminal import errors, visible


@dataclass
class Rejected:
    """Tells rows that cannot be answered, one line each, and counts them."""

    count: int = field(default=0)

    def __call__(self, line: int, reason: str) -> None:
        """Tell one row."""
        self.count += 1
        errors().print(f"line {line}: {visible(reason)}", style="red", soft_wrap=True)

    def close(self, messages: Messages, encodings: int) -> None:
        """Tell what was skipped, mended and refused, and where nothing was read at all."""
        notes = errors()
        if messages.blank:
            notes.print(f"{counted(messages.blank, 'blank message')} skipped", style="dim")
        if messages.mended:
            notes.print(f"{counted(messages.mended, 'line')} not UTF-8: unreadable bytes became U+FFFD", style="yellow")
        if not encodings:
            notes.print("no message to answer", style="yellow")
        if self.count:
            notes.print(f"{counted(self.count, 'row')} could not be answered", style="red")
