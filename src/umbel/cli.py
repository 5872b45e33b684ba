"""The command line: one thin function per command, which hands over to the modules; no logic of its own.

Imports stand inside the functions, so that `umbel --help` starts neither numpy nor an engine.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from umbel.cli_flow import flow_app
from umbel.cli_questions import questions_app
from umbel.cli_retrieval import retrieval_app
from umbel.cli_serve import serve_app
from umbel.cli_sharing import sharing_app
from umbel.cli_train import train_app
from umbel.cli_write import write_app
from umbel.errors import UmbelError

USING, MAKING = "Use packs", "Make packs"


def _examples(*lines: str) -> str:
    """Return the end of a command's help: one example a line, copied and run as it stands."""
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


class Commands(TyperGroup):
    """The root of all commands: an error is one clean message and exit code 1, a traceback only with `--debug`."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command and turn what it raises into a message; typer shows usage errors itself (exit code 2)."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            ends_itself = hasattr(error, "exit_code") or isinstance(error, typer.Abort | BrokenPipeError)
            if ends_itself or ctx.params.get("debug"):
                raise
            from umbel.terminal import complain

            complain(_as_told(error))
            raise typer.Exit(1) from error


def _as_told(error: Exception) -> UmbelError:
    """Return what the user is told of an error."""
    if isinstance(error, UmbelError):
        return error
    if isinstance(error, OSError):
        return UmbelError(str(error), "check the disk and the permissions")
    hint = "this is a fault of Umbel: please report it with what `umbel --debug ...` prints"
    return UmbelError(f"{type(error).__name__}: {error}", hint)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_examples("umbel analyze --samples", "umbel analyze --help"),
)
models_app = typer.Typer(help="List, fetch, remove and check backbones: the pretrained models under all packs.")
data_app = typer.Typer(help="Check the data that a pack is trained on.", no_args_is_help=True)
for commands in (questions_app, retrieval_app, flow_app, serve_app, train_app, sharing_app, write_app):
    app.add_typer(commands)
app.add_typer(models_app, name="models", rich_help_panel=USING)
app.add_typer(data_app, name="data", rich_help_panel=MAKING)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Declaration = Annotated[
    Path, typer.Argument(metavar="PACK.yaml", help="A pack's declaration; `umbel init` writes one.", show_default=False)
]
PackName = Annotated[
    str, typer.Argument(metavar="PACK", help="A pack's folder, or the name of a shipped one.", show_default=False)
]
BackboneName = Annotated[str, typer.Argument(metavar="NAME", help="A name that `umbel models` lists.")]


def _names(listed: str | None) -> list[str] | None:
    return [name.strip() for name in (listed or "").split(",") if name.strip()] or None


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"umbel {version('umbel')}")
        raise typer.Exit


@app.callback()
def root(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log what happens; twice for every detail.")
    ] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Run many language tasks over one shared Transformer, reading each message once."""
    from umbel.terminal import mend_encodings

    mend_encodings()
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)


@app.command(
    rich_help_panel=USING,
    epilog=_examples(
        'umbel analyze "这是一个关于AI的多任务处理案例。"',
        "umbel analyze --samples --tasks sentiment,emotions",
        "umbel analyze --file messages.txt --json > answers.jsonl",
        "cat messages.txt | umbel analyze - --pack runs/messages/pack --top 3",
    ),
)
def analyze(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Messages to analyse, or - to read them from standard input, one a line."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="F", help="Read messages from this file, one a line, in UTF-8."),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Analyse the sample messages that come with Umbel.")
    ] = False,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", "-t", metavar="A,B", help="Answer only these tasks, separated by commas.", show_default="all"
        ),
    ] = None,
    pack: Annotated[
        str, typer.Option("--pack", "-p", metavar="NAME|FOLDER", help="A shipped pack, or the folder of another.")
    ] = "base",
    top: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Show the N likeliest labels of each task; 0: only the answer (JSON: all)."
        ),
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line: line, text, language, answers by task.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show tasks for other languages than the message's too (JSON: always).")
    ] = False,
) -> None:
    """Answer every task of a pack for each message, reading each message once.

    Prints a table per message and at the end what it cost: encodings run, tasks answered, milliseconds. Blank lines are
    skipped and counted. A row that cannot be answered is told with its line on standard error and does not stop the
    rest; the exit code is then 1.
    """
    from umbel import analyze as analysis
    from umbel import messages
    from umbel.loading import ready_model
    from umbel.rejected import Rejected

    if sum([bool(texts), file is not None, samples]) != 1:
        raise typer.BadParameter("give either messages, or - for standard input, or --file, or --samples")
    rejected = Rejected()
    with messages.opened(texts or [], file, samples, rejected) as read:
        analysis.analyze(ready_model(pack), read, _names(tasks), analysis.View(as_json, top, every), rejected)
    if rejected.count:
        raise typer.Exit(1)


