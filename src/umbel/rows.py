"""Streams rows out of data files (JSONL, CSV, TSV, Parquet; gzip) and hub data sets; knows nothing of tasks.

A row is `(line, mapping)`. What cannot be read is a fault of its line; reading goes on where the format allows it.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from umbel.errors import DataError, MissingExtraError

SHOWN = 50

Row = tuple[int, Mapping[str, Any]]


class Faults:
    """Collects the faults of rows: the same fault of many rows of a file is told once, with its first line."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[int]] = {}  # (source, message) -> [first line, rows]

    def add(self, source: str, message: str, line: int = 0) -> None:
        """Add the fault of a file, or of one of its lines."""
        self._seen.setdefault((source, message), [line, 0])[1] += 1

    def __len__(self) -> int:
        return len(self._seen)

    def listed(self) -> list[str]:
        """Return each fault once: its place, its message, and how many rows have it."""
        lines = []
        for (source, message), (line, rows) in self._seen.items():
            place = f"{source}:{line}" if line else source
            lines.append(f"{place}: {message}" + (f" ({rows} rows have this fault)" if rows > 1 else ""))
        return lines

    def error(self, source: str, hint: str = "") -> DataError:
        """Return the error that tells the first faults, and how many there are."""
        several = f"{source} (the first {SHOWN} of {len(self)})" if len(self) > SHOWN else source
        return DataError(several, self.listed()[:SHOWN], hint)


def read_rows(path: str | Path, faults: Faults | None = None) -> Iterator[Row]:
    """Yield each row's line and cells; blank lines are passed over.

    With `faults` the file's faults are added to it; without, they are raised once the file is read.

    Raises:
        DataError: with the faults, where none are collected by the caller.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    collected = Faults() if faults is None else faults
    yield from _rows_of(Path(path), str(path), collected)
    if faults is None and collected:
        raise collected.error(str(path))


def source_rows(source: str, folder: Path, faults: Faults) -> Iterator[Row]:
    """Yield the rows of a source as a declaration names it: a file beside it or `hub:organisation/name:split`."""
    if source.startswith("hub:"):
        return _hub(source, faults)
    return _rows_of(folder / source, source, faults)


def _rows_of(path: Path, source: str, faults: Faults) -> Iterator[Row]:
    name = path.name.removesuffix(".gz")
    if path.name.endswith(".parquet"):
        yield from _parquet(path, source, faults)
        return
    readers = {".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv}
    reader = readers.get(Path(name).suffix)
    if reader is None:
        faults.add(source, "unknown format; expected .jsonl, .csv, .tsv (each also .gz) or .parquet")
        return
    try:
        with cast(IO[bytes], gzip.open(path) if name != path.name else path.open("rb")) as stream:
            yield from reader(stream, source, faults)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        faults.add(source, f"damaged gzip file ({error}); fetch or write it again")
    except OSError as error:
        faults.add(source, f"cannot be read: {error.strerror or error}")


def _jsonl(stream: IO[bytes], source: str, faults: Faults) -> Iterator[Row]:
    for line, raw in enumerate(stream, 1):
        try:
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
            if not text.strip():
                continue
            value = json.loads(text)
        except UnicodeDecodeError as error:
            faults.add(source, f"not UTF-8 at byte {error.start} of the line", line)
        except (ValueError, RecursionError) as error:
            faults.add(source, f"not JSON: {error}", line)
        else:
            if isinstance(value, dict):
                yield line, value
            else:
                faults.add(source, f"found {value!r:.60}, expected an object of columns", line)


def _csv(stream: IO[bytes], source: str, faults: Faults) -> Iterator[Row]:
    return _delimited(stream, source, faults, ",")


def _tsv(stream: IO[bytes], source: str, faults: Faults) -> Iterator[Row]:
    return _delimited(stream, source, faults, "\t")


def _decoded(stream: IO[bytes], source: str, faults: Faults) -> Iterator[str]:
    for line, raw in enumerate(stream, 1):
        try:
            yield raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            faults.add(source, f"not UTF-8 at byte {error.start} of the line", line)
            yield raw.decode("utf-8", "replace")  # keeps the following lines' cells in their places


def _delimited(stream: IO[bytes], source: str, faults: Faults, delimiter: str) -> Iterator[Row]:
    """Read cells quoted as spreadsheets do; a stray quote is a fault, for it would swallow the lines after it."""
    reader = csv.reader(_decoded(stream, source, faults), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            faults.add(source, f"not readable from here on: {error}; double the quotes inside a quoted cell", line)
            return
        if cells is None:
            return
        if not any(cells):
            continue
        if not header:
            header = cells
            for name in sorted({name for name in header if header.count(name) > 1}):
                faults.add(source, f"column {name!r} stands twice in the header", line)
        elif len(cells) != len(header):
            faults.add(source, f"found {len(cells)} cells, expected {len(header)} as in the header", line)
        else:
            yield line, dict(zip(header, cells, strict=True))


def _parquet(path: Path, source: str, faults: Faults) -> Iterator[Row]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error
    line = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except (arrow.ArrowException, OSError) as error:
        faults.add(source, f"cannot be read after row {line}: {' '.join(str(error).split())}")


def _hub(source: str, faults: Faults) -> Iterator[Row]:
    try:
        datasets = import_module("datasets")
    except ImportError as error:
        raise MissingExtraError("datasets", "data") from error
    _, name, split = source.split(":", 2)
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
        faults.add(source, f"cannot be had from the hub ({reason}); save it as a file and name that instead")
        return
    yield from enumerate(rows, 1)
