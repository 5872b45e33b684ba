"""An index of passages: documents go in, cut and made into vectors; queries find the passages that fit best.

Search is exact: every vector is compared. How meaning and words are merged, `ranking` says.

Knows nothing of files of documents, or of terminals.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, get_args

import numpy as np

from umbel.answers import DIGITS
from umbel.errors import InputError, RetrievalError, suggest
from umbel.retrieval.encoder import Encoder, Maker, PackEncoder
from umbel.retrieval.passages import cut
from umbel.retrieval.ranking import By as By
from umbel.retrieval.ranking import highest, scores_of
from umbel.retrieval.store import Entry, Floats, Ints, Key, Store, told
from umbel.runtime import Model

Progress = Callable[[int, int], None]
"""Called with how many passages have their vector, and how many there are to make."""

TOKENS = 256  # of a passage, at most
LEAST_TOKENS = 16
AT_ONCE = 128  # passages made into vectors between two saves
NO_CELLS: Mapping[str, Any] = MappingProxyType({})
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


@dataclass(frozen=True)
class Document:
    """A text to be found again by its passages; `source` names it, with `line` where one source has several.

    `metadata` holds words, numbers and truth values to search within; `source` is not a name for one.
    """

    text: str
    source: str
    line: int = 0
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_CELLS)


@dataclass(frozen=True)
class Hit:
    """A passage that was found: `text` is the part `[start:end]` of the document `source` (and `line`, if not 0).

    `score` orders the hits of one query. `cosine` compares the passage's vector with the query's; `words` is the share
    of the query's words that it holds, rare ones counting more (BM25 over the most it can be). `also` names other
    sources where the same passage stands.
    """

    text: str
    score: float
    cosine: float
    words: float
    source: str
    line: int
    start: int
    end: int
    metadata: Mapping[str, Any]
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """What an update did to the documents of an index, and how many vectors it made."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    vectors: int = 0


