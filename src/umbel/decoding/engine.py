"""A decoder run by llama.cpp: prefixes read once and kept, branches forked from them, scored or grown together.

A prefix is a sequence in llama.cpp's memory of keys and values; a fork copies no keys, its tokens merely belong to one
sequence more. Kept prefixes are found by their tokens, so a longer one reads only what is new.

Sums over keys run in the order of memory, so bits stay the same only while each sequence lies there in ascending order.
Hence memory is a stack: branches go when none is alive, kept prefixes all at once when there is no room for what is
next. Safe to use from several threads. Knows nothing of chats, packs or sampling.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from umbel.decoding.base import Counters, Floats, Prefix, Stem, Tokens
from umbel.decoding.llamalib import FLASH, library
from umbel.decoding.scores import chosen, groups, shared
from umbel.errors import BackboneError, DecoderError, InputError, TimeLimitError

CONTEXT = 4096  # tokens of a prefix and a branch, where the model was trained for as many
SEQUENCES = 256  # prefixes and branches at once, the most that llama.cpp takes
KEPT = 64  # prefixes of those
BATCH = 512  # room for a pass, which llama.cpp wants to be no less than the sequences
# llama.cpp multiplies quantised matrices in one way in passes of fewer than 8 tokens, in another in larger ones, and
# attends in a third from 64 on; within each a token's result is the same bits whatever stands beside it (docs/log.md).
# So what is read is read in passes of 8 to 56 tokens, filled up if need be, and what grows in passes of at most 7.
LEAST_READ, MOST_READ = 8, 56
MOST_GROWN = LEAST_READ - 1
GROWTH = 256  # tokens that room is made for when a branch starts to grow
SCRATCH = SEQUENCES - 1  # the sequence of the tokens that fill up
_NO_ROOM = 1  # llama_decode: no free cells for the batch
_PIECE = 256  # bytes, more than any token has

Item = tuple[int, int, int]  # token, position, sequence


class LlamaCpp:
    """A GGUF model under llama.cpp. `cells` are the tokens that all prefixes and branches may hold together.

    Raises:
        BackboneError: the file cannot be read.
        MissingExtraError: xllamacpp is not installed.
    """

    def __init__(
        self, path: str | Path, name: str, sha256: str, threads: int = 2, context: int = CONTEXT, cells: int = 0
    ) -> None:
        self.name, self.sha256, self.counters = name, sha256, Counters()
        self._library = library()
        self._model = self._load(Path(path))
        self._vocabulary = self._library.llama_model_get_vocab(self._model)
        self.vocabulary: int = self._library.llama_vocab_n_tokens(self._vocabulary)
        self.context = min(context, self._library.llama_model_n_ctx_train(self._model))
        self._cells = max(cells, 2 * self.context)
        self._context = self._open(threads, self._cells)
        self._memory = self._library.llama_get_memory(self._context)
        self._batch = self._library.llama_batch_init(BATCH, 0, 1)
        self.template = (self._library.llama_model_chat_template(self._model, None) or b"").decode()
        self.ends = frozenset(
            t for t in range(self.vocabulary) if self._library.llama_vocab_is_eog(self._vocabulary, t)
        )
        self.end: int = self._library.llama_vocab_eos(self._vocabulary)
        adds = self._library.llama_vocab_get_add_bos(self._vocabulary)
        self.begin: tuple[int, ...] = (self._library.llama_vocab_bos(self._vocabulary),) if adds else ()
        self._lock = threading.RLock()
        self._free = list(range(SCRATCH))
        self._kept: dict[tuple[int, ...], tuple[int, Prefix]] = {}
        self._alive: set[int] = set()
        self._closed: list[int] = []
        self._used = self._kept_top = 0  # cells up to the top, and up to that of the last prefix
        self._buried = False  # whether a prefix was read above branches that were alive
        self._adapters: dict[str, int] = {}

    def _load(self, path: Path) -> int:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise BackboneError(f"{path}: not a GGUF file", "take the model's .gguf file")
        model = self._library.llama_model_load_from_file(str(path).encode(), self._model_parameters())
        if not model:
            raise BackboneError(f"{path}: llama.cpp cannot read this file", "fetch it again, or take another model")
        return int(model)

    def _model_parameters(self) -> Any:
        wanted = self._library.llama_model_default_params()
        wanted.extra_buffers = False
        return wanted

    def _open(self, threads: int, cells: int) -> int:
        wanted = self._library.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch, wanted.n_seq_max = cells, BATCH, BATCH, SEQUENCES
        wanted.threads = wanted.threads_batch = threads
        wanted.kv_unified, wanted.swa_full, wanted.flash = True, True, FLASH
        context = self._library.llama_init_from_model(self._model, wanted)
        if not context:
            raise DecoderError(f"{self.name}: no memory for {cells} tokens", "ask for a smaller context")
        return int(context)

    def close(self) -> None:
        """Free the model; the decoder cannot be used any more."""
        with self._lock:
            if self._context:
                self._library.llama_batch_free(self._batch)
                self._library.llama_free(self._context)
                self._library.llama_model_free(self._model)
            self._context = self._model = 0

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Return the tokens of a text; `special` reads control tokens in it."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        buffer = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(self._vocabulary, raw, len(raw), buffer, room, False, special)
        return buffer[:count]

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for, nothing for a control token."""
        buffer = ctypes.create_string_buffer(_PIECE)
        count = self._library.llama_token_to_piece(self._vocabulary, token, buffer, _PIECE, 0, False)
        return buffer.raw[: max(count, 0)]

    def keep(self, tokens: Tokens, seconds: float | None = None) -> Prefix:
        """Read a prefix, or what of it is new, and keep it.

        Raises:
            InputError: it is longer than the context, or empty.
            TimeLimitError: it took longer than `seconds`.
        """
        wanted = tuple(tokens)
        if not 0 < len(wanted) < self.context:
            raise InputError(f"found {len(wanted)} tokens, expected 1 to {self.context - 1}", "shorten the text")
        with self._lock:
            if wanted in self._kept:
                self.counters.kept += 1
                return self._kept[wanted][1]
            began = time.perf_counter()
            if len(self._kept) >= KEPT:
                self._forget()
            self._make_room(len(wanted))
            prefix = self._read_prefix(wanted, began + seconds if seconds else None)
            self.counters.prefixes += 1
            self.counters.seconds_prefix += time.perf_counter() - began
            return prefix

    def _read_prefix(self, wanted: tuple[int, ...], deadline: float | None) -> Prefix:
        sequence, known = self._fork_nearest(wanted)
        try:
            for start in range(known, len(wanted), MOST_READ):
                if deadline and time.perf_counter() > deadline:
                    raise TimeLimitError(f"{self.name}: {start} of {len(wanted)} tokens read in time", _LONGER)
                part = [(token, start + at, sequence) for at, token in enumerate(wanted[start : start + MOST_READ])]
                logits = self._read(part, [position == len(wanted) - 1 for _, position, _ in part])
        except BaseException:
            self._release([sequence])
            raise
        self.counters.prefix_tokens += len(wanted) - known
        prefix = Prefix(wanted, logits[0])
        self._kept[wanted] = sequence, prefix
        self._alive.discard(sequence)
        self._kept_top, self._buried = self._used, self._buried or bool(self._alive)
        return prefix

    def _fork_nearest(self, wanted: tuple[int, ...]) -> tuple[int, int]:
        """Return a new sequence that begins as `wanted` does, as far as a kept prefix does, and how far that is."""
        (fresh,) = self._take(1)
        best, known = -1, 0
        for key, (sequence, _) in self._kept.items():
            same = min(shared(key, wanted), len(wanted) - 1)  # the last token is read for its logits
            if same > known:
                best, known = sequence, same
        if known:
            self._library.llama_memory_seq_cp(self._memory, best, fresh, 0, known)
        return fresh, known

    def score(self, prefix: Prefix, stems: Sequence[Stem], adapter: str | None = None) -> list[list[Floats]]:
        """Return for each stem's leaves the log-probability of each of its tokens."""
        began = time.perf_counter()
        scores: list[list[Floats]] = [[] for _ in stems]
        with self._lock, self._adapted(adapter):
            for group in groups(stems, SCRATCH - KEPT - 1):
                for number, found in zip(group, self._score(prefix, list(group.values())), strict=True):
                    scores[number] += found
            self.counters.seconds_branches += time.perf_counter() - began
        return scores

    def _score(self, prefix: Prefix, stems: Sequence[Stem]) -> list[list[Floats]]:
        needed = sum(len(stem.tokens) + sum(map(len, stem.leaves)) for stem in stems)
        starts = self._fork(prefix, len(stems), needed)
        taken = list(starts)
        try:
            after = self._read_rows(
                [(start, len(prefix.tokens), stem.tokens) for start, stem in zip(starts, stems, strict=True)], False
            )
            rows = []
            for start, stem in zip(starts, stems, strict=True):
                leaves = self._take(len(stem.leaves))
                taken += leaves
                for leaf, tokens in zip(leaves, stem.leaves, strict=True):
                    self._library.llama_memory_seq_cp(self._memory, start, leaf, -1, -1)
                    rows.append((leaf, len(prefix.tokens) + len(stem.tokens), tokens[:-1]))
            read = iter(self._read_rows(rows, True))
        finally:
            self._release(taken)
        scores = []
        for stem, logits in zip(stems, after, strict=True):
            first = logits[-1] if len(logits) else prefix.logits
            scores.append([chosen(first, next(read), leaf) for leaf in stem.leaves])
        return scores

    def grow(self, prefix: Prefix, rows: Sequence[Tokens], adapter: str | None = None) -> GrowingBranches:
        """Start branches that grow together."""
        with self._lock, self._adapted(adapter):
            growth = min(GROWTH * len(rows), self._cells // 4)
            sequences = self._fork(prefix, len(rows), sum(map(len, rows)) + growth)
            try:
                found = self._read_rows(
                    [(sequence, len(prefix.tokens), row) for sequence, row in zip(sequences, rows, strict=True)], False
                )
            except BaseException:
                self._release(sequences)
                raise
        logits = np.stack([logits[-1] if len(logits) else prefix.logits for logits in found])
        return GrowingBranches(self, sequences, [len(prefix.tokens) + len(row) for row in rows], logits, adapter)

    def _fork(self, prefix: Prefix, count: int, tokens: int) -> list[int]:
        """Return sequences that begin with a prefix, with room for as many tokens; one let go of is read again."""
        self._make_room(tokens + (0 if prefix.tokens in self._kept else len(prefix.tokens)))
        sequences = self._take(count)
        try:
            self.keep(prefix.tokens)
        except BaseException:
            self._release(sequences)
            raise
        origin = self._kept[prefix.tokens][0]
        for sequence in sequences:
            self._library.llama_memory_seq_cp(self._memory, origin, sequence, -1, -1)
        return sequences

    def _read_rows(self, rows: Sequence[tuple[int, int, Tokens]], every: bool) -> list[Floats]:
        """Read rows of (sequence, first position, tokens); return each row's logits `[tokens, vocabulary]`."""
        flat, wanted, counts = [], [], []
        for sequence, first, tokens in rows:
            flat += [(token, first + at, sequence) for at, token in enumerate(tokens)]
            asked = [every or at == len(tokens) - 1 for at in range(len(tokens))]
            wanted += asked
            counts.append(sum(asked))
        logits = self._read(flat, wanted)
        self.counters.branch_tokens += len(flat)
        found, at = [], 0
        for count in counts:
            found.append(np.stack(logits[at : at + count]) if count else np.zeros((0, self.vocabulary), np.float32))
            at += count
        return found

    def _read(self, items: Sequence[Item], wanted: Sequence[bool]) -> list[Floats]:
        """Read items and return the logits that are wanted, each `[vocabulary]`."""
        logits: list[Floats] = []
        for start in range(0, len(items), MOST_READ):
            some, asked = list(items[start : start + MOST_READ]), list(wanted[start : start + MOST_READ])
            filling = max(LEAST_READ - len(some), 0)
            some += [(some[0][0], at, SCRATCH) for at in range(filling)]
            logits += [found.copy() for found in self._decode(some, asked + [False] * filling)]
            if filling:
                self._library.llama_memory_seq_rm(self._memory, SCRATCH, -1, -1)
        return logits

    def _decode(self, items: Sequence[Item], wanted: Sequence[bool]) -> list[Floats]:
        """Run one pass; the logits are views of llama.cpp's own, good until the next one."""
        batch = self._batch
        batch.n_tokens = len(items)
        self._used += sum(sequence != SCRATCH for _, _, sequence in items)
        for at, (token, position, sequence) in enumerate(items):
            batch.token[at], batch.pos[at] = token, position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
            batch.logits[at] = wanted[at]
        while code := self._library.llama_decode(self._context, batch):
            if code != _NO_ROOM or not (self._kept or self._closed):
                raise DecoderError(f"{self.name}: llama.cpp cannot decode (code {code})", "fewer or shorter branches")
            self._forget()
        return [
            np.ctypeslib.as_array(self._library.llama_get_logits_ith(self._context, at), (self.vocabulary,))
            for at in np.flatnonzero(wanted).tolist()
        ]

    def _take(self, count: int) -> list[int]:
        if len(self._free) < count:
            self._forget()
        if len(self._free) < count:
            raise DecoderError(f"{self.name}: {count} more branches at once are too many", f"at most {SCRATCH}")
        taken, self._free = self._free[:count], self._free[count:]
        self._alive.update(taken)
        return taken

    def _release(self, sequences: Sequence[int]) -> None:
        """Let go of branches; their memory is free once no branch is alive and no prefix lies above it."""
        self._alive.difference_update(sequences)
        self._closed += sequences
        if not self._alive and not self._buried:
            self._drop(self._closed)
            self._closed, self._used = [], self._kept_top

    def forget(self) -> None:
        """Let go of all kept prefixes."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        """Let go of all kept prefixes and closed branches."""
        self._drop([*(sequence for sequence, _ in self._kept.values()), *self._closed])
        self._kept, self._closed = {}, []
        if not self._alive:
            self._used, self._kept_top, self._buried = 0, 0, False

    def _make_room(self, tokens: int) -> None:
        """Let go of what is kept where there is no room for so many tokens above it."""
        if self._used + tokens + LEAST_READ > self._cells:
            self._forget()

    def _drop(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            self._library.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._free += sequences

    def has_adapter(self, name: str) -> bool:
        """Tell whether an adapter of this name was read."""
        return name in self._adapters

    def add_adapter(self, name: str, path: str | Path) -> None:
        """Read a low-rank adapter in GGUF, to be active on the branches that ask for it.

        Raises:
            BackboneError: it cannot be read, or is of another model.
        """
        with self._lock:
            found = self._library.llama_adapter_lora_init(self._model, str(path).encode())
            if not found:
                raise BackboneError(f"{path}: no adapter of {self.name}", "train one: umbel tune")
            self._adapters[name] = int(found)

    @contextmanager
    def _adapted(self, adapter: str | None) -> Iterator[None]:
        if adapter is None:
            yield
            return
        if adapter not in self._adapters:
            raise InputError(f"{adapter!r} is no adapter of {self.name}", f"known are {sorted(self._adapters)}")
        self._set_adapters([self._adapters[adapter]])
        try:
            yield
        finally:
            self._set_adapters([])

    def _set_adapters(self, adapters: Sequence[int]) -> None:
        count = len(adapters)
        handles, scales = (ctypes.c_void_p * count)(*adapters), (ctypes.c_float * count)(*[1.0] * count)
        if self._library.llama_set_adapters_lora(self._context, handles, count, scales):
            raise DecoderError(f"{self.name}: the adapter cannot be used", "train it again")


_LONGER = "give it a longer time limit"


class GrowingBranches:
    """Branches that grow together; close them when done."""

    def __init__(
        self, decoder: LlamaCpp, sequences: list[int], lengths: list[int], logits: Floats, adapter: str | None
    ) -> None:
        self._decoder, self._sequences, self._lengths, self._adapter = decoder, sequences, lengths, adapter
        self.logits = logits

    def grow(self, tokens: Sequence[int | None]) -> None:
        """Append a token to each branch that is given one."""
        rows = [row for row, token in enumerate(tokens) if token is not None]
        items = [(tokens[row] or 0, self._lengths[row], self._sequences[row]) for row in rows]
        decoder, began = self._decoder, time.perf_counter()
        with decoder._lock, decoder._adapted(self._adapter):
            for start in range(0, len(items), MOST_GROWN):
                some = items[start : start + MOST_GROWN]
                found = decoder._decode(some, [True] * len(some))
                for row, logits in zip(rows[start : start + MOST_GROWN], found, strict=True):
                    self.logits[row] = logits
                    self._lengths[row] += 1
            decoder.counters.grown_tokens += len(items)
            decoder.counters.seconds_branches += time.perf_counter() - began

    def close(self) -> None:
        """Let go of the branches."""
        with self._decoder._lock:
            self._decoder._release(self._sequences)
            self._sequences = []
