"""The commands that measure and show what sharing does; like `cli`, thin functions without logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

sharing_app = typer.Typer()

JSON = typer.Option("--json", help="Print JSON instead of a table.")
NamedPack = Annotated[
    str, typer.Argument(metavar="PACK", help="A pack's folder, or the name of a shipped one.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="Where to write the pack.", show_default="in place"),
]
Version = Annotated[
    str, typer.Option("--version", metavar="X.Y.Z", help="The new pack's version.", show_default="as it was")
]


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


@sharing_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel interference pack.yaml --cheap",
        "umbel interference pack.yaml --tasks intent,sentiment --seeds 5",
        "umbel interference packs/base/base.yaml --cheap --minutes 10 --json",
    ),
)
def interference(
    declaration: Annotated[
        Path,
        typer.Argument(metavar="PACK.yaml", help="A pack's declaration; `umbel init` writes one.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where to keep the trainings and the figures.",
            show_default="runs/NAME-interference",
        ),
    ] = None,
    cheap: Annotated[
        bool,
        typer.Option("--cheap", help="Encode rows once with the frozen backbone, and share a small adapter over it."),
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Repeat everything under N seeds.")] = 3,
    rows: Annotated[
        int | None,
        typer.Option(min=12, metavar="N", help="Train on at most N rows of each task.", show_default="600"),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Train N pairs of tasks, drawn at random.",
            show_default="all of up to 8 tasks, else 30",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N,M",
            help="Repeat it with at most N, M, ... rows a task; an empty text: do not.",
            show_default="a tenth and a third of the rows",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", "-t", metavar="A,B", help="Compare these tasks alone.", show_default="all that train"),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="N", help="Begin no training after N minutes; the same command goes on."),
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Measure what each task gains or loses by sharing: alone against together, with intervals over seeds.

    Every training gives a task the same rows in as many steps. Pairs of tasks are trained to see what one gives
    another; of more than 8 tasks a sample is, and all are estimated from gradients and lookahead, with the rank
    correlation to the trained ones. Goes on where it was stopped. Needs the extra `train`.
    """
    from umbel import measuring, sharing_tables, terminal

    named = [name.strip() for name in tasks.split(",") if name.strip()] if tasks else []
    wanted = measuring.Wanted(cheap, seeds, rows, pairs, measuring.numbers(sizes), named, minutes)
    path, found, done = measuring.measure(declaration, out, wanted)
    terminal.show(found, sharing_tables.interference_report(found), as_json)
    if not as_json:
        left = "" if done else "; not finished, run the same command again"
        terminal.output().print(f"figures: {path}{left}", soft_wrap=True)


@sharing_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel report base --json",
        "umbel report runs/messages/pack --data my-pack/pack.yaml --out my-report",
        "umbel report base --data packs/base/base.yaml --limit 500 --language zh",
    ),
)
def report(
    name: NamedPack,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            metavar="PACK.yaml",
            help="The declaration that names dev files: answer them, for intervals, curves, mistakes and times.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Answer at most N rows of each dev file, evenly spread; 0: all.")
    ] = 0,
    interference: Annotated[
        Path | None,
        typer.Option("--interference", "-i", metavar="F", help="Figures that `umbel interference` wrote."),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option("--published", metavar="F", help="JSON: by task a list of figures with `score`, `by` and `on`."),
    ] = None,
    texts: Annotated[
        bool, typer.Option("--texts/--no-texts", help="Show mistakes with their texts, or no text of the data at all.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where to write the three files.", show_default="NAME-report"
        ),
    ] = None,
    language: Annotated[
        Literal["en", "zh"], typer.Option(help="The language of the Markdown file, and the HTML file's first.")
    ] = "en",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, and write files only where --out says so.")
    ] = False,
) -> None:
    """Show all that is known of a pack: scores, what sharing did, calibration, mistakes, costs, what to do next.

    Writes one HTML file that needs no network, Markdown and JSON. Without `--data` it knows what the pack's manifest
    says. Plots need the extra `report`.
    """
    from umbel import reporting, terminal
    from umbel.report_plots import need_matplotlib

    if out or not as_json:
        need_matplotlib()  # before rows are answered for minutes
    found = reporting.make_report(name, reporting.Sources(data, limit, interference, published, texts))
    if as_json:
        terminal.show(found, "", as_json=True)
    if out or not as_json:
        for path in reporting.write_report(found, out or Path(f"{found['pack']}-report"), language):
            terminal.errors().print(f"written: {path}", soft_wrap=True)


