"""Standard output and standard error as terminals or files: consoles, progress bars, error messages, durations.

Knows nothing of models. Progress goes to standard error: as a bar where that is a terminal, else as a line at times.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from umbel.errors import UmbelError

PLAIN_SECONDS = 10.0  # between two lines of progress in a file
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SIGNS = {"\n": "↵", "\r": "↵", "\u2028": "↵", "\u2029": "↵", "\t": " "}

Advance = Callable[[int, int], None]
"""Called with what is done and what there is in all; 0 where that is not known."""


def output() -> Console:
    """Return the console of standard output; texts are shown as they are, never read as markup."""
    return Console(markup=False, highlight=False, emoji=False)


def errors() -> Console:
    """Return the console of standard error."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def show(plain: object, drawn: RenderableType, as_json: bool) -> None:
    """Print plain values as JSON, or what was drawn of them."""
    if as_json:
        text = json.dumps(plain, ensure_ascii=False, indent=2)
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    else:
        output().print(drawn)


def mend_encodings() -> None:
    """Let streams of a narrow encoding show `?` for what they cannot write, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace" if stream is sys.stderr else "replace")


def complain(error: UmbelError) -> None:
    """Print an error's message, then its hint."""
    console = errors()
    console.print(Text.assemble(("Error: ", "bold red"), _by_line(error.message)), soft_wrap=True)
    if error.hint:
        console.print(Text(f"  {_by_line(error.hint)}", "yellow"), soft_wrap=True)


def _by_line(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))


def visible(text: str) -> str:
    """Return the text with each control character as one visible sign, so that offsets stay true.

    A message must not move the cursor, ring the bell or hide a part of itself.
    """
    return _HIDDEN.sub(lambda found: _SIGNS.get(found[0], "�"), text)


def one_screen() -> bool:
    """Tell whether both streams end in the same terminal, so that a bar and results have to share it."""
    try:
        return os.ttyname(sys.stdout.fileno()) == os.ttyname(sys.stderr.fileno())
    except (OSError, AttributeError, ValueError):
        return False


@contextmanager
def byte_bar(title: str) -> Iterator[Advance]:
    """Yield a function to tell how many bytes are done; nothing is shown until it is called.

    >>> with byte_bar("fetching e5-small") as advance:
    ...     advance(1_000_000, 91_000_000)
    """
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _bar(title, columns, _megabytes) as advance:
        yield advance


@contextmanager
def count_bar(title: str, things: str) -> Iterator[Advance]:
    """Yield a function to tell how many things are done; nothing is shown until it is called."""
    columns = (BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + things), TimeRemainingColumn())
    with _bar(title, columns, lambda done, total: f"{done:,} of {total:,} {things}") as advance:
        yield advance


@contextmanager
def row_bar(title: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to tell how many rows more are done; shown on a terminal only."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"))
    console = errors()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task(title, total=None)
        yield lambda rows: bar.advance(row, rows)


class RowBar:
    """Counts rows on standard error while results are printed to `results` above it; silent without a terminal."""

    def __init__(self, shown: bool) -> None:
        console = errors()
        shared = one_screen()
        shown = shown and console.is_terminal and (shared or not sys.stdout.isatty())
        # One screen must be written to by one console, or the bar and the results would overwrite each other.
        self.results = console if shown and shared else output()
        columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.fields[rows]:,} rows"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not shown)
        self._row = self._bar.add_task("", total=None, rows=0)

    def advance(self, rows: int, done: int, total: int | None) -> None:
        """Show that `rows` rows are answered and `done` of `total` bytes read."""
        self._bar.update(self._row, completed=done, total=total, rows=rows)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


@contextmanager
def spinner(title: str) -> Iterator[None]:
    """Show on a terminal that something of unknown length goes on; in a file, one line."""
    console = errors()
    if not console.is_terminal:
        console.print(f"{title} ...")
        yield
        return
    with console.status(f"{title} ..."):
        yield


@contextmanager
def _bar(title: str, columns: tuple[ProgressColumn, ...], told: Callable[[int, int], str]) -> Iterator[Advance]:
    console = errors()
    if not console.is_terminal:
        yield _lines(console, title, told)
        return
    bar = Progress(SpinnerColumn(), TextColumn("{task.description}"), *columns, console=console, transient=True)
    row = bar.add_task(title, total=None)

    def advance(done: int, total: int) -> None:
        bar.start()
        bar.update(row, completed=done, total=total or None)

    try:
        yield advance
    finally:
        bar.stop()


def _lines(console: Console, title: str, told: Callable[[int, int], str]) -> Advance:
    last = -PLAIN_SECONDS

    def advance(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS or done == total:
            console.print(f"{title}: {told(done, total)}")
            last = now

    return advance


def _megabytes(done: int, total: int) -> str:
    return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """Return a length of time as people say it.

    >>> duration(6720)
    '1 h 52 min'
    """
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def file_size(size: int) -> str:
    """Return a number of bytes as people say it, in powers of ten.

    >>> file_size(71_622_400)
    '71.6 MB'
    """
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} bytes"
