"""Does anything of a task change when others come, go, are trained again, are reordered, or are asked beside it?

    python bench/independence.py [--cases 1000] [--backbone e5-small] [--out FILE]

The theory: a task's answer is a function of the text's encoding and of its own head alone, and its bytes stand in a
file of its own. So every difference must be 0, in bytes and in answers, in every engine: the runtime in fp32 and in
bfloat16, and the training engine in fp32. A case draws a pack of random heads over the real backbone, texts of up to
several windows in a mixture of scripts, and one of five changes:

    add       a task is added
    retrain   a task's head becomes another
    remove    a task is taken out
    reorder   the same tasks are asked in another order
    beside    a task asked alone, and beside 63 others

and compares all answers and files of the tasks that were not touched. Some of the classification tasks read character
n-grams, too. The table's `answers` is the largest difference of any number in any answer; `bytes` counts the stored
bytes that differ. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import umbel
from umbel.catalogue import load_backbone
from umbel.kinds.base import kind_of
from umbel.loading import ready_backbone
from umbel.ngrams import Ngrams, Vocabulary, counted
from umbel.pack import BackboneName, Manifest, NgramsFile, Pack, TaskEntry, read_pack
from umbel.packing import write_pack, write_task
from umbel.records import LabelPrediction, LabelsPrediction, ScorePrediction, SpansPrediction
from umbel.runtime import Model

CHANGES = ("add", "retrain", "remove", "reorder", "beside")
ENGINES = ("runtime fp32", "runtime bfloat16", "training fp32")
BESIDE = 64
STEP = 50  # cases between lines that tell how far it is
WORDS = ("refund", "这个", "退款", "order", "732201", "北京", "😀", "\u200f", "…", "good", "bad", "Paris", "很", "好")
KINDS = ("text-classification", "regression", "token-classification")
LABELS = ("a", "b", "c", "d")

Answers = Sequence[Mapping[str, Any]]
Figures = dict[str, dict[str, dict[str, float]]]
Answering = Callable[[Pack], Callable[[list[str], list[str]], Answers]]


def entry_of(rng: random.Random) -> TaskEntry:
    """Return a random task."""
    kind = rng.choice(KINDS)
    labels = LABELS[: rng.randint(2, 4)] if kind != "regression" else ()
    metric = kind_of(kind).metrics[0]
    classes = kind == "text-classification"
    several = classes and rng.random() < 0.3
    read = NgramsFile(file="", sha256="", longest=3, without=0, score=0) if classes and rng.random() < 0.3 else None
    return TaskEntry(kind=kind, labels=labels, multi_label=several, metric=metric, ngrams=read)


def ngrams_of(entry: TaskEntry, seed: int) -> Ngrams:
    """Return n-grams of the words that texts are made of, of random weights."""
    rng = np.random.default_rng(seed)
    keys = np.unique(np.concatenate([counted(word, 3)[0] for word in WORDS]))
    vocabulary = Vocabulary(keys, rng.uniform(1, 4, len(keys)).astype(np.float32))
    weight = rng.normal(size=(len(keys), len(entry.labels))).astype(np.float16)
    return Ngrams(3, vocabulary, weight, rng.normal(size=len(entry.labels)).astype(np.float32))


def head_of(name: str, entry: TaskEntry, hidden: int, seed: int) -> dict[str, np.ndarray]:
    """Return a random head."""
    rng = np.random.default_rng(seed)
    width = kind_of(entry.kind).width(entry.task(name))
    shapes: dict[str, tuple[int, ...]] = {"weight": (width, hidden), "bias": (width,)}
    shapes |= {"query": (hidden,)} if kind_of(entry.kind).reads == "pooled" else {}
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


def text_of(rng: random.Random) -> str:
    """Return a random text, now and then longer than one window."""
    return " ".join(rng.choices(WORDS, k=rng.choice((1, 3, 8, 20, 60, 700 if rng.random() < 0.05 else 5))))


def numbers_of(prediction: Any) -> list[float]:
    """Return an answer as numbers."""
    match prediction:
        case LabelPrediction() | LabelsPrediction():
            return list(prediction.probabilities.values())
        case ScorePrediction():
            return [prediction.score]
        case SpansPrediction():
            return [value for span in prediction for value in (span.start, span.end, ord(span.label), span.probability)]
    return np.asarray(prediction.vector).tolist()


def difference(first: Answers, second: Answers, tasks: Sequence[str]) -> float:
    """Return the largest difference of any number of the tasks' answers; infinite where answers have another form."""
    largest = 0.0
    for one, other in zip(first, second, strict=True):
        for task in tasks:
            left, right = numbers_of(one[task]), numbers_of(other[task])
            if len(left) != len(right):
                return float("inf")
            largest = max([largest, *(abs(a - b) for a, b in zip(left, right, strict=True))])
    return largest


def bytes_apart(before: Pack, after: Pack, tasks: Sequence[str]) -> int:
    """Return how many stored bytes of the tasks' heads and manifest entries differ."""
    total = 0
    for task in tasks:
        pairs = [tuple((p.folder / p.manifest.tasks[task].head.file).read_bytes() for p in (before, after))]  # type: ignore[union-attr]
        if before.manifest.tasks[task].ngrams:
            pairs.append(tuple((p.folder / p.manifest.tasks[task].ngrams.file).read_bytes() for p in (before, after)))  # type: ignore[union-attr]
        pairs.append(tuple(p.manifest.tasks[task].model_dump_json().encode() for p in (before, after)))
        total += sum(abs(len(a) - len(b)) + sum(x != y for x, y in zip(a, b, strict=False)) for a, b in pairs)
    return total


