"""The command of flows; like `cli`, a thin function without logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

flow_app = typer.Typer()


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


@flow_app.command(
    rich_help_panel="Use packs",
    epilog=_examples(
        "umbel flow examples/moderation/flow.yaml",
        "umbel flow examples/moderation/flow.yaml --check",
        'umbel flow examples/moderation/flow.yaml --run "You are all idiots"',
        "umbel flow examples/moderation/flow.yaml --into runs/moderation",
        "umbel flow runs/messages/pack --run --file messages.txt --json",
    ),
)
def flow(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PACK|FILE",
            help="A YAML file that declares a flow, or a pack with one of its own.",
            show_default=False,
        ),
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="With `--run`: messages, or - for standard input, one a line."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Take messages through the flow.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="F", help="With `--run`: read messages from this file, one a line."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the flow is sound, and in which order its steps run.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="FOLDER", help="Write the flow's pack, with the flow in it, to this folder, to be served."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With `--run`: one JSON object a message: answers, steps, reply.")
    ] = False,
) -> None:
    """Draw a flow as Mermaid, check it, put it into a pack, or take messages through it.

    Each message is read once; then steps answer, ask, search and reply where their conditions hold. A run shows of each
    step whether it ran, what it answered or why not, and its milliseconds. A flow is checked whenever it is loaded, and
    every fault is told with its line.
    """
    from umbel import flowing

    if run + check + (into is not None) > 1:
        raise typer.BadParameter("give one of --run, --check and --into")
    if run != bool(texts or file) or (texts and file):
        raise typer.BadParameter("give --run with messages, or with --file")
    if run:
        if flowing.run(source, texts or [], file, as_json):
            raise typer.Exit(1)
    elif into:
        flowing.put_in_pack(source, into)
    elif check:
        flowing.check(source)
    else:
        flowing.draw(source)
