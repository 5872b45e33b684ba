"""The command that trains; like `cli`, a thin function without logic."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

train_app = typer.Typer()


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


Declaration = Annotated[
    Path,
    typer.Argument(metavar="PACK.yaml", help="A pack's declaration; `umbel init` writes one.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FOLDER",
        help="Where to save the training; the pack goes to FOLDER/pack.",
        show_default="runs/NAME",
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what was saved there and start anew.")]
Teach = Annotated[
    Path | None,
    typer.Option(
        "--teach",
        metavar="FOLDER",
        help="Keep there what the trained tasks say of their train rows, for `teachers:` of another declaration.",
    ),
]
LogTo = Annotated[
    str | None,
    typer.Option(
        "--log-to",
        metavar="FOLDER",
        help="Write the curves there for TensorBoard, or with mlflow:ADDRESS to MLflow's server, while it trains.",
    ),
]
Sharing = Annotated[
    Literal["all", "none", "auto"] | None,
    typer.Option(
        help="Whether tasks share all, nothing, or what measuring says, task by task.",
        show_default="`separation` of the declaration, else all",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="MB,TIMES",
        help="With auto: megabytes of all own parts, and encodings of a text when all tasks are asked.",
        show_default="32,2",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(metavar="PACK", help="With auto: take this pack for the joint training, and train only parts."),
]
Figures = Annotated[
    Path | None,
    typer.Option(
        "--interference",
        "-i",
        metavar="F",
        help="With auto: figures of `umbel interference`, in place of training tasks alone.",
    ),
]


@train_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel train pack.yaml",
        "umbel train pack.yaml --out runs/second",
        "umbel train pack.yaml --sharing auto --sharing-budget 16,1.5",
        "umbel train packs/base/base.yaml --sharing auto --start base --out runs/own",
    ),
)
def train(
    declaration: Declaration,
    out: Out = None,
    restart: Restart = False,
    teach: Teach = None,
    log_to: LogTo = None,
    sharing: Sharing = None,
    sharing_budget: Budget = None,
    start: Start = None,
    interference: Figures = None,
) -> None:
    """Train all tasks of a pack together on one backbone and write the pack.

    First shows what each task will see: its rows, how often each is drawn, its share. The state is saved at least once
    a minute: after a stop of any kind the same command goes on and ends with the same result. `--sharing auto` then
    gives tasks that lose by sharing a part of their own, and says why. Needs the extra `train`.
    """
    from umbel import shared_training
    from umbel.terminal import output

    wanted = shared_training.Wanted(sharing, sharing_budget, start, interference)
    try:
        pack = shared_training.train(declaration, out, restart, teach, log_to, wanted)
    except KeyboardInterrupt:
        options = {
            "--out": out, "--teach": teach, "--log-to": log_to, "--sharing": sharing,
            "--sharing-budget": sharing_budget, "--start": start, "--interference": interference,
        }  # fmt: skip
        given = "".join(f" {option} {quote(str(value))}" for option, value in options.items() if value is not None)
        command = f"umbel train {quote(str(declaration))}{given}"
        output().print(f"\nStopped. Go on from the last save with: {command}", soft_wrap=True)
        raise typer.Exit(130) from None
    if pack:
        output().print(f"the pack is in {pack}; try it: umbel analyze --samples --pack {pack}", soft_wrap=True)
