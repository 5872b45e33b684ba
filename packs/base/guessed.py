"""Labels texts that another set brought with what a pack says of them: rows more for the two smallest entity tasks.

    python packs/base/guessed.py PACK [--out packs/base/more.yaml]

PACK answers the tasks of GUESSED best, one with parts of their own for them (docs/how-to/rebuild-base.md). The rows in
the data files of base.yaml get a column more each, so no text is read twice, and `--out` is base.yaml with them: to go
on from (`again.py --declaration`), or to find what to share. No dev row is guessed, and none is touched.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import umbel
from umbel.cache import atomic_write
from umbel.errors import InputError, UmbelError
from umbel.records import SpansPrediction
from umbel.runtime import Model
from umbel.terminal import row_bar

HERE = Path(__file__).parent
COLUMN = "guessed_entities"
MOST = 12_000  # of a file of which few rows name anything
GUESSED = {  # file -> the task whose answers its rows get, and how many rows at most
    "cold": ("entities-social-zh", 0),
    "davidson_hate": ("entities-emerging-en", 0),
    "goemotions": ("entities-emerging-en", MOST),
}
SHARES = {"weibo_ner": 2.5, "wnut17": 2.0}  # drawn more often, lest guesses outnumber what people labelled
BATCH = 64


def guess(model: Model, task: str, texts: list[str]) -> list[list[dict[str, Any]]]:
    """Return the spans of one task in each text, as cells of a data file."""
    found = []
    with row_bar(f"guessing {task}") as done:
        for at in range(0, len(texts), BATCH):
            part = texts[at : at + BATCH]
            for result in model(part, tasks=[task]):
                said = result[task]
                assert isinstance(said, SpansPrediction)
                found.append([{"start": span.start, "end": span.end, "label": span.label} for span in said.spans])
                done(1)
    return found


def with_guesses(model: Model, path: Path, task: str, most: int) -> int:
    """Write a data file again with a column of guesses; return in how many rows something is named."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    asked = rows[: most or len(rows)]
    for row in rows:
        row.pop(COLUMN, None)
    for row, spans in zip(asked, guess(model, task, [row["text"] for row in asked]), strict=True):
        row[COLUMN] = spans
    with atomic_write(path) as draft, gzip.open(draft, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return sum(bool(row[COLUMN]) for row in asked)


def declared(declaration: str) -> str:
    """Return the declaration's text with the guesses as rows of their tasks.

    Raises:
        InputError: it lacks a task or a file of them.
    """
    for file, (task, _) in GUESSED.items():
        known = re.search(rf"      - train: data/{file}\.train.*?(?=\n      - |\n\n)", declaration, re.DOTALL)
        entry = known and re.sub(r"\n        dev: .*", "", known[0])
        entry = entry and re.sub(r"(column: ).*", rf"\g<1>{COLUMN}", entry)
        entry = entry and re.sub(r"(source: )(.*)", r"\g<1>texts of \g<2>, labelled by the pack itself", entry)
        place = re.search(rf"^  {task}:\n(?:.+\n)+", declaration, re.MULTILINE)
        if not entry or not place:
            raise InputError(f"base.yaml: found no task {task} or no file {file}, expected both")
        declaration = f"{declaration[: place.end()]}{entry}\n{declaration[place.end() :]}"
    for file, share in SHARES.items():
        pattern = rf"(        dev: data/{file}\.dev\.jsonl\.gz\n        column: .*\n)"
        declaration = re.sub(pattern, rf"\g<1>        share: {share}\n", declaration)
    return declaration


def main() -> None:
    """Guess, and write the declaration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", help="which answers: a name or a folder")
    parser.add_argument("--out", type=Path, default=HERE / "more.yaml", help="beside base.yaml, for its data")
    options = parser.parse_args()
    files = {file: HERE / "data" / f"{file}.train.jsonl.gz" for file in GUESSED}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: not found", "packs/base/prepare.py makes it")
    text = declared((HERE / "base.yaml").read_text("utf-8"))
    model = umbel.load(options.pack)
    for file, (task, most) in GUESSED.items():
        named = with_guesses(model, files[file], task, most)
        print(f"{file}: {named} rows in which {task} names something")
    with atomic_write(options.out) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