class Cases:
    """Draws cases and compares, for one engine."""

    def __init__(self, answering: Answering, base: Pack, hidden: int, folder: Path) -> None:
        self.answering, self.base, self.hidden, self.folder = answering, base, hidden, folder
        self.answer = answering(base)

    def compare(self, change: str, rng: random.Random, number: int) -> tuple[float, int]:
        """Return the largest difference of answers, and the bytes that differ, of one case."""
        texts = [text_of(rng) for _ in range(rng.randint(1, 3))]
        names = list(self.base.tasks)
        task = rng.choice(names)
        if change == "reorder":
            turned = rng.sample(names, len(names))
            return difference(self.answer(texts, names), self.answer(texts, turned), names), 0
        if change == "beside":
            return difference(self.answer(texts, [task]), self.answer(texts, names), [task]), 0
        after, kept = self._changed(change, task, rng, number)
        answers = self.answer(texts, kept), self.answering(after)(texts, list(after.tasks))
        return difference(*answers, kept), bytes_apart(self.base, after, kept)

    def _changed(self, change: str, task: str, rng: random.Random, number: int) -> tuple[Pack, list[str]]:
        names, folder = list(self.base.tasks), self.folder / "changed"
        if change == "remove":
            left = {name: entry for name, entry in self.base.manifest.tasks.items() if name != task}
            heads = {name: self.base.head(name) for name in left}
            manifest = self.base.manifest.model_copy(update={"tasks": left})
            return write_pack(folder, manifest, heads, {}, ngrams=self.base.ngrams(left)), list(left)
        name = task if change == "retrain" else "new"
        entry = self.base.manifest.tasks[task] if change == "retrain" else entry_of(rng)
        entry = entry.model_copy(update={"ngrams": None})
        head = head_of(name, entry, self.hidden, 10_000 + number)
        return write_task(self.base, folder, name, entry, head), [each for each in names if each != name]


def runtime(model: Model) -> Answering:
    """Answer with the runtime; packs without an adapter share its engine."""

    def answering(pack: Pack) -> Callable[[list[str], list[str]], Answers]:
        made = Model(pack, model.engine, model.embedding, model.tokenizer)
        return lambda texts, tasks: made(texts, tasks)

    return answering


def training(backbone: Any) -> Answering:
    """Answer with the training engine in fp32."""
    import torch

    from umbel.backbones.bert import BertEncoder
    from umbel.model import MultiTaskModel, TrainedPredictor

    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).eval()

    def answering(pack: Pack) -> Callable[[list[str], list[str]], Answers]:
        model = MultiTaskModel(encoder, pack.tasks, backbone.tokenizer.pad)
        for name, head in model.heads.items():
            head.load_state_dict({key: torch.from_numpy(value) for key, value in pack.head(name).items()})
        model.ngrams = pack.ngrams()
        predictor = TrainedPredictor(model, backbone.tokenizer)
        return lambda texts, tasks: predictor(texts, tasks)

    return answering


def base_pack(folder: Path, backbone: Any, name: str) -> Pack:
    """Write a pack of `BESIDE` random tasks without an adapter."""
    rng = random.Random(7)
    entries = {f"task-{number}": entry_of(rng) for number in range(BESIDE)}
    heads = {task: head_of(task, entry, backbone.shape.hidden, n) for n, (task, entry) in enumerate(entries.items())}
    manifest = Manifest(
        name="random", version="0", backbone=BackboneName(name=name, sha256=backbone.sha256), tasks=entries
    )
    ngrams = {task: ngrams_of(entry, n) for n, (task, entry) in enumerate(entries.items()) if entry.ngrams}
    return write_pack(folder, manifest, heads, {}, ngrams=ngrams)


def measure(backbone: str, cases: int, folder: Path, out: Path | None) -> Figures:
    """Return for each engine and change the number of cases, the largest difference and the bytes that differ.

    What `out` holds of so many cases is not measured again; each engine's figures go there as soon as they are there.
    """
    loaded = ready_backbone(backbone) if not Path(backbone).is_dir() else load_backbone(backbone)
    pack = base_pack(folder / "base", loaded, backbone)
    made: dict[str, Callable[[], Answering]] = {
        "runtime fp32": lambda: runtime(umbel.load(pack.folder, precision="float32")),
        "runtime bfloat16": lambda: runtime(umbel.load(pack.folder, precision="bfloat16")),
        "training fp32": lambda: training(loaded),
    }
    found: Figures = json.loads(out.read_text()) if out and out.exists() else {}
    for engine in ENGINES:
        if sum(row["cases"] for row in found.get(engine, {}).values()) == cases:
            continue
        drawn = Cases(made[engine](), read_pack(pack.folder), loaded.shape.hidden, folder)
        found[engine] = {change: {"cases": 0, "answers": 0.0, "bytes": 0} for change in CHANGES}
        for number in range(cases):
            change = CHANGES[number % len(CHANGES)]
            answers, apart = drawn.compare(change, random.Random(number), number)
            row = found[engine][change]
            row["cases"] += 1
            row["answers"], row["bytes"] = max(row["answers"], answers), row["bytes"] + apart
            if number % STEP == 0:
                print(f"{engine}: {number} of {cases} cases", file=sys.stderr, flush=True)
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="of each engine")
    parser.add_argument("--backbone", default="e5-small", help="a name or a folder")
    parser.add_argument("--out", type=Path, help="a file for the figures; what it holds is not measured again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.backbone, options.cases, Path(folder), options.out)
    print(f"{'engine':<18}{'change':<10}{'cases':>6}{'answers':>12}{'bytes':>7}")
    for engine, changes in found.items():
        for change, row in changes.items():
            print(f"{engine:<18}{change:<10}{row['cases']:>6}{row['answers']:>12.3g}{row['bytes']:>7}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
