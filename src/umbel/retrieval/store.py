"""The file of an index: an SQLite database of documents, their passages with vectors, and the words of each.

What is committed together is found together, whatever kills the process: SQLite's journal sees to that. Passages of
equal words are kept once; `places` says where they stand. A passage without a place is on its way into the index, or
was left by a run that was killed: it is never found, and its vector is used by the next run that needs it.

Knows nothing of packs, files of documents, or ranking.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from umbel.errors import RetrievalError
from umbel.retrieval.words import words_of

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

FORMAT = 1
APPLICATION = 0x556D6265  # "Umbe", by which tools tell the file from other databases
PATIENCE = 30.0  # seconds to wait for another process that writes
BM25_K1 = 1.2  # SQLite's
AT_ONCE = 500  # values in one statement; SQLite allows 999 at least

_SCHEMA = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, line INTEGER NOT NULL, sha256 TEXT NOT NULL, metadata TEXT NOT NULL,
  UNIQUE (source, line));
CREATE TABLE fields (
  document INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (document, name)) WITHOUT ROWID;
CREATE INDEX fields_value ON fields (name, value);
CREATE TABLE passages (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, text TEXT NOT NULL, vector BLOB);
CREATE TABLE places (
  document INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, passage INTEGER NOT NULL,
  PRIMARY KEY (document, start)) WITHOUT ROWID;
CREATE INDEX places_passage ON places (passage);
CREATE VIRTUAL TABLE words USING fts5(word, content='', tokenize="unicode61 remove_diacritics 0");
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
"""
_DAMAGED = "the index is damaged: delete it and make it again with `umbel index`"
_HINTS = {
    sqlite3.SQLITE_BUSY: "another process is writing to it: wait for that to end",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, or index to another file",
    sqlite3.SQLITE_CANTOPEN: "check that its folder is there and can be read and written",
    sqlite3.SQLITE_FULL: "free some space on the disk",
    sqlite3.SQLITE_IOERR: "check the disk",
    sqlite3.SQLITE_NOTADB: "this file is no index: name another one",
}

Key = tuple[str, int]
"""A document's source and its line there."""


