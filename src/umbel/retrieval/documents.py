"""Reads documents out of folders and files: each text or Markdown file is one, and each row of JSONL, CSV and the like.

What cannot be read is a fault and does not stop the rest. Knows nothing of indexes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from umbel.errors import InputError, suggest
from umbel.retrieval.index import Document
from umbel.rows import Faults, read_rows

TEXTS = (".txt", ".md", ".markdown")
ROWS = (".jsonl", ".csv", ".tsv", ".jsonl.gz", ".csv.gz", ".tsv.gz", ".parquet")
LARGEST = 64 << 20  # bytes of a text file, which is held in memory
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Documents:
    """The documents of folders and files, read as they are asked for; `column` holds the text of a row.

    A document's source is its file's path as it was given; of a row, its line, and the other cells as metadata. Hidden
    files and those of other kinds are left out of folders. While all are read, `empty` counts texts without words, and
    `faults` grows.

    Raises:
        InputError: a path is not there, or a file is of another kind.
    """

    def __init__(self, paths: Sequence[Path], column: str = "text") -> None:
        self.column, self.faults, self.empty = column, Faults(), 0
        self._roots = [Path(os.path.normpath(path)) for path in paths]
        self._failed: set[str] = set()
        for root in self._roots:
            if not root.exists():
                raise InputError(f"{root}: there is no such file or folder")
            if root.is_file() and not root.name.lower().endswith((*TEXTS, *ROWS)):
                raise InputError(f"{root}: found another kind of file, expected {', '.join((*TEXTS, *ROWS))}")

    def __iter__(self) -> Iterator[Document]:
        seen = set()
        for root in self._roots:
            for path in _files(root) if root.is_dir() else [root]:
                if path not in seen:
                    seen.add(path)
                    yield from self._read(path)

    def covers(self, source: str) -> bool:
        """Tell whether a source stands in the given folders and files, which could be read without a fault.

        What an index holds of it and was not found again is gone.
        """
        path = Path(source)
        outside = ".." in path.parts  # which counts as inside of "." otherwise
        roots = [root for root in self._roots if not (outside and root == Path())]
        return source not in self._failed and any(path == root or root in path.parents for root in roots)

    def _read(self, path: Path) -> Iterator[Document]:
        before, source = len(self.faults), path.as_posix()
        found = self._whole(path) if path.name.lower().endswith(TEXTS) else self._rows(path)
        for document in found:
            if document.text.strip():
                yield document
            else:
                self.empty += 1
        if len(self.faults) > before:
            self._failed.add(source)

    def _whole(self, path: Path) -> Iterator[Document]:
        source = path.as_posix()
        try:
            if path.stat().st_size > LARGEST:
                self.faults.add(source, f"larger than {LARGEST >> 20} MB; split it")
                return
            data = path.read_bytes()
            if data.startswith(_UTF16):
                self.faults.add(source, "UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 OLD > NEW")
                return
            yield Document(data.decode("utf-8-sig"), source)
        except OSError as error:
            self.faults.add(source, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            hint = "convert it first, for instance: iconv -f GB18030 -t UTF-8 OLD > NEW"
            self.faults.add(source, f"not UTF-8 at byte {error.start}; {hint}")

    def _rows(self, path: Path) -> Iterator[Document]:
        source = path.as_posix()
        for line, row in read_rows(path, self.faults):
            if self.column not in row:
                found = f"no column {self.column!r}{suggest(self.column, list(row))}"
                self.faults.add(source, f"{found}; --text names the column of the texts", line)
            elif not isinstance(text := row[self.column], str):
                self.faults.add(source, f"{self.column}: found {text!r:.60}, expected a text", line)
            else:
                yield Document(text, source, line, _cells(row, self.column))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that can be read, hidden ones left out, in order."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.name.lower().endswith((*TEXTS, *ROWS)) and path.is_file():
            yield path


def _cells(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return a row's other cells that hold a word, a number or a truth value."""
    cells = {name: value for name, value in row.items() if isinstance(value, str | int | float) and value != ""}
    return {name: value for name, value in cells.items() if name not in (column, "source")}