@sharing_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel detach runs/messages/pack intent --data my-pack/pack.yaml",
        "umbel detach base entities --data packs/base/base.yaml --from-layer 8 --out my-base",
    ),
)
def detach(
    name: NamedPack,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task to detach.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="PACK.yaml", help="The declaration that names the task's rows.")
    ] = Path("pack.yaml"),
    from_layer: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Share the lowest K layers, and copy those above for the task.",
            show_default="two thirds of the layers",
        ),
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01, metavar="N", help="Passes over the task's train rows.")] = 2.0,
    out: Out = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Write it even where the task is no better.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what was saved and start anew.")] = False,
) -> None:
    """Give a task upper layers of its own, trained on its rows alone, and prove that nothing else moved.

    The lower layers go on running once for all tasks, and their weights stay as they are. All other files and the other
    tasks' answers are compared bit by bit. Goes on where it was stopped, over the same pack. Needs the extra `train`.
    """
    from umbel import detachment
    from umbel.pack import read_pack

    found = detachment.detach_pack(name, task, data, from_layer, epochs, out, anyway, restart)
    detachment.tell(task, read_pack(name).tasks[task].metric, found)


@sharing_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel ngrams runs/messages/pack topic --data my-pack/pack.yaml",
        "umbel ngrams base news-topic --data packs/base/base.yaml --longest 3 --out my-base",
    ),
)
def ngrams(
    name: NamedPack,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task that is to read them.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="PACK.yaml", help="The declaration that names the task's rows.")
    ] = Path("pack.yaml"),
    longest: Annotated[int, typer.Option(min=1, max=8, metavar="N", help="Read up to N characters together.")] = 3,
    out: Out = None,
    version: Version = "",
    anyway: Annotated[bool, typer.Option("--anyway", help="Write it even where the task is no better.")] = False,
) -> None:
    """Let a classification task read character n-grams beside the encoding, and prove that nothing else moved.

    What goes with which label is learnt from the task's train rows in seconds, how much it counts from its dev rows.
    All other files and the other tasks' answers are compared bit by bit. Needs the extra `train`.
    """
    from umbel import ngram_adding
    from umbel.pack import read_pack

    found = ngram_adding.add_ngrams(name, task, data, longest, out, version, anyway)
    ngram_adding.tell(task, read_pack(name).tasks[task].metric, found)


@sharing_app.command(
    "teach-vectors",
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel teach-vectors runs/messages/pack --data my-pack/pack.yaml",
        "umbel teach-vectors base --data packs/base/base.yaml --out my-base",
    ),
)
def teach_vectors(
    name: NamedPack,
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="PACK.yaml", help="The declaration whose train texts are compared.")
    ] = Path("pack.yaml"),
    out: Out = None,
    version: Version = "",
    anyway: Annotated[bool, typer.Option("--anyway", help="Write it even where vectors are no better.")] = False,
) -> None:
    """Let a pack read its vectors through a map, so that search finds more, and prove that nothing else moved.

    Learnt in minutes on the sealed encoder, from the declaration's train texts: they shall be as alike as the untouched
    backbone finds them, and questions that rows bring nearest to their passages. Judged on texts held back; all other
    files and the other tasks' answers are compared bit by bit. Needs the extra `train`.
    """
    from umbel import vector_adding

    vector_adding.tell(vector_adding.teach_vectors(name, data, out, version, anyway))


@sharing_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel quantise runs/messages/pack --data my-pack/pack.yaml",
        "umbel quantise base --data packs/base/base.yaml --limit 500 --out my-base",
    ),
)
def quantise(
    name: NamedPack,
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="PACK.yaml", help="The declaration whose train texts are read.")
    ] = Path("pack.yaml"),
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Score at most N rows of each dev file, evenly spread; 0: all.")
    ] = 0,
    out: Out = None,
    version: Version = "",
    anyway: Annotated[bool, typer.Option("--anyway", help="Write it even where a task loses too much.")] = False,
) -> None:
    """Run a pack's encoder in 8 bits on processors made for it, and score every task without and with it.

    How numbers are rounded is fitted once, in a minute, on what the encoder makes of train texts, and stays: an answer
    does not depend on what else is in a batch. Weights, heads and calibration are left as they are.
    """
    from umbel import quantising

    quantising.tell(quantising.quantise(name, data, out, version, limit, anyway))


@sharing_app.command(
    rich_help_panel="Make packs",
    epilog=_examples("umbel diff base runs/base/pack", "umbel diff base runs/base/pack --json"),
)
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A pack's folder or name.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="B", help="The pack to compare with it.", show_default=False)],
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Compare two packs task by task: dev scores, labels added and removed, settings, whether bytes are the same."""
    from umbel import tables, terminal
    from umbel.difference import compare
    from umbel.pack import read_pack

    found = compare(read_pack(before).manifest, read_pack(after).manifest)
    terminal.show(found, tables.difference_report(found), as_json)
