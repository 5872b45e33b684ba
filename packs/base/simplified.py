"""Writes the passages of DRCD, in traditional characters, once more in simplified ones, for the reading head.

    python packs/base/simplified.py [--data packs/base/data]

It reads `drcd.train.jsonl.gz` of that folder and writes `drcd_simplified.train.jsonl.gz` beside it, which
`passages.yaml` names. People's questions are converted by OpenCC, those made by rule are made anew, as the rules know
more of simplified text. No dev row is read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from made import made
from reading import with_made

from umbel.cache import atomic_write
from umbel.errors import InputError, UmbelError

HERE = Path(__file__).parent
READ, WRITTEN = "drcd.train.jsonl.gz", "drcd_simplified.train.jsonl.gz"

Row = dict[str, Any]


def simplified(rows: Iterable[Row], convert: Callable[[str], str]) -> list[Row]:
    """Return passages and questions as `convert` writes them; a passage whose characters' number changes is left out.

    So the places of answers stay what they are.
    """
    found = []
    for row in rows:
        text = convert(row["text"])
        if len(text) != len(row["text"]):
            continue
        by_rule = {question["question"] for question in made(row["text"])}
        asked = [
            {"question": convert(each["question"]), "answers": [_moved(text, answer) for answer in each["answers"]]}
            for each in row["asked"]
            if each["question"] not in by_rule
        ]
        found.append({"text": text, "asked": asked})
    return with_made(found)


def _moved(text: str, answer: Row) -> Row:
    start = answer["start"]
    return {"start": start, "text": text[start : start + len(answer["text"])]}


def converter() -> Callable[[str], str]:
    """Return what writes traditional Chinese in simplified characters.

    Raises:
        InputError: OpenCC is not installed.
    """
    try:
        import opencc
    except ImportError:
        raise InputError("OpenCC is not installed", "pip install opencc") from None
    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert


def main() -> None:
    """Convert, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where prepare.py wrote the data")
    folder = parser.parse_args().data
    if not (folder / READ).is_file():
        raise InputError(f"{folder / READ}: not found", "packs/base/prepare.py makes it")
    with gzip.open(folder / READ, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = simplified(rows, converter())
    with atomic_write(folder / WRITTEN) as draft, gzip.open(draft, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    questions = sum(len(row["asked"]) for row in found)
    print(f"wrote {folder / WRITTEN}: {len(found)} of {len(rows)} passages, {questions} questions")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
