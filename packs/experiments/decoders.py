"""Measures decoders on sets that no pack trains on, beside a pack's branches: accuracy and milliseconds a question.

    python packs/experiments/decoders.py --sets DATA --rows 60 [--only sst2] [--engines pack,smollm2-135m-instruct]

Questions are those of `unseen.py`, choices and predicates by their names alone, of evenly spread dev rows without those
that stand in the files of `--trained`. A decoder is asked of sets in its languages. All ways to weigh options
(`zeroshot.Readout`) are measured: a text is read once for all of its set's asks, and options once where they are named
in the question and once where they are not; sums, means and calibration come from the same log-probabilities.

Rows come in an order that a seed shuffled, one of each set in turn, and each is kept in `--out` when it is answered:
the same command goes on after a stop, and what is there at any time is a fair sample. `ms` are those of reading a text
and one question on it, `+ms` of one more question: seconds of the processor, one thread, which other programs change
little; the questions' calibration is among them only where every row has another question. The table goes to the
terminal and to `--write`, the last line is JSON.

With `--packed` decoders are read by OpenVINO (`packed.py`), all that is asked of a text in one pass: several times
faster, rounded otherwise, and without the milliseconds of the product. Its answers are kept in files of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from packed import PackedDecoder
from unseen import HERE, TRAINED, Asked, gather, gold_of, label_figures, names_only, read_asks, says

import umbel
from umbel.catalogue import entry_of
from umbel.decoding.base import Decoder, Floats, Prefix, Stem, Tokens
from umbel.decoding.load import load_decoder
from umbel.decoding.zeroshot import Asker, Readout
from umbel.encodings import EncodingCache
from umbel.errors import UmbelError
from umbel.questions import Choice, Predicate
from umbel.records import language_of
from umbel.runtime import CACHE_BYTES

WAYS = {
    f"{by}{', calibrated' * calibrated}{', named' * listed}": Readout(by, calibrated, listed)  # type: ignore[arg-type]
    for listed, calibrated, by in product((False, True), (True, False), ("sum", "mean"))
}
PACK = "base"
SEED = 1

Row = tuple[str, list[tuple[str, Asked]]]  # a set, and what is asked of one of its texts, by the asks' names
Answers = dict[str, Any]
Engine = Callable[[Sequence[tuple[str, Asked]]], Iterator[tuple[str, Answers]]]


class Remembering:
    """A decoder that scores the same leaves of a text once; counts the processor's seconds."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self._scores = decoder, dict[Any, list[list[Floats]]]()
        self.seconds = {"read": 0.0, "score": 0.0}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def keep(self, tokens: Tokens, seconds: float | None = None) -> Prefix:
        """Read a prefix."""
        began = time.process_time()
        prefix = self._decoder.keep(tokens, seconds)
        self.seconds["read"] += time.process_time() - began
        return prefix

    def score(self, prefix: Prefix, stems: Sequence[Stem], adapter: str | None = None) -> list[list[Floats]]:
        """Return what was scored before, or score it."""
        key = prefix.tokens, tuple((tuple(stem.tokens), tuple(map(tuple, stem.leaves))) for stem in stems)
        if key not in self._scores:
            began = time.process_time()
            self._scores[key] = self._decoder.score(prefix, stems, adapter)
            self.seconds["score"] += time.process_time() - began
        return self._scores[key]

    def forget(self) -> None:
        """Let go of what was scored."""
        self._scores.clear()


class DecoderEngine:
    """Asks a decoder in all ways."""

    def __init__(self, name: str, packed: bool) -> None:
        self.languages = entry_of(name).languages
        self.decoder = Remembering(PackedDecoder(name) if packed else load_decoder(name, threads=1))
        self.askers = {way: Asker(self.decoder, readout) for way, readout in WAYS.items()}
        self.packed = packed

    def __call__(self, asked: Sequence[tuple[str, Asked]]) -> Iterator[tuple[str, Answers]]:
        """Yield each ask's answers by the way, with the seconds of the first one, which is the default."""
        self.decoder.forget()
        text, questions = asked[0][1].text, [each.question for _, each in asked]
        read = 0.0
        for place, (name, each) in enumerate(asked):
            found: Answers = {"ways": {}}
            for way, asker in self.askers.items():
                before = dict(self.decoder.seconds)
                if self.packed:  # all questions in one pass, which the next ones find remembered
                    answer = asker.ask(text, questions)[place]
                else:
                    (answer,) = asker.ask(text, [each.question])
                found["ways"][way] = says(answer)
                if "more" not in found and not self.packed:
                    spent = {part: self.decoder.seconds[part] - before[part] for part in before}
                    read = read or spent["read"]
                    found |= {"first": read + spent["score"], "more": spent["score"]}
            yield name, found


class PackEngine:
    """Asks a pack's branches."""

    languages = ("zh", "en")

    def __init__(self, name: str) -> None:
        self.model = umbel.load(name, threads=1)

    def __call__(self, asked: Sequence[tuple[str, Asked]]) -> Iterator[tuple[str, Answers]]:
        """Yield each ask's answer, with its seconds."""
        for name, each in asked:
            self.model.forward.encodings = EncodingCache(CACHE_BYTES)
            began = time.process_time()
            (answer,) = self.model.ask(each.text, [each.question])
            first = time.process_time()
            self.model.ask(each.text, [each.question])
            more = time.process_time() - first
            yield name, {"ways": {"branches": says(answer)}, "first": first - began, "more": more}