class Index:
    """An index in one file; safe to use from several threads, and beside another process that updates it.

    >>> with Index.create("my.index", umbel.load()) as index:
    ...     index.add([Document("We are open from nine to five.", "hours")])
    ...     index.search("When do you open?", k=1)[0].source
    'hours'
    """

    def __init__(self, store: Store, encoder: Encoder | None = None) -> None:
        self._store = store
        self._lock = threading.RLock()
        about = store.about()
        try:
            self.maker = Maker(**json.loads(about["maker"]))
            self.tokens = int(about["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise RetrievalError(f"{store.path}: found no description", "delete it and make the index again") from error
        self._encoder: Encoder | None = None
        self._revision = ""
        self._passages: Ints = np.zeros(0, np.int64)  # [passages], ascending
        self._vectors: Floats = np.zeros((0, 0), np.float32)  # [passages, hidden]
        if encoder:
            self._use(encoder)

    @classmethod
    def open(cls, path: str | Path, model: Model | Encoder | None = None) -> Self:
        """Open an index; without a model, the pack that its vectors come from is loaded for the first query.

        Raises:
            RetrievalError: it is missing, damaged or too new, or the model is of another pack.
        """
        store = Store(Path(path))
        try:
            return cls(store, _encoder_of(model) if model else None)
        except BaseException:
            store.close()
            raise

    @classmethod
    def create(cls, path: str | Path, model: Model | Encoder, tokens: int | None = None) -> Self:
        """Make an empty index whose passages have at most `tokens` tokens, 256 where nothing is said.

        Raises:
            InputError: passages of that many tokens cannot be read.
            RetrievalError: a file is there already, or cannot be made.
            PackError: the model's pack gives no vectors.
        """
        encoder = _encoder_of(model)
        tokens = min(TOKENS, encoder.longest) if tokens is None else tokens
        if not LEAST_TOKENS <= tokens <= encoder.longest:
            raise InputError(f"tokens: found {tokens}, expected {LEAST_TOKENS} to {encoder.longest}")
        if Path(path).exists():
            raise RetrievalError(f"{path}: a file is there already", "open it, or delete it first")
        store = Store(Path(path), create=True)
        try:
            store.describe({"maker": json.dumps(asdict(encoder.maker)), "tokens": str(tokens)})
            return cls(store, encoder)
        except BaseException:
            store.close()
            raise

    def use(self, model: Model | Encoder) -> None:
        """Make the vectors of queries and new documents with this model.

        Raises:
            RetrievalError: the vectors of the index come from other weights.
            PackError: the model's pack gives no vectors.
        """
        self._use(_encoder_of(model))

    def _use(self, encoder: Encoder) -> None:
        if encoder.maker.hashes != self.maker.hashes:
            raise RetrievalError(
                f"{self._store.path}: its vectors come from {self.maker}, found {encoder.maker}",
                "take the pack it was made with, or make the index again with the new one",
            )
        self._encoder = encoder

    def __len__(self) -> int:
        """The number of different passages."""
        return self.counts()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._store.close()

    def counts(self) -> tuple[int, int]:
        """Return the numbers of documents and of different passages."""
        with self._lock:
            return self._store.counts()

    def sources(self) -> list[str]:
        """Return the sources of all documents, sorted."""
        with self._lock:
            return self._store.sources()

    def add(
        self,
        documents: Iterable[Document],
        covers: Callable[[str], bool] = lambda source: False,
        progress: Progress | None = None,
    ) -> Changes:
        """Add documents, in place of those of the same source and line; what has not changed is left alone.

        Documents of a source that `covers` accepts are removed unless they are given now: it is asked when all have
        been read. All changes are seen at once, at the end; a killed run leaves the index as it was, and the vectors
        it had made are used by the next.

        Raises:
            InputError: a document is not as it should be.
            RetrievalError: the file cannot be written, or another process changed it meanwhile.
        """
        with self._lock:
            known = self._store.known()
            given: set[Key] = set()
            entries: dict[Key, Entry] = {}
            staging: dict[str, str] = {}
            for document in map(_checked, documents):
                key = (document.source, document.line)
                given.add(key)
                digest = self._digest(document)
                entries.pop(key, None)
                if known.get(key) != digest:
                    entries[key] = self._entry(document, digest, staging)
                if len(staging) >= AT_ONCE:
                    self._store.stage(staging)
                    staging.clear()
            self._store.stage(staging)
            vectors = self._encode({part[2] for entry in entries.values() for part in entry.parts}, progress)
            gone = [key for key in known if key not in given and covers(key[0])]
            changed = sum(key in known for key in entries)
            if entries or gone:
                self._store.replace(list(entries.values()), gone)
            return Changes(len(entries) - changed, changed, len(gone), len(given) - len(entries), vectors)

    def remove(self, source: str) -> int:
        """Take a source's documents out and return how many there were.

        Raises:
            InputError: there is none.
        """
        with self._lock:
            self._check_source(source)
            gone = [key for key in self._store.known() if key[0] == source]
            self._store.replace([], gone)
            return len(gone)

    def search(
        self,
        query: str,
        k: int = 5,
        where: Mapping[str, Any] = NO_CELLS,
        by: By = "both",
        vector: Floats | None = None,
    ) -> list[Hit]:
        """Return the `k` passages that fit the query best, the best first; each text once, wherever it stands.

        `where` keeps to documents whose `source` or metadata are as it says; numbers may be given as numbers or words.
        `vector` is the query's `[hidden]`, where the model of the index has read it already.

        Raises:
            InputError: the query is blank, `k` is not positive, or no document has such a `source` or name in `where`.
        """
        _check_query(query, k, by)
        query = _mended(query)
        conditions = {_mended(name): _mended(told(value)) for name, value in where.items()}
        if vector is None:
            vector = self._need_encoder().vectors([query])[0]
        with self._lock, self._store.reading():
            self._refresh()
            if "source" in conditions:
                self._check_source(conditions["source"])
            # Row by row, so that a passage's figure has the same bits in an index of any size.
            cosines: Floats = np.vecdot(self._vectors, vector) if len(self._vectors) else np.zeros(0, np.float32)
            shares = self._shares(query)
            scores = scores_of(cosines, shares, by)
            if conditions:
                scores[~np.isin(self._passages, self._store.matching(conditions))] = -np.inf
            best = highest(scores, k)
            return self._hits(best, scores, cosines, shares, conditions)

    def _shares(self, query: str) -> Floats:
        """Return how much of what the words of a query can give each passage has `[passages]`, from 0 to 1."""
        found, most = self._store.word_scores(query)
        shares = np.zeros(len(self._passages), np.float32)
        if found:
            passages, scores = np.array(list(found)), np.array(list(found.values()), np.float32)
            placed = np.isin(passages, self._passages)  # others are on their way into the index
            shares[np.searchsorted(self._passages, passages[placed])] = scores[placed] / most
        return shares

    def _hits(self, best: Ints, scores: Floats, cosines: Floats, shares: Floats, where: Mapping[str, str]) -> list[Hit]:
        passages = [int(passage) for passage in self._passages[best]]
        texts, places = self._store.texts(passages), self._store.places(passages, where)
        hits = []
        for passage, row in zip(passages, best, strict=True):
            first, *others = [place for place in places if place.passage == passage]
            also = tuple(dict.fromkeys(place.source for place in others if place.source != first.source))
            score, cosine, words = (float(figures[row]) for figures in (scores, cosines, shares))
            hits.append(Hit(texts[passage], score, cosine, words, *first[1:], also))
        return hits

    def _refresh(self) -> None:
        """Read the vectors again if the index has changed, by this process or another."""
        revision = self._store.about().get("revision", "")
        if revision != self._revision:
            self._passages, self._vectors = self._store.vectors()
            self._revision = revision

    def _need_encoder(self) -> Encoder:
        if self._encoder is None:
            from umbel import load

            self.use(load(self.maker.pack))
            assert self._encoder is not None
        return self._encoder

    def _digest(self, document: Document) -> str:
        cells = json.dumps([document.text, dict(document.metadata)], sort_keys=True)
        return hashlib.sha256(cells.encode()).hexdigest()

    def _entry(self, document: Document, digest: str, staging: dict[str, str]) -> Entry:
        """Cut a document; its passages are put into `staging` by their hash."""
        parts = []
        for start, end in cut(document.text, self._need_encoder().token_starts, self.tokens):
            text = document.text[start:end]
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            staging[sha256] = text
            parts.append((start, end, sha256))
        return Entry((document.source, document.line), digest, document.metadata, parts)

    def _encode(self, wanted: set[str], progress: Progress | None) -> int:
        """Make the vectors that the passages of these hashes lack, and return how many."""
        missing = self._store.without_vector(wanted)
        for at in range(0, len(missing), AT_ONCE):
            some = missing[at : at + AT_ONCE]
            texts = self._store.texts(some)
            self._store.put_vectors(some, self._need_encoder().vectors([texts[passage] for passage in some]))
            if progress:
                progress(at + len(some), len(missing))
        return len(missing)

    def _check_source(self, source: str) -> None:
        sources = self._store.sources()
        if source not in sources:
            raise InputError(f"no document of the index has the source {source!r}{suggest(source, sources)}")


def plain_hit(hit: Hit) -> dict[str, Any]:
    """Return a hit as plain values, ready for JSON."""
    numbers = {name: round(getattr(hit, name), DIGITS) for name in ("score", "cosine", "words")}
    return vars(hit) | numbers | {"also": list(hit.also)}


def _encoder_of(model: Model | Encoder) -> Encoder:
    return PackEncoder(model) if isinstance(model, Model) else model


def _checked(document: Document) -> Document:
    """Return a document as it can be stored."""
    if not isinstance(document, Document):
        raise InputError(f"found {type(document).__name__}, expected a Document")
    where = f"document {document.source!r}: "
    if not isinstance(document.text, str) or not document.text.strip():
        raise InputError(f"{where}the text is blank", "leave blank texts out")
    if "source" in document.metadata:
        raise InputError(f"{where}metadata cannot have the name 'source'", "give it another name")
    for name, value in document.metadata.items():
        if not isinstance(value, str | int | float):
            raise InputError(f"{where}metadata {name!r}: found {value!r:.60}, expected a word, number or truth value")
    cells = {_mended(name): _mended(value) for name, value in document.metadata.items()}
    return Document(_mended(document.text), _mended(document.source), document.line, cells)


def _mended(value: Any) -> Any:
    """Return a cell as UTF-8 can hold it, lone surrogates as U+FFFD."""
    return value.translate(_SURROGATES) if isinstance(value, str) else value


def _check_query(query: object, k: int, by: str) -> None:
    if not isinstance(query, str) or not query.strip():
        raise InputError("the query is blank", "say in a few words what to find")
    if k < 1:
        raise InputError(f"k: found {k}, expected 1 or more")
    if by not in get_args(By):
        raise InputError(f"by: {by!r} is not a way to search{suggest(by, get_args(By))}")
