"""Measures search: how often a question finds the text that it was asked about, and a sentence its translation.

    python packs/experiments/retrieval.py --sets DATA [--pack base] [--untouched] [--rows 0] [--tokens 256] [--others 0]

The dev texts of each set become the documents of an index, all its dev questions are searched, by vectors, by words and
by both. Recall@k is the share of questions with a passage of their own text among the first k passages; MRR is over the
first ten. Replies of KdConv have to find a line of knowledge that they were made from, among those of all its rows.
Two sets are across languages: Chinese sentences of STS-B and utterances of XDailyDialog have to find the English ones
they translate, matched by the order of the two files, among the Chinese texts of the reading sets; the latter also the
other way. `--others` adds so many train texts to a reading set, which answer none of its questions. `--untouched`
measures the backbone as it came, without an adapter and with the prefixes its authors trained ("query: ", "passage: ").

Each run adds its figures to retrieval.json beside this file; the table goes to the terminal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np

import umbel
from umbel.catalogue import load_backbone
from umbel.pack import BackboneName, Manifest, TaskEntry
from umbel.packing import write_pack
from umbel.retrieval import Document, Index
from umbel.retrieval.encoder import Floats, PackEncoder
from umbel.retrieval.index import TOKENS, By
from umbel.rows import read_rows

FIGURES = Path(__file__).with_suffix(".json")
READING = ("cmrc2018", "drcd")
KNOWLEDGE = "kdconv"
ACROSS = (  # queries, documents, and what rows that translate each other have in common
    ("stsb_zh", "stsb_en", ("similarity",)),
    ("xdailydialog_zh", "xdailydialog_en", ("act", "emotion", "topic")),
    ("xdailydialog_en", "xdailydialog_zh", ("act", "emotion", "topic")),
)
ALIGNED = 8  # rows of the same in both files, at least, that are taken to be translations
DEEPEST = 10  # passages looked at

Asked = tuple[str, Sequence[str]]
"""A question, and the texts of which one is to be found."""
T = TypeVar("T")


class Untouched(PackEncoder):
    """The default backbone without an adapter; `prefix` goes before each text."""

    def __init__(self, folder: Path) -> None:
        backbone = load_backbone()
        manifest = Manifest(
            name="untouched",
            version="1",
            backbone=BackboneName(name=backbone.name, sha256=backbone.sha256),
            tasks={"vector": TaskEntry(kind="feature-extraction")},
        )
        super().__init__(umbel.load(write_pack(folder, manifest, {}, {}).folder))
        self.prefix = "passage: "

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of prefixed texts `[texts, hidden]`."""
        return super().vectors([self.prefix + text for text in texts])


def rows_of(folder: Path, part: str = "dev") -> list[Mapping[str, Any]]:
    """Return the rows of a set's file."""
    return [row for _, row in read_rows(folder / f"{part}.jsonl.gz")]