def rows_of(questions: Mapping[str, Sequence[Asked]]) -> list[Row]:
    """Return what is asked of each row, one of each set in turn, those of a set in an order of a seed."""
    sets: dict[str, dict[int, list[tuple[str, Asked]]]] = defaultdict(lambda: defaultdict(list))
    for key, asked in questions.items():
        of, _, name = key.partition(".")
        for place, each in enumerate(asked):
            if isinstance(each.question, Choice | Predicate):
                sets[of][place].append((name, each))
    mixed = [
        [(of, rows[place]) for place in np.random.default_rng(SEED).permutation(sorted(rows)).tolist()]
        for of, rows in sets.items()
    ]
    return [row for some in zip_longest(*mixed) for row in some if row]


def language(row: Row) -> str:
    """Return the language of a row's questions, which is that of its set."""
    question = row[1][0][1].question
    assert isinstance(question, Choice | Predicate)
    return language_of(question.statement if isinstance(question, Predicate) else question.instruction)


def fingerprint(row: Row) -> str:
    """Return what names a row in the file of answers."""
    asked = "".join(f"{each.text} {each.question}" for _, each in row[1])
    return hashlib.sha256(f"{row[0]} {asked}".encode()).hexdigest()[:16]


def run(engine: Engine, rows: Sequence[Row], path: Path) -> None:
    """Ask what was not asked yet, and add each row's answers to a file."""
    if path.exists():  # what a stop cut off is asked again
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")))
    done = {line["row"] for line in lines_of(path)}
    left = [row for row in rows if fingerprint(row) not in done]
    for number, row in enumerate(left, 1):
        found = dict(engine(row[1]))
        asks = {name: {**found[name], "gold": gold_of(each)} for name, each in row[1]}
        with path.open("a") as file:
            file.write(json.dumps({"row": fingerprint(row), "set": row[0], "asks": asks}, ensure_ascii=False) + "\n")
        print(f"{path.stem}: {number} of {len(left)} rows, {row[0]}", file=sys.stderr, flush=True)


def lines_of(path: Path) -> list[Answers]:
    """Return the answers of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(lines: Sequence[Answers]) -> dict[str, dict[str, Any]]:
    """Return the figures of each ask: rows, accuracy of each way, and of the first one the rest."""
    asks: dict[str, list[Answers]] = defaultdict(list)
    for line in lines:
        for name, answers in line["asks"].items():
            asks[f"{line['set']}.{name}"].append(answers)
    return {key: summary(answers) for key, answers in sorted(asks.items())}


def summary(answers: Sequence[Answers]) -> dict[str, Any]:
    """Return the figures of one ask; `error` is the standard error of an accuracy, in points."""
    golds = [each["gold"] for each in answers]
    ways = {}
    for way in answers[0]["ways"]:
        said, confidence = zip(*(each["ways"][way] for each in answers), strict=True)
        ways[way] = label_figures(golds, said, confidence)
    first = next(iter(ways.values()))
    share = first["accuracy"] / 100
    often = max(golds.count(gold) for gold in set(golds)) / len(golds)
    return {
        "rows": len(golds),
        "always_the_same": round(100 * often, 1),
        **first,
        "error": round(100 * (share * (1 - share) / len(golds)) ** 0.5, 1),
        **{name: _milliseconds(answers, key) for name, key in (("ms", "first"), ("+ms", "more")) if key in answers[0]},
        "accuracies": {way: found["accuracy"] for way, found in ways.items()},
    }


def _milliseconds(answers: Sequence[Answers], key: str) -> float:
    return round(1000 * float(np.median([each[key] for each in answers])), 1)


def main(arguments: list[str] | None = None) -> None:
    """Ask every engine, and show what it answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with one folder per public set")
    parser.add_argument("--trained", type=Path, default=TRAINED, help="folder of the files that were trained on")
    parser.add_argument("--rows", type=int, default=60, help="of a set, at most")
    parser.add_argument("--only", default="", help="names of sets, separated by commas; all by default")
    parser.add_argument("--engines", default="pack,smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct,gemma-3-270m")
    parser.add_argument("--packed", action="store_true", help="read by OpenVINO: faster, and no milliseconds")
    parser.add_argument("--out", type=Path, default=Path("runs/decoders"), help="folder of the answers")
    parser.add_argument("--write", type=Path, help="keep the figures in this file")
    options = parser.parse_args(arguments)
    asks = read_asks(HERE / "unseen.yaml")
    names = options.only.split(",") if options.only else list(asks)
    gathered = gather(options.sets, options.trained, {name: asks[name] for name in names}, options.rows)
    rows = rows_of({key: [names_only(each) for each in asked] for key, asked in gathered.items()})
    options.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in options.engines.split(","):
        engine = PackEngine(PACK) if name == "pack" else DecoderEngine(name, options.packed)
        path = options.out / f"{name}{'.packed' * (options.packed and name != 'pack')}.jsonl"
        run(engine, [row for row in rows if language(row) in engine.languages], path)
        found[name] = table(lines_of(path))
        for key, figures in found[name].items():
            told = "".join(f"  {word} {value:g}" for word, value in figures.items() if word != "accuracies")
            print(f"{name:<28} {key:<32}{told}", flush=True)
    if options.write:
        options.write.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