class Place(NamedTuple):
    """Where a passage stands; `metadata` is the document's."""

    passage: int
    source: str
    line: int
    start: int
    end: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A document as it is stored: `parts` are the start, end and hash of its passages."""

    key: Key
    sha256: str
    metadata: Mapping[str, Any]
    parts: Sequence[tuple[int, int, str]]


class Store:
    """An open index file. Not safe to use from several threads at once.

    Raises:
        RetrievalError: by every method, if the file cannot be read or written or is damaged.
    """

    def __init__(self, path: Path, create: bool = False) -> None:
        self.path = path
        if not create and not path.is_file():
            raise RetrievalError(f"{path}: there is no such index", f"make one: umbel index FOLDER --out {path}")
        mode = "rwc" if create else "rw"  # a file that may not be written is opened for reading
        with self._told():
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            self._database = sqlite3.connect(
                uri, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(create)
            except BaseException:
                self._database.close()
                raise

    def _prepare(self, create: bool) -> None:
        if create and self._number("SELECT count(*) FROM sqlite_master") == 0:
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        if self._number("PRAGMA application_id") != APPLICATION:
            raise RetrievalError(f"{self.path}: found another file, expected an index", "name another one")
        if (found := self._number("PRAGMA user_version")) > FORMAT:
            message = f"{self.path}: found an index of format {found}, expected {FORMAT}"
            raise RetrievalError(message, "it was made by a newer Umbel: update Umbel, or make the index again")
        self._database.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, row)")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the library's errors into ones that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits tell details
            raise RetrievalError(f"{self.path}: {error}", _HINTS.get(code, _DAMAGED)) from error

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Yield the database for changes that are kept all together or not at all."""
        with self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let all that is read in the block be of one state, whatever other processes write meanwhile."""
        self._rows("BEGIN")
        try:
            yield
        finally:
            self._rows("ROLLBACK")

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._told():
            return self._database.execute(statement, values).fetchall()

    def _number(self, statement: str, values: Sequence[Any] = ()) -> int:
        return int(self._rows(statement, values)[0][0])

    def about(self) -> dict[str, str]:
        """Return what the index says of itself."""
        return dict(self._rows("SELECT name, value FROM about"))

    def describe(self, about: Mapping[str, str]) -> None:
        """Store what the index says of itself."""
        with self.changing() as database:
            database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about.items())

    def counts(self) -> tuple[int, int]:
        """Return the numbers of documents and of different passages."""
        passages = self._number("SELECT count(DISTINCT passage) FROM places")
        return self._number("SELECT count(*) FROM documents"), passages

    def sources(self) -> list[str]:
        """Return the sources of all documents."""
        return [source for (source,) in self._rows("SELECT DISTINCT source FROM documents ORDER BY source")]

    def known(self) -> dict[Key, str]:
        """Return the hash of every document."""
        return {
            (source, line): sha256 for source, line, sha256 in self._rows("SELECT source, line, sha256 FROM documents")
        }

    def stage(self, texts: Mapping[str, str]) -> None:
        """Store passages, by their hash, with their words, but for those that are there."""
        with self.changing() as database:
            for sha256, text in texts.items():
                statement = "INSERT OR IGNORE INTO passages (sha256, text) VALUES (?, ?)"
                added = database.execute(statement, (sha256, text))
                if added.rowcount:
                    row = (added.lastrowid, " ".join(words_of(text)))
                    database.execute("INSERT INTO words (rowid, word) VALUES (?, ?)", row)

    def without_vector(self, wanted: Collection[str]) -> list[int]:
        """Return the passages of these hashes that have no vector."""
        rows = self._rows("SELECT id, sha256 FROM passages WHERE vector IS NULL ORDER BY id")
        return [passage for passage, sha256 in rows if sha256 in wanted]

    def texts(self, passages: Sequence[int]) -> dict[int, str]:
        """Return the text of passages."""
        return dict(self._in("SELECT id, text FROM passages WHERE id IN", passages))

    def put_vectors(self, passages: Sequence[int], vectors: Floats) -> None:
        """Store vectors `[passages, hidden]`."""
        with self.changing() as database:
            blobs = [vector.astype("<f4").tobytes() for vector in vectors]
            rows = zip(blobs, passages, strict=True)
            database.executemany("UPDATE passages SET vector = ? WHERE id = ?", rows)

    def replace(self, entries: Sequence[Entry], gone: Sequence[Key]) -> None:
        """Store documents, in place of those of the same source and line, and take others out, all at once."""
        with self.changing() as database:
            for source, line in [*gone, *(entry.key for entry in entries)]:
                self._forget(database, source, line)
            for entry in entries:
                self._insert(database, entry)
            _sweep(database)
            revision = "INSERT INTO about VALUES ('revision', '1') ON CONFLICT (name) DO UPDATE SET value = value + 1"
            database.execute(revision)

    def _forget(self, database: sqlite3.Connection, source: str, line: int) -> None:
        found = database.execute("SELECT id FROM documents WHERE source = ? AND line = ?", (source, line)).fetchall()
        for table, column in (("places", "document"), ("fields", "document"), ("documents", "id")):
            database.executemany(f"DELETE FROM {table} WHERE {column} = ?", found)

    def _insert(self, database: sqlite3.Connection, entry: Entry) -> None:
        row = (*entry.key, entry.sha256, json.dumps(dict(entry.metadata)))
        statement = "INSERT INTO documents (source, line, sha256, metadata) VALUES (?, ?, ?, ?)"
        document = database.execute(statement, row).lastrowid
        fields = [(document, name, told(value)) for name, value in entry.metadata.items()]
        database.executemany("INSERT INTO fields VALUES (?, ?, ?)", fields)
        statement = "INSERT INTO places SELECT ?, ?, ?, id FROM passages WHERE sha256 = ? AND vector IS NOT NULL"
        for part in entry.parts:
            if database.execute(statement, (document, *part)).rowcount != 1:
                raise RetrievalError(f"{self.path}: another run changed the index meanwhile", "run this one again")

    def vectors(self) -> tuple[Ints, Floats]:
        """Return the passages that have a place, ascending `[passages]`, and their vectors `[passages, hidden]`."""
        rows = self._rows("SELECT id, vector FROM passages WHERE id IN (SELECT passage FROM places) ORDER BY id")
        if len({len(vector) for _, vector in rows}) > 1:
            raise RetrievalError(f"{self.path}: found vectors of different lengths", _DAMAGED)
        passages = np.array([passage for passage, _ in rows], np.int64)
        flat = np.frombuffer(b"".join(vector for _, vector in rows), "<f4")
        return passages, flat.reshape(len(rows), -1 if len(rows) else 0).astype(np.float32, copy=False)

    def matching(self, where: Mapping[str, str]) -> Ints:
        """Return the passages of documents whose `source` and metadata are as said."""
        statement, values = _condition(where)
        rows = self._rows(f"SELECT DISTINCT passage FROM places WHERE {statement}", values)
        return np.array([passage for (passage,) in rows], np.int64)

    def word_scores(self, text: str) -> tuple[dict[int, float], float]:
        """Return how well passages fit the words of a text (BM25), and the most that any passage could reach.

        Passages without a place are among them.
        """
        words = list(dict.fromkeys(words_of(text)))
        if not words:
            return {}, 0.0
        query = " OR ".join(f'"{word}"' for word in words)
        found = self._rows("SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?", (query,))
        total = self._number("SELECT count(*) FROM passages")
        held = dict(self._in("SELECT term, doc FROM temp.terms WHERE term IN", words))
        return dict(found), sum(_most(total, held.get(word, 0)) for word in words)

    def places(self, passages: Sequence[int], where: Mapping[str, str]) -> list[Place]:
        """Return all places of passages, by passage, then in the order in which their documents came."""
        statement, values = _condition(where)
        rows = self._in(
            "SELECT passage, source, line, start, end, metadata FROM places JOIN documents ON id = document "
            f"WHERE {statement} AND passage IN",
            passages,
            values,
            "ORDER BY passage, document, start",
        )
        return [Place._make([*row[:-1], json.loads(row[-1])]) for row in rows]

    def _in(
        self, statement: str, items: Sequence[int | str], values: Sequence[Any] = (), order: str = ""
    ) -> Iterator[Any]:
        """Yield the rows of a statement that ends in IN."""
        for at in range(0, len(items), AT_ONCE):
            some = items[at : at + AT_ONCE]
            marks = ", ".join("?" * len(some))
            yield from self._rows(f"{statement} ({marks}) {order}", (*values, *some))


def _most(passages: int, held: int) -> float:
    """Return the most that one word adds to a score of SQLite's BM25, if `held` of the passages hold it."""
    return max(math.log((passages - held + 0.5) / (held + 0.5)), 1e-6) * (BM25_K1 + 1)


def told(value: Any) -> str:
    """Return a cell of metadata as one writes it in a condition."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _condition(where: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return an SQL condition on places, and its values."""
    parts, values = ["TRUE"], []
    for name, value in where.items():
        if name == "source":
            parts.append("document IN (SELECT id FROM documents WHERE source = ?)")
            values.append(value)
        else:
            parts.append("document IN (SELECT document FROM fields WHERE name = ? AND value = ?)")
            values += [name, value]
    return " AND ".join(parts), values


def _sweep(database: sqlite3.Connection) -> None:
    """Delete the passages that stand nowhere; an index of words is told again which ones to forget."""
    unused = "SELECT id, text FROM passages WHERE id NOT IN (SELECT passage FROM places)"
    for passage, text in database.execute(unused).fetchall():
        row = (passage, " ".join(words_of(text)))
        database.execute("INSERT INTO words (words, rowid, word) VALUES ('delete', ?, ?)", row)
        database.execute("DELETE FROM passages WHERE id = ?", (passage,))
