"""Reads messages, one a line, from arguments, a file, standard input or the samples; knows nothing of tasks.

A file is read line by line, however long it is. Bytes that are not UTF-8 are read as U+FFFD and counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from umbel.errors import InputError

LONGEST = 16 << 20  # bytes of a line; a file without line ends would otherwise fill the memory
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Reject = Callable[[int, str], None]
"""Called with the line and the reason of a row that cannot be read."""


@dataclass(frozen=True)
class Message:
    """One text to analyse and the line, or place among the arguments, where it stands."""

    line: int
    text: str


class Messages:
    """The messages of one source; while it is read, `blank`, `mended` and `done` grow.

    `mended` counts messages that were not whole UTF-8; `done` counts the bytes read, of `size` bytes where that is
    known. `streamed` tells that they come from a file, not from the command itself; `live` that they are typed at a
    terminal.
    """

    def __init__(self, lines: Iterable[bytes], reject: Reject, name: str, stream: BinaryIO | None = None) -> None:
        self._lines, self._reject, self.name = lines, reject, name
        self.streamed, self.size = stream is not None, _size(stream) if stream else None
        self.live = stream is not None and stream.isatty()
        self.blank = self.mended = self.done = 0

    def __iter__(self) -> Iterator[Message]:
        for number, raw in enumerate(self._lines, 1):
            self.done += len(raw)
            if len(raw) > LONGEST:
                self._reject(number, f"longer than {LONGEST >> 20} MB; split it into lines")
                continue
            text = self._decode(raw, number)
            if not text or text.isspace():
                self.blank += 1
                continue
            yield Message(number, text)

    def _decode(self, raw: bytes, number: int) -> str:
        raw = raw.rstrip(b"\r\n")
        if number == 1 and raw.startswith(_UTF16):
            hint = "convert it first: iconv -f UTF-16 -t UTF-8 OLD > NEW"
            raise InputError(f"{self.name}: found UTF-16 text, expected UTF-8", hint)
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            self.mended += 1
            return raw.decode(encoding, "replace")


@contextmanager
def opened(texts: Sequence[str], file: Path | None, samples: bool, reject: Reject) -> Iterator[Messages]:
    """Yield the messages of the one source that is given; the text or file `-` is standard input.

    >>> with opened(["Good morning"], None, False, print) as messages:
    ...     next(iter(messages)).text
    'Good morning'

    Raises:
        InputError: the file cannot be opened, or turns out not to be UTF-8 text; or `-` stands beside texts.
    """
    if "-" in texts and len(texts) > 1:
        raise InputError("found - beside texts", "give either texts, or - alone to read them from standard input")
    if list(texts) == ["-"] or file == Path("-"):
        yield of_stream(_standard_input(), reject, "standard input")
    elif file is not None:
        stream = _open(file)
        messages = of_stream(stream, reject, str(file))
        try:
            yield messages
        finally:
            if messages.size is not None:  # a pipe cannot be closed while a thread waits for it
                stream.close()
    elif samples:
        lines = sample_lines()
        yield Messages(lines, reject, "samples")
    else:  # bytes that the shell could not decode are mended like those of a file
        yield Messages([text.encode("utf-8", "surrogateescape") for text in texts], reject, "arguments")


def sample_lines() -> list[bytes]:
    """Return the messages that come with Umbel, in UTF-8."""
    return files("umbel").joinpath("samples.txt").read_bytes().splitlines()


def of_stream(stream: BinaryIO, reject: Reject, name: str) -> Messages:
    """Read a binary stream to its end, line by line."""
    return Messages(_lines(stream), reject, name, stream)


def _standard_input() -> BinaryIO:
    """Return a reader of its own: the interpreter could not end while a thread waits for input in `sys.stdin`."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # a stream that is no file
        return sys.stdin.buffer


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}", "name a file of one message a line") from error


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield each line; of one that is too long only as much as shows that it is, the rest is passed over."""
    while line := stream.readline(LONGEST + 1):
        yield line
        while len(line) > LONGEST and not line.endswith(b"\n"):
            line = stream.readline(LONGEST + 1)
            if not line:
                return


def _size(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream that is no file
        return None
    return status.st_size if stream.seekable() else None
