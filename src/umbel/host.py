"""Holds the models of several packs and does with them what a server is asked; all it takes and gives can be pickled.

A pack is known by the key it was loaded under, so that two versions of one name stand side by side while one takes the
other's place. Knows nothing of processes and HTTP. Safe to call from several threads.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.errors import InputError, PackError, UmbelError

if TYPE_CHECKING:
    from umbel.inquiries import Inquiry, Reply
    from umbel.retrieval.index import By, Index
    from umbel.runtime import Model


@dataclass(frozen=True)
class Spent:
    """What answering took: texts encoded, tasks and questions answered, encodings found kept, seconds by stage."""

    encodings: int = 0
    windows: int = 0
    tasks: int = 0
    questions: int = 0
    cache_hits: int = 0
    seconds_tokenising: float = 0.0
    seconds_encoding: float = 0.0
    seconds_heads: float = 0.0
    seconds_branches: float = 0.0


@dataclass(frozen=True)
class Lesson:
    """What to teach: a task by an instruction, labels with descriptions, examples and dev rows of text and label.

    `correcting` takes the examples for corrections of a task that is there.
    """

    task: str
    instruction: str = ""
    labels: Sequence[tuple[str, str]] = ()
    examples: Sequence[tuple[str, str]] = ()
    dev: Sequence[tuple[str, str]] = ()
    correcting: bool = False


@dataclass(frozen=True)
class Learned:
    """What teaching gave, as `teach.Taught` says, with the folder of the new pack."""

    folder: Path
    before: float | None
    after: float | None
    scored_on: str
    examples: int
    unchanged: Mapping[str, int]


class Host:
    """Models by key. `threads` are an engine's, 0 for all processors; `callers` may come at once."""

    def __init__(self, threads: int = 0, callers: int = 1) -> None:
        self._threads, self._callers = threads, callers
        self._models: dict[str, Model] = {}
        self._counted: dict[str, Spent] = {}
        self._indexes: dict[Path, Index] = {}
        self._lock = threading.Lock()

    def load(self, key: str, folder: Path) -> None:
        """Load a pack, and answer a text with it, so that nobody waits for what a first answer sets up.

        Raises:
            UmbelError: as `umbel.load` raises them.
        """
        import umbel
        from umbel.inquiries import Inquiry
        from umbel.questions import Predicate

        model = umbel.load(folder, threads=self._threads, callers=self._callers)
        asks = model.pack.manifest.branches is not None
        model.inquire([Inquiry("ok", None, [Predicate("ok")] if asks else [])])
        with self._lock:
            self._models[key], self._counted[key] = model, Spent()
        self._spent(key, model)

    def drop(self, key: str) -> None:
        """Forget a pack, and give its memory back."""
        with self._lock:
            self._models.pop(key, None)
            self._counted.pop(key, None)
        gc.collect()  # a model and its reader know each other

    def inquire(self, key: str, inquiries: Sequence[Inquiry]) -> tuple[list[Reply | UmbelError], Spent]:
        """Answer inquiries as `Model.inquire` does, and tell what it took; beside other threads' work that is shared.

        Raises:
            PackError: there is no pack of this key.
        """
        model = self._model(key)
        replies = model.inquire(inquiries)
        return replies, self._spent(key, model)

    def search(
        self, key: str, path: Path, query: str, k: int, where: Mapping[str, str], by: By
    ) -> list[dict[str, Any]]:
        """Return the passages of an index that fit a query, as plain values.

        Raises:
            InputError: the query is not as it should be.
            RetrievalError: the index is missing or damaged, or its vectors are of other weights than the pack's.
        """
        from umbel.retrieval.index import Index, plain_hit

        model = self._model(key)
        with self._lock:
            index = self._indexes.get(path)
            if index is None:
                index = self._indexes[path] = Index.open(path)
            index.use(model)
        return [plain_hit(hit) for hit in index.search(query, k, where, by)]

    def teach(self, key: str, folder: Path, lesson: Lesson) -> Learned:
        """Teach a pack one task, and write the pack with it to `folder`; the loaded one stays as it is.

        Raises:
            InputError: the lesson is not as it should be.
        """
        from umbel.teach import Row, entry_for, teach

        model = self._model(key)
        rows, dev = (
            [Row(text, label, place) for place, (text, label) in enumerate(given, 1)]
            for given in (lesson.examples, lesson.dev)
        )
        for row in [*rows, *dev]:
            if not row.text.strip():
                raise InputError(f"example {row.line}: the text is blank", "leave blank texts out")
        entry = entry_for(model.pack, lesson.task, lesson.instruction, lesson.labels, [*rows, *dev])
        taught = teach(model, folder, lesson.task, entry, rows, dev, lesson.correcting)
        return Learned(
            taught.pack.folder, taught.before, taught.after, taught.scored_on, taught.examples, dict(taught.unchanged)
        )

    def _model(self, key: str) -> Model:
        with self._lock:
            model = self._models.get(key)
        if model is None:
            raise PackError(f"{key}: this pack is not loaded", "`GET /v1/packs` lists those that are")
        return model

    def _spent(self, key: str, model: Model) -> Spent:
        """Return what a model has done since this was last asked."""
        with self._lock:
            counters = vars(model.counters) | {"cache_hits": model.encodings.hits}
            now = Spent(**{each.name: counters[each.name] for each in fields(Spent)})
            before = self._counted.get(key, Spent())
            self._counted[key] = now
        return Spent(**{each.name: getattr(now, each.name) - getattr(before, each.name) for each in fields(Spent)})
