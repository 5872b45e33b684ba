"""The command that writes; like `cli`, a thin function without logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

write_app = typer.Typer()


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


@write_app.command(
    rich_help_panel="Use packs",
    epilog=_examples(
        'umbel write "My parcel is late. Where is it?" --task reply',
        'umbel write "我的包裹还没到。" --backbone qwen2.5-coder-0.5b-instruct --knowledge help.index',
        'umbel write "Move the office to Leeds in May" --task plan --json',
        'umbel write "A short poem about rain" --task free --texts 4 --temperature 0.8 --seed 7',
    ),
)
def write(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The message to write about.", show_default=False)],
    task: Annotated[
        str,
        typer.Option(
            "--task", "-t", metavar="NAME", help="reply, summary, plan, free, or a task of the pack that writes."
        ),
    ] = "reply",
    pack: Annotated[
        str, typer.Option("--pack", "-p", metavar="NAME|FOLDER", help="The pack that checks what is written.")
    ] = "base",
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME",
            help="What writes: a decoder of `umbel models`, a GGUF file, or http://HOST/v1#MODEL.",
            show_default="that of the task",
        ),
    ] = None,
    knowledge: Annotated[
        Path | None,
        typer.Option("--knowledge", "-k", metavar="INDEX", help="Answer from this index, made by `umbel index`."),
    ] = None,
    texts: Annotated[int, typer.Option(min=1, max=32, metavar="N", help="Write N texts at once.")] = 1,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N tokens.", show_default="160")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=5, metavar="T", help="0: the likeliest words.", show_default="0")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="P", help="Draw from the likeliest words up to P.", show_default="0.95"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same seed writes the same.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="End before these words; may be repeated.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="End after so many seconds.", show_default="60")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, metavar="N", help="Threads that compute; 0: all processors.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
) -> None:
    """Write a reply to a message, a summary or a plan of it, or whatever it asks for; needs the extra `write`.

    Sentences are shown as soon as the pack's own tasks have passed them. A text that fails is replaced by the pack's
    fallback; what was found is told. The exit code stays 0: a fallback is an answer.
    """
    from umbel import write as writing

    changes = {
        "decoder": backbone,
        "knowledge": str(knowledge) if knowledge else None,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "stop": tuple(stop) if stop else None,
        "seconds": seconds,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    writing.write(pack, text, task, writing.order_of(given, texts, seed), as_json, threads)


@write_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel tune answers.jsonl --out adapters/answers",
        "umbel tune summaries.jsonl --task summary --epochs 5 --out adapters/summaries",
    ),
)
def tune(
    data: Annotated[
        Path,
        typer.Argument(metavar="ROWS", help="Rows with `text` and `answer`: JSONL, CSV or TSV.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the adapter goes.", show_default=False)
    ],
    task: Annotated[
        str, typer.Option("--task", "-t", metavar="NAME", help="What is written: reply, summary, plan or free.")
    ] = "reply",
    backbone: Annotated[
        str, typer.Option("--backbone", "-b", metavar="NAME", help="A decoder of `umbel models`, or a GGUF file.")
    ] = "smollm2-135m-instruct",
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="How often each row is learnt from.")] = 3,
    rank: Annotated[int, typer.Option(min=1, metavar="N", help="The rank of the adapter's matrices.")] = 8,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same seed trains the same.")] = 1,
) -> None:
    """Train a low-rank adapter of a decoder for one task; needs the extras `train` and `write`.

    The adapter acts on what is written alone: the conversation before it is read once for all tasks, and no other task
    changes. FOLDER gets it as PEFT writes it, and as adapter.gguf, which `writing.adapter` of a declaration names.
    """
    from umbel import write as writing

    writing.tune(data, out, task, backbone, (epochs, rank, seed))
