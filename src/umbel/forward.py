"""Takes texts through the encoder: windows in batches of one padded length, each encoded once, heads read off them.

What is kept of a text stays here, in a cache bounded in bytes. Knows nothing of answers. Safe to call from several
threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from umbel.batches import Reading, groups
from umbel.branch_graph import BranchEngine, Kept
from umbel.encodings import MOST_HELD, Encoding, EncodingCache, Passing, Progress
from umbel.engine import Engine
from umbel.forks import Forks
from umbel.heads import Heads
from umbel.pack import Pack
from umbel.reader import Reader, reader_of
from umbel.records import Counters, Window
from umbel.tokenize import Tokenizer
from umbel.weights import Embedding
from umbel.windows import batches_of, embedded_in

Floats = NDArray[np.float32]


class ForwardPass:
    """Encodes texts with a pack's engine and reads its heads; `described` are tasks that have none, but are asked.

    `reader` asks the pack's branches, where it has any.
    """

    def __init__(
        self,
        pack: Pack,
        engine: Engine,
        embedding: Embedding,
        tokenizer: Tokenizer,
        described: Collection[str],
        branches: BranchEngine | None,
        cache_bytes: int,
        forks: Forks | None,
    ) -> None:
        self.engine, self.embedding, self.tokenizer = engine, embedding, tokenizer
        self._manifest, self._described, self._forks = pack.manifest, frozenset(described), forks
        self._heads = Heads({name: pack.head(name) for name in pack.tasks if name not in self._described})
        self.reader: Reader | None = None
        if branches:
            self.reader = reader_of(pack, branches, embedding, tokenizer, self.first_hidden)
        self._branches = branches
        self.encodings = EncodingCache(cache_bytes)
        self.counters, self.counting = Counters(), threading.Lock()

    @cached_property
    def maker(self) -> str:
        """Name all that an encoding depends on: backbone, adapter, tokenizer."""
        manifest = self._manifest
        adapter = manifest.adapter.sha256 if manifest.adapter else ""
        return f"{manifest.backbone.sha256} {adapter} {self.tokenizer.sha256}"

    def read(self, text: str, progress: Progress | None = None) -> Encoding:
        """Read a text, or take it from the cache; `progress` is told of windows read and of how many there are."""
        found = self.encodings.get(self.maker, text)
        if found is None:
            (windows,) = self.tokenizer.windows_many([text])
            found = self._encoding(text, windows, progress)
            with self.counting:
                self.counters.encodings += 1
            self.encodings.put(found)
        return found

    def _encoding(self, text: str, windows: Sequence[Window], progress: Progress | None = None) -> Encoding:
        passing = Passing(windows, self._kept, progress)
        kept = passing if len(windows) > MOST_HELD else tuple(passing)
        return Encoding(text, tuple(windows), kept, self.maker)

    def _kept(self, windows: Sequence[Window]) -> list[Kept]:
        """Encode windows and return what is kept of each."""
        began = time.perf_counter()
        found: dict[int, Kept] = {}
        for length, places in batches_of(windows):
            found.update(zip(places, self._keep([windows[each] for each in places], length), strict=True))
        with self.counting:
            self.counters.windows += len(windows)
            self.counters.seconds_encoding += time.perf_counter() - began
        return [found[place] for place in range(len(windows))]

    def _keep(self, windows: Sequence[Window], length: int) -> list[Kept]:
        """Encode windows of one padded length; keys and values are kept where questions can be asked."""
        if self.reader:
            return self.reader.keep(windows, length)
        hidden = self._encode(windows, length)
        return [Kept(hidden[row, : len(window.ids)].copy(), ()) for row, window in enumerate(windows)]

    def first_hidden(self, texts: Sequence[str]) -> list[Floats]:
        """Return the hidden states of each text's first window `[tokens, hidden]`."""
        windows = [cut[0] for cut in self.tokenizer.windows_many(texts)]
        found: dict[int, Floats] = {}
        for length, places in batches_of(windows):
            batch = self._encode([windows[place] for place in places], length)
            found |= {place: states[: len(windows[place].ids)] for place, states in zip(places, batch, strict=True)}
        return [found[place] for place in range(len(windows))]

    def run(self, readings: Sequence[Reading], recall: bool = False) -> Iterator[Reading]:
        """Encode every text once, and yield each with its logits; what is kept of it is let go of afterwards.

        `recall` takes encodings that are kept already.
        """
        self._tokenise(readings, recall)
        keeps = any(reading.keeps for reading in readings)
        for group in groups(readings, MOST_HELD) if keeps else [readings]:
            self._encode_readings(group)
            for reading in group:
                yield reading
                reading.kept = []

    def _tokenise(self, readings: Sequence[Reading], recall: bool) -> None:
        began = time.perf_counter()
        for reading in readings:
            reading.keeps |= any(name in self._described for name in reading.names)
            recalls = recall and not self.detached(reading.names)  # own layers read states that are not kept
            found = self.encodings.get(self.maker, reading.text) if recalls else None
            if found and not isinstance(found.kept, Passing):
                reading.recalled, reading.windows, reading.kept = found, list(found.windows), list(found.kept)
        new = [reading for reading in readings if reading.recalled is None]
        for reading, cut in zip(new, self.tokenizer.windows_many([reading.text for reading in new]), strict=True):
            reading.windows, reading.kept = cut, [None] * len(cut)
        with self.counting:
            self.counters.encodings += len(new)
            self.counters.windows += sum(len(reading.windows) for reading in new)
            self.counters.seconds_tokenising += time.perf_counter() - began

    def _encode_readings(self, readings: Sequence[Reading]) -> None:
        """Encode the windows that are not kept already, and read the heads."""
        began, encoding = time.perf_counter(), 0.0
        places = [(reading, part) for reading in readings for part in range(len(reading.windows))]
        for reading in readings:
            reading.logits = [self.logits(kept.hidden, reading) if kept else {} for kept in reading.kept]
        for keeps in (False, True):  # what is kept takes copies, so the others do without
            chosen = [(each, part) for each, part in places if not each.recalled and self._held(each) == keeps]
            windows = [reading.windows[part] for reading, part in chosen]
            for length, batch in batches_of(windows):
                started = time.perf_counter()
                some = [windows[place] for place in batch]
                detached = sorted({name for place in batch for name in self.detached(chosen[place][0].names)})
                hidden, kepts, own = self._states(some, length, keeps, detached)
                spent = time.perf_counter() - started
                encoding += spent
                for row, place in enumerate(batch):
                    reading, part = chosen[place]
                    reading.encoding += spent / len(batch)
                    tokens = len(windows[place].ids)
                    reading.logits[part] = self.logits(hidden[row][:tokens], reading)
                    for name in self.detached(reading.names):
                        reading.logits[part] |= self._heads.logits(own[name][row][:tokens], [name], reading.seconds)
                    reading.kept[part] = kepts[row] if kepts else None
        with self.counting:
            self.counters.seconds_encoding += encoding
            self.counters.seconds_heads += time.perf_counter() - began - encoding

    @staticmethod
    def _held(reading: Reading) -> bool:
        return reading.keeps and len(reading.windows) <= MOST_HELD

    def logits(self, states: Floats, reading: Reading) -> dict[str, Floats]:
        """Return what the heads of the reading's tasks say of states `[tokens, hidden]`; detached ones read others."""
        apart = self._described | set(self.detached(reading.names))
        return self._heads.logits(states, [name for name in reading.names if name not in apart], reading.seconds)

    def detached(self, names: Sequence[str]) -> list[str]:
        """Return those of the tasks that have upper layers of their own."""
        return [name for name in names if name in self._forks.layers] if self._forks else []

    def _states(
        self, windows: Sequence[Window], length: int, keep: bool, detached: Sequence[str]
    ) -> tuple[Sequence[Floats], Sequence[Kept] | None, dict[str, Floats]]:
        """Encode windows once: hidden states, what is kept of each if asked for, and those of detached tasks."""
        embedded, lengths = embedded_in(self.embedding, windows, length, self.tokenizer.pad)
        kept: Sequence[Kept] | None = None
        hidden: Sequence[Floats]
        lower: Sequence[Floats] = ()
        if keep and self._branches:
            kept, lower = self._branches.keep_lower(embedded, lengths)
            hidden = [each.hidden for each in kept]
        elif detached:
            states, lower = self.engine.encode_lower(embedded, lengths)
            hidden = list(states)
        else:
            hidden = list(self.engine.encode(embedded, lengths))
        own = self._forks.read(lower, lengths, detached) if self._forks and detached else {}
        return hidden, kept, own

    def _encode(self, windows: Sequence[Window], length: int) -> Floats:
        return self.engine.encode(*embedded_in(self.embedding, windows, length, self.tokenizer.pad))

    def encoding_of(self, reading: Reading) -> Encoding:
        """Return what is kept of a text that was read; where nothing is, it is read again."""
        if reading.recalled:
            return reading.recalled
        kept = tuple(each for each in reading.kept if each)
        if kept:
            return Encoding(reading.text, tuple(reading.windows), kept, self.maker)
        return self._encoding(reading.text, reading.windows)
