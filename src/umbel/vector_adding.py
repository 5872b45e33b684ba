"""Runs `umbel teach-vectors`: gathers texts, has their map learnt, proves that nothing else moved, tells what it gave.

Knows nothing of how the map is fitted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from umbel import load as load_model
from umbel.card import card_of
from umbel.data import load
from umbel.declaration import VERSION
from umbel.engine import Engine, OpenVinoEngine, build_graph
from umbel.errors import InputError
from umbel.loading import backbone_of_pack, ready_model
from umbel.manifest import VECTORS
from umbel.pack import shipped
from umbel.packing import moved, write_taught
from umbel.questions import Extract
from umbel.records import Example, Window
from umbel.retrieval.passages import cut
from umbel.spec import load_spec
from umbel.teach import prove
from umbel.terminal import output, row_bar, spinner
from umbel.training import need_torch
from umbel.windows import batches_of, behind, embedded_in, joined_offsets

if TYPE_CHECKING:
    from umbel.pack import Pack
    from umbel.runtime import Model
    from umbel.spec import PackSpec
    from umbel.vector_training import Judged, Texts
    from umbel.weights import Backbone

Floats = NDArray[np.float32]
T = TypeVar("T")

FROM_FILE = 4000  # texts of a file, at most
QUESTIONS = 14_000  # of passages, at most
PASSAGE = 256  # tokens, as an index cuts them
LEAST = 200  # texts
NO_PREFIX: NDArray[np.int32] = np.zeros(0, np.int32)


class Paired(NamedTuple):
    """A question, the passage that holds its answer, and the text that this is a part of."""

    question: str
    passage: str
    document: str


@dataclass(frozen=True)
class Mapped:
    """What a map gave: how it was judged, what was compared, and the pack, None where nothing was written."""

    pack: Pack | None
    judged: Judged
    unchanged: dict[str, int]


def teach_vectors(name: str, declaration: Path, out: Path | None, version: str, anyway: bool) -> Mapped:
    """Let the pack called `name` read its vectors through a map; write it to `out`, or in place.

    Raises:
        MissingExtraError: torch is not installed.
        InputError: the pack gives no vectors, there are too few texts, the version is none, or a shipped pack would be
            changed.
        UmbelError: the proof failed; the pack is as it was.
    """
    need_torch()
    from umbel.vector_training import learn

    if version and not VERSION.fullmatch(version):
        raise InputError(f"--version: found {version!r}", "give three numbers like 1.0.0")
    if out is None and name in shipped():
        raise InputError(f"{name} comes with Umbel and stays as it is", "name a folder for the new pack with --out")
    model = ready_model(name)
    task = next((each for each, known in model.tasks.items() if known.kind == VECTORS), "")
    if not task:
        raise InputError(f"{name}: the pack gives no vectors", f"declare a task of kind {VECTORS}")
    spec = load_spec(declaration)
    texts = gathered(model, spec)
    pack, target = model.pack, out or model.pack.folder
    had = pack.head(task)
    with spinner("learning the map"):
        (weight, bias), judged = learn(texts, spec.train.seed, (had["weight"], had["bias"]) if had else None)
    head = {"query": np.zeros(len(bias), np.float32), "weight": weight, "bias": bias}  # which gives the mean
    entry = pack.manifest.tasks[task].model_copy(update={"scores": dict(judged.scores())})
    draft = target.with_name(f".{target.name}.{os.getpid()}.vectors")
    try:
        with spinner("comparing what must not have changed"):
            written = write_taught(pack, draft, task, entry, head, version or pack.manifest.version, card_of)
            again = load_model(written.folder)
            unchanged = prove(model, again, task)
        kept = moved(again.pack, target) if judged.helps or anyway else None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Mapped(kept, judged, unchanged)


def gathered(model: Model, spec: PackSpec) -> Texts:
    """Read a declaration's train texts, and questions with their passages, by the pack and by the bare backbone.

    Raises:
        InputError: there are too few.
    """
    from umbel.vector_training import Texts, numbered

    with spinner("reading the data"):
        data, rng = load(spec), np.random.default_rng(spec.train.seed)
        bring = [name for name, known in data.tasks.items() if known.kind == "asked"]
        texts = [
            (str(file), text)
            for file, rows in data.train.items()
            for text in _some(sorted({row.text for row in rows}), FROM_FILE, rng)
        ]
        asked = _some([each for rows in data.train.values() for each in questions(model, rows, bring)], QUESTIONS, rng)
    if len(texts) < LEAST:
        raise InputError(f"{spec.name}: found {len(texts)} train texts, expected {LEAST} or more", "name more data")
    passages = {each.passage: each.document for each in asked}
    places = {passage: len(texts) + len(asked) + place for place, passage in enumerate(passages)}
    pairs = [(len(texts) + place, places[each.passage]) for place, each in enumerate(asked)]
    documents = numbered([text for _, text in texts] + [each.document for each in asked] + list(passages.values()))
    texts += [("questions", each.question) for each in asked] + [("passages", passage) for passage in passages]
    windows = [found[0] for found in model.tokenizer.windows_many([text for _, text in texts])]
    backbone = backbone_of_pack(model.pack)
    with row_bar("reading texts, by the pack and by its backbone") as told:
        means = _means(model.engine, backbone, windows, told)
        bare = OpenVinoEngine(build_graph(backbone.shape, backbone.tensors))
        targets = _means(bare, backbone, _prefixed(windows, backbone), told)
    targets /= np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-12)
    files = numbered([file for file, _ in texts])
    return Texts(means, targets, files, documents, np.array(pairs, np.int64).reshape(-1, 2))


def questions(model: Model, rows: Sequence[Example], tasks: Sequence[str]) -> Iterator[Paired]:
    """Yield the questions of rows that bring their own, each with the passage of its text that holds the answer."""

    def starts(text: str) -> NDArray[np.int32]:
        return joined_offsets(model.tokenizer.windows(text))[:, 0]

    most = min(PASSAGE, model.tokenizer.max_tokens - 2)
    for row in rows:
        drawn = [each for task in tasks for each in row.golds.get(task, ())]
        wanted = [(asked.question, golds[0][0]) for asked, golds in drawn if isinstance(asked, Extract) and golds]
        passages = cut(row.text, starts, most) if wanted else []
        for question, answer in wanted:
            for start, end in passages:
                if start <= answer < end:
                    yield Paired(question, row.text[start:end], row.text)
                    break


def _some(found: list[T], most: int, rng: np.random.Generator) -> list[T]:
    """Return at most so many, drawn at random."""
    return [found[place] for place in sorted(rng.permutation(len(found))[:most].tolist())]


def _prefixed(windows: Sequence[Window], backbone: Backbone) -> list[Window]:
    """Return windows behind the prefix that the backbone knows texts to compare by, cut to what it reads."""
    prefix = backbone.tokenizer.windows(backbone.prefix)[0].ids[1:-1] if backbone.prefix else NO_PREFIX
    most = backbone.shape.positions - backbone.shape.first_position
    longer = (behind(prefix, window.ids, most) for window in windows)
    return [Window(ids, np.zeros((len(ids), 2), np.int32)) for ids in longer]


def _means(engine: Engine, backbone: Backbone, windows: Sequence[Window], told: Callable[[int], None]) -> Floats:
    """Return each window's mean hidden state `[windows, hidden]`."""
    found = np.zeros((len(windows), backbone.shape.hidden), np.float32)
    for length, places in batches_of(windows):
        some = [windows[place] for place in places]
        hidden = engine.encode(*embedded_in(backbone.embedding, some, length, backbone.tokenizer.pad))
        for row, place in enumerate(places):
            found[place] = hidden[row, : len(some[row].ids)].mean(axis=0)
        told(len(places))
    return found


def tell(found: Mapped) -> None:
    """Say what the map gave."""
    console, judged = output(), found.judged
    line = "texts held back: the nearest other text is the backbone's for {:.1f} % (before: {:.1f})"
    console.print(line.format(*reversed(judged.nearest)), soft_wrap=True)
    if judged.found:
        line = "questions held back: {:.1f} % are nearest to their own passage (before: {:.1f})"
        console.print(line.format(*reversed(judged.found)), soft_wrap=True)
    files, answers = found.unchanged["files"], found.unchanged["answers"]
    console.print(
        f"all else is as it was: {files} files and manifest entries and {answers} answers of other tasks compared",
        soft_wrap=True,
    )
    if found.pack:
        console.print(f"the pack is in {found.pack.folder}; indexes made before are to be made again", soft_wrap=True)
    else:
        console.print("nothing was written, for it is no better; --anyway writes it all the same", soft_wrap=True)
