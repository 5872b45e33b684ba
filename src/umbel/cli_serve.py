"""The commands of the server; like `cli`, thin functions without logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

serve_app = typer.Typer()
keys_app = typer.Typer(help="Make, list and remove the keys of a server.", no_args_is_help=True)
serve_app.add_typer(keys_app, name="keys", rich_help_panel="Use packs")

KeysFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file of keys; it holds their hashes alone.")]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, for the log.")]


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


Packs = Annotated[
    list[str],
    typer.Argument(
        metavar="PACK...",
        help="Shipped packs by name, and folders; NAME=FOLDER gives one another name. The first is the default.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; beyond this machine only with --keys.")]
Port = Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")]
Workers = Annotated[
    int, typer.Option(min=0, max=64, metavar="N", help="Processes that hold the packs; 0: the server's own.")
]
Threads = Annotated[
    int, typer.Option(min=0, metavar="N", help="Threads of each worker; 0: the processors, shared out.")
]
Indexes = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="Serve a search index; may be repeated.", show_default=False),
]
Decoders = Annotated[
    list[str] | None,
    typer.Option(
        "--decoder",
        metavar="NAME",
        help="Let this write: a decoder of `umbel models`, a GGUF file, http://HOST/v1#MODEL, or NAME=one of these; "
        "may be repeated, and the first is the default.",
        show_default=False,
    ),
]
Keys = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Answer only who has a key; `umbel keys` makes them.", show_default=False),
]
Taught = Annotated[Path, typer.Option(metavar="FOLDER", help="Where packs taught over HTTP are written.")]
Cors = Annotated[
    list[str] | None,
    typer.Option(metavar="ORIGIN", help="Let pages of this site call; may be repeated.", show_default=False),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Answer to this name, too, without keys; may be repeated.", show_default=False),
]
Queue = Annotated[int, typer.Option(min=1, metavar="TOKENS", help="Tokens that may wait; more are told to come again.")]
WriteQueue = Annotated[
    int, typer.Option(min=1, metavar="TOKENS", help="The same of what is written: tokens to read and to write.")
]
MaxWait = Annotated[float, typer.Option(min=0, metavar="S", help="How long a request may wait for those before it.")]
Budget = Annotated[
    float, typer.Option(min=0, metavar="MS", help="A text that waited longer goes first, whatever its length.")
]
MaxBody = Annotated[int, typer.Option(min=1, metavar="KB", help="The largest body that is taken.")]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="S", help="How long a request may take.")]
Drain = Annotated[float, typer.Option(min=0, metavar="S", help="How long to finish what was taken, when told to end.")]
OpenStudio = Annotated[bool, typer.Option("--open", help="Open the studio in the browser.")]
LogFormat = Annotated[Literal["text", "json"], typer.Option(help="How the log is written.")]
Perspective = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What attributes asked for in Perspective's protocol mean.", show_default=False),
]
LogTexts = Annotated[bool, typer.Option("--log-texts", help="Log the bodies of requests, too.")]
Trace = Annotated[bool, typer.Option("--trace", help="Send OpenTelemetry traces, to OTEL_EXPORTER_OTLP_ENDPOINT.")]


@serve_app.command(
    rich_help_panel="Use packs",
    epilog=_examples(
        "umbel serve base",
        "umbel serve base mine=runs/messages/pack --port 9000 --workers 2",
        "umbel serve base --index docs=docs.index",
        "umbel serve base --decoder smollm2-135m-instruct",
    ),
)
def serve(
    packs: Packs,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    threads: Threads = 0,
    index: Indexes = None,
    decoders: Decoders = None,
    keys: Keys = None,
    taught: Taught = Path("taught"),
    cors: Cors = None,
    allow_host: AllowHost = None,
    queue: Queue = 64 * 1024,
    write_queue: WriteQueue = 16 * 1024,
    max_wait: MaxWait = 0.5,
    budget: Budget = 50.0,
    max_body: MaxBody = 4096,
    timeout: Timeout = 60.0,
    drain: Drain = 20.0,
    open_studio: OpenStudio = False,
    log_format: LogFormat = "text",
    perspective: Perspective = None,
    log_texts: LogTexts = False,
    trace: Trace = False,
) -> None:
    """Serve packs over HTTP until Ctrl-C or SIGTERM: the studio, a page, and native routes under /v1.

    The routes are described at /openapi.json.

    Texts of all callers are read in batches, each text once. Listens on this machine alone unless told otherwise.
    Needs the extra `serve`, and to write, with --decoder or a pack that writes, the extra `write`.
    """
    from umbel import serving

    settings = serving.settings_of(
        {"host": host, "port": port, "workers": workers, "threads": threads, "keys": keys, "taught": taught}
        | {"cors": tuple(cors or ()), "hosts": tuple(allow_host or ()), "perspective": perspective}
        | {"request_seconds": timeout, "drain_seconds": drain, "body_bytes": 1024 * max_body}
        | {"log_format": log_format, "log_texts": log_texts, "trace": trace},
        indexes=index or [],
        decoders=decoders or [],
        queues=(queue, max_wait, budget / 1000, write_queue),
    )
    serving.serve(packs, settings, open_studio)


@keys_app.command("add", epilog=_examples("umbel keys add keys.json shop --per-minute 600"))
def keys_add(
    file: KeysFile,
    name: KeyName,
    role: Annotated[
        Literal["use", "admin"], typer.Option(help="`admin` may teach, load and remove packs, too.")
    ] = "use",
    per_minute: Annotated[int, typer.Option(min=0, metavar="N", help="Requests a minute; 0: any number.")] = 0,
    tokens_per_day: Annotated[int, typer.Option(min=0, metavar="N", help="Tokens a day; 0: any number.")] = 0,
) -> None:
    """Make a key and print it, this once; a running server knows it a moment later."""
    from umbel.server.keys import add_key
    from umbel.terminal import output

    output().print(add_key(file, name, role, per_minute, tokens_per_day), soft_wrap=True, markup=False)


@keys_app.command("list", epilog=_examples("umbel keys list keys.json"))
def keys_list(file: KeysFile, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List keys: name, role, limits, and when each was made."""
    from umbel import serving, terminal
    from umbel.server.keys import read_keys

    entries = read_keys(file)
    terminal.show([entry.model_dump(exclude={"sha256"}) for entry in entries], serving.keys_table(entries), as_json)


@keys_app.command("remove", epilog=_examples("umbel keys remove keys.json shop"))
def keys_remove(file: KeysFile, name: KeyName) -> None:
    """Remove a key; a running server knows it no more a moment later."""
    from umbel.server.keys import remove_key
    from umbel.terminal import output

    remove_key(file, name)
    output().print(f"{name}: removed")