def some(found: list[T], rows: int) -> list[T]:
    """Return about so many of what was found, evenly spread; all for 0."""
    return found[:: max(len(found) // rows, 1)] if rows else found


def questions(folder: Path, rows: int) -> tuple[list[str], list[Asked]]:
    """Return a set's dev texts, and its questions, each with the text that it was asked about."""
    found = some(rows_of(folder), rows)
    return list(dict.fromkeys(str(row["text"]) for row in found)), [
        (str(row["question"]), [row["text"]]) for row in found
    ]


def knowledge(folder: Path, rows: int) -> tuple[list[str], list[Asked]]:
    """Return lines of knowledge, and dev replies, each with those lines that it was made from."""
    dev = rows_of(folder)
    lines = dict.fromkeys(str(line) for row in [*dev, *rows_of(folder, "train")] for line in row["knowledge"])
    return list(lines), some([(str(row["reply"]), row["knowledge"]) for row in dev if row["knowledge"]], rows)


def translations(left: Path, right: Path, columns: Sequence[str], rows: int) -> tuple[list[str], list[Asked]]:
    """Return sentences of one language, and those of the other, each with the one that it translates."""
    queries, documents = rows_of(left), rows_of(right)
    first, second = ([tuple(row[column] for column in columns) for row in found] for found in (queries, documents))
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    pairs = [(block.a + at, block.b + at) for block in blocks if block.size >= ALIGNED for at in range(block.size)]
    asked: list[Asked] = [(str(queries[query]["text"]), [documents[text]["text"]]) for query, text in some(pairs, rows)]
    return list(dict.fromkeys(str(row["text"]) for row in documents)), asked


def other_texts(folder: Path, texts: Sequence[str], most: int) -> Iterator[str]:
    """Yield texts of a set's train rows that are not among its dev texts."""
    rows = read_rows(folder / "train.jsonl.gz") if most else ()
    known = set(texts)
    for text in dict.fromkeys(str(row["text"]) for _, row in rows):
        if most and text not in known:
            most -= 1
            yield text


def figures(ranks: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """Return the figures of questions whose texts were found at `ranks`, from 0; DEEPEST if they were not."""
    place = np.array(ranks)
    return {
        **{f"recall@{k}": round(100 * float(np.mean(place < k)), 1) for k in (1, 5, 10)},
        "mrr": round(float(np.mean(np.where(place < DEEPEST, 1 / (place + 1), 0))), 3),
        "ms a query": round(1000 * statistics.median(seconds), 2),
    }


def rank_of(index: Index, question: str, sources: frozenset[str], by: By) -> int:
    """Return the rank of the first passage of one of the sources, from 0, or DEEPEST."""
    hits = index.search(question, DEEPEST, by=by)
    return next((rank for rank, hit in enumerate(hits) if sources & {hit.source, *hit.also}), DEEPEST)


def gather(settings: argparse.Namespace) -> Iterator[tuple[str, list[str], list[Asked]]]:
    """Yield each set's name, its texts, and its questions with the texts to be found."""
    chinese: list[str] = []
    for name in READING:
        texts, asked = questions(settings.sets / name, settings.rows)
        chinese += texts
        yield name, [*texts, *other_texts(settings.sets / name, texts, settings.others)], asked
    yield KNOWLEDGE, *knowledge(settings.sets / KNOWLEDGE, settings.rows)
    for left, right, columns in ACROSS:
        texts, asked = translations(settings.sets / left, settings.sets / right, columns, settings.rows)
        yield f"{left} to {right}", texts + chinese, asked


def measure(encoder: PackEncoder, texts: Sequence[str], asked: Sequence[Asked], tokens: int) -> dict[str, Any]:
    """Return the figures of one set by way of searching."""
    places = {text: str(place) for place, text in enumerate(texts)}
    with tempfile.TemporaryDirectory() as held:
        index = Index.create(Path(held) / "index", encoder, tokens)
        index.add(Document(text, place) for text, place in places.items())
        if isinstance(encoder, Untouched):
            encoder.prefix = "query: "
        found: dict[str, Any] = {"questions": len(asked), "texts": len(texts), "passages": len(index)}
        for by in get_args(By):
            ranks, seconds = [], []
            for question, wanted in asked:
                began = time.perf_counter()
                ranks.append(rank_of(index, question, frozenset(places[text] for text in wanted), by))
                seconds.append(time.perf_counter() - began)
            found[by] = figures(ranks, seconds)
        index.close()
        if isinstance(encoder, Untouched):
            encoder.prefix = "passage: "
    return found


def table(report: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each set and way of searching."""
    for name, found in report.items():
        yield f"{name}: {found['questions']} questions, {found['texts']} texts, {found['passages']} passages"
        for by in get_args(By):
            yield f"  {by:8}" + "".join(f"{key} {value:<8}" for key, value in found[by].items())


def main(arguments: list[str] | None = None) -> None:
    """Measure an encoder on all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--pack", default="base", help="name or folder")
    parser.add_argument("--untouched", action="store_true", help="measure the backbone as it came instead")
    parser.add_argument("--rows", type=int, default=0, help="questions of a set; 0: all")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of a passage")
    parser.add_argument("--others", type=int, default=0, help="train texts to add")
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        untouched = settings.untouched
        encoder = Untouched(Path(folder) / "pack") if untouched else PackEncoder(umbel.load(settings.pack))
        report = {name: measure(encoder, texts, asked, settings.tokens) for name, texts, asked in gather(settings)}
    print("\n".join(table(report)))
    pack = f"{encoder.model.pack.manifest.name} {encoder.maker.version} {encoder.maker.adapter[:8]}"
    title = f"{'untouched' if untouched else pack}, {settings.tokens} tokens, {settings.others} others"
    known = json.loads(FIGURES.read_text("utf-8")) if FIGURES.is_file() else {}
    FIGURES.write_text(json.dumps(known | {title: report}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
