"""Makes, updates and searches an index from the command line: progress, what changed, what was found.

Knows nothing of how passages are kept or compared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from umbel.answers import json_line
from umbel.errors import InputError
from umbel.loading import ready_model
from umbel.prose import Prose
from umbel.render import headline
from umbel.retrieval.documents import Documents
from umbel.retrieval.index import By, Hit, Index, plain_hit
from umbel.tables import counted
from umbel.terminal import count_bar, errors, output, show, visible

DEFAULT_PACK = "base"


@dataclass(frozen=True)
class Update:
    """What to do to an index; `pack` and `tokens` are None where nothing was said of them."""

    paths: Sequence[Path]
    column: str
    remove: Sequence[str]
    pack: str | None
    tokens: int | None


@dataclass(frozen=True)
class Wanted:
    """What to find besides the query."""

    k: int
    where: Mapping[str, str]
    by: By


def index(path: Path, update: Update, as_json: bool) -> bool:
    """Make or update an index, show what changed, and return whether all files could be read."""
    documents = Documents(update.paths, update.column)
    with _opened(path, update) as found, count_bar("making vectors", "passages") as advance:
        removed = sum(found.remove(source) for source in update.remove)
        changes = found.add(documents, documents.covers, advance)
        plain = asdict(changes) | {"removed": changes.removed + removed, "empty": documents.empty}
        plain |= dict(zip(("documents", "passages"), found.counts(), strict=True))
    if as_json:
        show({"index": str(path)} | plain, "", as_json)
    else:
        output().print(_summary(path, plain), soft_wrap=True)
    for fault in documents.faults.listed():
        errors().print(f"left out: {visible(fault)}", soft_wrap=True)
    return not documents.faults


def _opened(path: Path, update: Update) -> Index:
    """Open the index with its pack loaded, or make a new one."""
    if not path.exists():
        return Index.create(path, ready_model(update.pack or DEFAULT_PACK), update.tokens)
    found = Index.open(path)
    if update.tokens not in (None, found.tokens):
        message = f"{path}: its passages have at most {found.tokens} tokens, found --tokens {update.tokens}"
        raise InputError(message, "leave --tokens out, or make another index")
    found.use(ready_model(update.pack or found.maker.pack))
    return found


def _summary(path: Path, plain: Mapping[str, Any]) -> str:
    done = ", ".join(f"{plain[name]:,} {name}" for name in ("added", "changed", "removed", "unchanged"))
    empty = f", {plain['empty']:,} empty" if plain["empty"] else ""
    held = f"{counted(plain['documents'], 'document')}, {counted(plain['passages'], 'passage')}"
    return f"{visible(str(path))}: {held} ({done}{empty}; {counted(plain['vectors'], 'vector')} made)"


def conditions(listed: Sequence[str]) -> dict[str, str]:
    """Return conditions written NAME=VALUE.

    Raises:
        InputError: one is written in another way.
    """
    found = {}
    for condition in listed:
        name, equals, value = condition.partition("=")
        if not name or not equals:
            raise InputError(f"--where: found {condition!r}, expected NAME=VALUE", "--where source=docs/faq.md")
        found[name] = value
    return found


def search(path: Path, queries: Sequence[str], wanted: Wanted, pack: str | None, as_json: bool) -> None:
    """Search an index and show what was found."""
    with Index.open(path) as found:
        found.use(ready_model(pack or found.maker.pack))
        for query in queries:
            hits = found.search(query, wanted.k, wanted.where, wanted.by)
            if as_json:
                sys.stdout.buffer.write(json_line({"query": query, "hits": [plain_hit(hit) for hit in hits]}))
            else:
                output().print(*_report(query, hits), sep="\n")


def _report(query: str, hits: Sequence[Hit]) -> Iterator[RenderableType]:
    """Yield the query, then each hit: where it stands and how well it fits, and its words."""
    yield Text(visible(query), "bold")
    for hit in hits:
        numbers = f"score {hit.score:.3f}, cosine {hit.cosine:.3f}, words {hit.words:.3f}"
        yield Prose(Text.assemble("\n", (visible(_where(hit)), "cyan"), (f"  {numbers}", "dim")))
        yield Padding(Prose(Text(headline(" ".join(hit.text.split())))), (0, 0, 0, 2))
    if not hits:
        yield Text("nothing was found", "dim")
    yield Text()


def _where(hit: Hit) -> str:
    line = f":{hit.line}" if hit.line else ""
    also = f" and {counted(len(hit.also), 'other')}" if hit.also else ""
    return f"{hit.source}{line} {hit.start}–{hit.end}{also}"
