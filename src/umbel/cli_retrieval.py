"""The commands of search; like `cli`, thin functions without logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

retrieval_app = typer.Typer()


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


@retrieval_app.command(
    rich_help_panel="Use packs",
    epilog=_examples(
        "umbel index docs --out docs.index",
        "umbel index faq.jsonl --out faq.index --text answer",
        "umbel index --out docs.index --remove docs/old.md",
    ),
)
def index(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="INDEX", help="The index; made if need be.", show_default=False),
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Folders and files: .txt and .md are documents; each row of .jsonl, .csv, .tsv and .parquet is one.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str,
        typer.Option("--text", metavar="COLUMN", help="The column of a row that holds its text."),
    ] = "text",
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Take this file's passages out; may be repeated.", show_default=False),
    ] = None,
    pack: Annotated[
        str | None,
        typer.Option(
            "--pack",
            "-p",
            metavar="NAME|FOLDER",
            help="The pack that makes the vectors: a shipped one, or a folder.",
            show_default="that of the index, or base",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Cut documents into passages of at most N tokens; set when the index is made.",
            show_default="256",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what changed as JSON.")] = False,
) -> None:
    """Make or update an index of passages, to search by meaning and by words.

    Run it again when files have changed: new and changed documents are read, those whose files are gone from the given
    folders are taken out, the rest is left alone. The index changes at the end, all at once; a run that was stopped
    goes on where it was. Files that cannot be read are told on standard error; the exit code is then 1.
    """
    from umbel import finding

    if not paths and not remove:
        raise typer.BadParameter("give folders or files to index, or --remove")
    if not finding.index(out, finding.Update(paths or [], text, remove or [], pack, tokens), as_json):
        raise typer.Exit(1)


@retrieval_app.command(
    rich_help_panel="Use packs",
    epilog=_examples(
        'umbel search docs.index "How do I get my money back?"',
        'umbel search faq.index "怎么退款" -k 3 --where language=zh --json',
    ),
)
def search(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="What `umbel index` made.", show_default=False)],
    queries: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="What to find, in Chinese or English.", show_default=False)
    ],
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Show the N best passages.")] = 5,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Search only where `source`, or a column of the row, has this value; may be repeated.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Literal["both", "vectors", "words"], typer.Option(help="Rank by meaning, by words, or by both together.")
    ] = "both",
    pack: Annotated[
        str | None,
        typer.Option(
            "--pack",
            "-p",
            metavar="NAME|FOLDER",
            help="The pack of the index, should it have moved.",
            show_default="that of the index",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a query.")] = False,
) -> None:
    """Find the passages of an index that fit a query best, with their source and place there."""
    from umbel import finding

    finding.search(path, queries, finding.Wanted(k, finding.conditions(where or []), by), pack, as_json)
