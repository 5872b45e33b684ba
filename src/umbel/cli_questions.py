"""The commands that ask and teach what was not trained; like `cli`, thin functions without logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

questions_app = typer.Typer()

PACK = typer.Option("--pack", "-p", metavar="NAME|FOLDER", help="A shipped pack, or the folder of another.")
JSON = typer.Option("--json", help="Print one JSON object a line instead of a table.")


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in lines)])


@questions_app.command(
    rich_help_panel="Use packs",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
    epilog=_examples(
        'umbel ask "I was charged twice!" --choice "Which team?" billing,technical --predicate "Someone is angry"',
        'umbel ask "房间很干净，就是有点吵。" --score "有多满意？" 不满意,一般,满意 --types 设施,服务',
        'umbel ask "Call Anna at noon" --question "When?" --types "person: a human being | time" --json',
        'umbel ask --file messages.txt --predicate "The customer is angry" --json > answers.jsonl',
    ),
)
def ask(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT... QUESTION...",
            help="Texts, or - to read them from standard input, one a line; and questions in any number and order: "
            "`--choice` Q A,B; `--predicate` STATEMENT; `--score` Q LOW,MIDDLE,HIGH; `--question` Q; `--types` A,B. "
            "Options stand between commas, or between bars; a description may follow a colon.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="F", help="Read texts from this file, one a line, in UTF-8.")
    ] = None,
    pack: Annotated[str, PACK] = "base",
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", "-b", metavar="NAME", help="Ask a decoder, untrained, instead of a pack; needs extra `write`."
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Read every option closely, however many there are.")] = False,
    threads: Annotated[
        int, typer.Option("--threads", min=0, metavar="N", help="Threads that compute; 0: all processors.")
    ] = 0,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Ask any number of questions of texts; each text is read once, and no answer depends on another question.

    A choice gives one of its options, a predicate yes or no, a score a place on a scale, a question words of the text
    or that it does not say, types the stretches of the text that are of them. Chinese and English, also mixed.

    Blank lines are skipped and counted. A text that cannot be answered is told with its line on standard error and does
    not stop the rest; the exit code is then 1.
    """
    from umbel import ask as asking
    from umbel import messages
    from umbel.errors import InputError
    from umbel.loading import ready_model
    from umbel.rejected import Rejected

    texts, questions = asking.parsed(words or [])
    if bool(texts) == (file is not None):
        found = "texts and --file" if texts else "no text to ask about"
        raise InputError(f"found {found}, expected texts, or - for standard input, or --file", "umbel ask --help")
    rejected = Rejected()
    with messages.opened(texts, file, False, rejected) as read:
        if backbone:
            asking.ask_decoder(backbone, read, questions, as_json, rejected, threads)
        else:
            asking.ask_pack(ready_model(pack, threads), read, questions, as_json, rejected, exact)
    if rejected.count:
        raise typer.Exit(1)


@questions_app.command(
    rich_help_panel="Use packs",
    epilog=_examples('umbel answer --document manual.txt "How do I reset it?" "How long is the warranty?"'),
)
def answer(
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="What to look up.", show_default=False)],
    document: Annotated[
        Path,
        typer.Option(
            "--document", "-d", metavar="F", help="A text file in UTF-8; - for standard input.", show_default=False
        ),
    ],
    pack: Annotated[str, PACK] = "base",
    must_answer: Annotated[
        bool, typer.Option("--must-answer", help="Give the likeliest words even where none seem to answer.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Answer questions from a document in its own words, or say that it does not hold the answer.

    The document is read once, whatever number of questions there are, in overlapping windows.
    """
    from umbel import ask as asking
    from umbel.loading import ready_model
    from umbel.questions import Extract, all_checked

    asked = [Extract(words, must_answer) for words in questions]
    all_checked(asked)
    text = asking.read_document(document)
    asking.answer(ready_model(pack), text, asked, as_json)


@questions_app.command(
    rich_help_panel="Make packs",
    epilog=_examples(
        "umbel teach base team --file examples.jsonl --out my-pack",
        'umbel teach base team --instruction "Which team?" --labels "billing: payments | technical" --out my-pack',
        "umbel teach my-pack team --file examples.jsonl --dev dev.jsonl",
    ),
)
def teach(
    pack: Annotated[
        str, typer.Argument(metavar="PACK", help="A pack's folder, or the name of a shipped one.", show_default=False)
    ],
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task of the pack, or a new one.", show_default=False)],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="F", help="Examples: rows with `text` and `label`, JSONL, CSV or TSV."),
    ] = None,
    dev: Annotated[
        Path | None, typer.Option("--dev", metavar="F", help="Rows to score on, before and after; not learned from.")
    ] = None,
    instruction: Annotated[
        str, typer.Option("--instruction", "-i", metavar="Q", help="What the task asks, in plain words.")
    ] = "",
    labels: Annotated[
        str, typer.Option("--labels", "-l", metavar="A|B", help="Its labels, each with a description after a colon.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where the pack goes.", show_default="PACK's own folder"),
    ] = None,
) -> None:
    """Teach a pack one task: from a description alone, from a few examples, or from both.

    A description alone is asked of the text at each answer. From a few examples a head is learned in seconds on the
    sealed encoding, without torch. Then all other files and answers of the pack are compared: none may have moved.
    """
    from umbel import teaching

    teaching.teach_pack(pack, task, file, dev, instruction, labels, out)


@questions_app.command(
    "teach-reading",
    rich_help_panel="Make packs",
    epilog=_examples("umbel teach-reading runs/base/pack pack.yaml --out runs/reading"),
)
def teach_reading(
    pack: Annotated[
        str, typer.Argument(metavar="PACK", help="A pack's folder, or the name of a shipped one.", show_default=False)
    ],
    declaration: Annotated[
        Path,
        typer.Argument(
            metavar="PACK.yaml", help="A declaration whose tasks of kind asked bring questions.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where to save the training; the pack goes to FOLDER/pack.",
            show_default="runs/NAME-reading",
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="How often each passage is read.", show_default="8", min=0.01)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="PACK",
            help="Begin with that pack's reading head, at half the rate; end between the two where dev says so.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="PACK",
            help="Keep that pack's reading head beside the new one, and answer by the mean of both, where dev says so.",
            show_default=False,
        ),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what was saved there and start anew.")] = False,
) -> None:
    """Teach a pack to answer questions from passages in their own words.

    The pack's encodings stay sealed: a head learns to find answers in them, and no other answer moves. The state is
    saved at least once a minute: after a stop of any kind the same command goes on. Needs the extra `train`.
    """
    from umbel import reading_training
    from umbel.terminal import output

    folder = reading_training.teach_reading(pack, declaration, out, epochs, restart, start, beside)
    output().print(
        f'the pack is in {folder}; try it: umbel answer -d FILE "a question" --pack {folder}', soft_wrap=True
    )