@app.command(
    rich_help_panel=USING, epilog=_examples("umbel packs", "umbel packs runs/messages/pack", "umbel packs --json")
)
def packs(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PACK", help="Packs to show, by name or folder.", show_default="all that are shipped"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show packs: version, backbone, licence, and each task with its kind, languages, labels and dev score."""
    from umbel import tables, terminal
    from umbel.pack import read_pack, shipped

    manifests = [read_pack(name).manifest for name in names or shipped()]
    plain = {manifest.name: manifest.model_dump(mode="json") for manifest in manifests}
    terminal.show(plain, tables.packs_report(manifests), as_json)


@models_app.callback(invoke_without_command=True)
def models(ctx: typer.Context) -> None:
    """List, fetch, remove and check backbones: the pretrained models under all packs. Alone, it lists them."""
    if ctx.invoked_subcommand is None:
        models_list()


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the backbones that Umbel knows by name, and which of them are in the cache."""
    from umbel import doctor, tables, terminal

    found = doctor.backbones()
    terminal.show(found, tables.backbones_table(found), as_json)


@models_app.command("pull", epilog=_examples("umbel models pull e5-small"))
def models_pull(
    name: BackboneName = "e5-small",
    force: Annotated[bool, typer.Option("--force", help="Fetch it again even if it is in the cache.")] = False,
) -> None:
    """Fetch a backbone into the cache and check its hash; a fetch that was broken off goes on where it stopped."""
    from umbel import catalogue
    from umbel.terminal import byte_bar, output

    with byte_bar(f"fetching {name}") as advance:
        path = catalogue.pull(name, force=force, progress=advance)
    output().print(f"{name}: in the cache, {path}", soft_wrap=True)


@models_app.command("remove", epilog=_examples("umbel models remove e5-small"))
def models_remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `umbel models` lists.")],
) -> None:
    """Delete a backbone from the cache; it is fetched again when a pack needs it."""
    from umbel import catalogue
    from umbel.terminal import output

    there = catalogue.remove(name)
    output().print(f"{name}: removed" if there else f"{name}: was not in the cache")


@models_app.command("verify", epilog=_examples("umbel models verify e5-small"))
def models_verify(name: BackboneName = "e5-small") -> None:
    """Compute the SHA-256 of a backbone in the cache and compare it with the one it should have."""
    from umbel import catalogue
    from umbel.terminal import output

    output().print(f"{name}: sound, {catalogue.verify(name)}", soft_wrap=True)


@app.command(rich_help_panel=USING, epilog=_examples("umbel doctor", "umbel doctor --json"))
def doctor(as_json: Json = False) -> None:
    """Show what is installed, the engine, the processor's instruction sets, the cache and what is missing.

    The exit code is 1 when something keeps Umbel from working.
    """
    from umbel import tables, terminal
    from umbel.doctor import examine

    found = examine()
    terminal.show(found, tables.doctor_report(found), as_json)
    if found["problems"]:
        raise typer.Exit(1)


@app.command(rich_help_panel=MAKING, epilog=_examples("umbel init my-pack", "umbel train my-pack/pack.yaml"))
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made if it is not there.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")] = False,
) -> None:
    """Write an example to start from: a commented declaration of a pack and a small data set that it trains on."""
    from umbel.example import write_example
    from umbel.terminal import output

    for path in write_example(folder, force):
        output().print(str(path), soft_wrap=True)


@data_app.command("check", epilog=_examples("umbel data check pack.yaml", "umbel data check pack.yaml --json"))
def data_check(declaration: Declaration, as_json: Json = False) -> None:
    """Read the data of a pack and say what is wrong with it, each with file and line, before any training.

    Faults keep it from training: missing columns, unknown labels, offsets outside the text, empty texts. Warnings do
    not: repeated texts, texts of a train file that also stand in a dev file, labels with hardly any rows. Rows by task
    and label and tokens per row are counted. The exit code is 1 when there are faults.
    """
    from umbel import tables, terminal
    from umbel.check import check
    from umbel.loading import tokenizer_at_hand
    from umbel.spec import load_spec

    spec = load_spec(declaration)
    with terminal.spinner(f"reading the data of {spec.name}"):
        found = check(spec, tokenizer_at_hand(spec))
    terminal.show(found.to_dict(), tables.check_report(found), as_json)
    if found.faults:
        raise typer.Exit(1)


@app.command(
    rich_help_panel=MAKING,
    epilog=_examples(
        "umbel evaluate runs/messages/pack --data my-pack/pack.yaml",
        "umbel evaluate base --data packs/base/base.yaml --limit 500",
    ),
)
def evaluate(
    name: PackName,
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="PACK.yaml", help="The declaration that names the dev files.")
    ] = Path("pack.yaml"),
    engine: Annotated[
        Literal["runtime", "torch"], typer.Option(help="Answer with the runtime, or the training engine in fp32.")
    ] = "runtime",
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Score at most N rows of each dev file, evenly spread; 0: all.")
    ] = 0,
    questions: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Ask about N rows of each dev file instead, by the declared templates."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Score every task of a pack on the dev rows of a declaration: its own metric, by language, calibration error.

    Tasks that only the pack or only the declaration knows are left out. With `--questions` the pack's branches are
    scored, by kind of question.
    """
    from umbel import scoring, tables, terminal
    from umbel.loading import backbone_of_pack, ready_model
    from umbel.pack import read_pack
    from umbel.spec import load_spec

    spec, pack = load_spec(data), read_pack(name)
    if questions:
        model = ready_model(pack.folder)
        with terminal.row_bar(f"asking {pack.manifest.name}") as told:
            asked = scoring.score_questions(model, spec, questions, told)
        terminal.show(asked, tables.asked_table(asked), as_json)
        return
    if engine == "torch":
        predictor = scoring.torch_predictor(pack, backbone_of_pack(pack))
    else:
        predictor = scoring.runtime_predictor(ready_model(pack.folder))
    with terminal.row_bar(f"scoring {pack.manifest.name}") as told:
        report = scoring.score(predictor, pack.tasks, spec, limit, told)
    terminal.show(report, tables.scores_table(report), as_json)
