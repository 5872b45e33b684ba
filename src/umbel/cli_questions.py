"""The commands that ask questions decided on the spot; like `cli`, thin functions without logic."""

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
    ),
)
def ask(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT... QUESTION...",
            help="Texts, and questions in any number and order: --choice Q A,B; --predicate STATEMENT; "
            "--score Q LOW,MIDDLE,HIGH; --question Q; --types A,B. Options stand between commas, or between bars; "
            "a description may follow a colon.",
            show_default=False,
        ),
    ],
    pack: Annotated[str, PACK] = "base",
    exact: Annotated[bool, typer.Option("--exact", help="Read every option closely, however many there are.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Ask any number of questions of texts; each text is read once, and no answer depends on another question.

    A choice gives one of its options, a predicate yes or no, a score a place on a scale, a question words of the text
    or that it does not say, types the stretches of the text that are of them. Chinese and English, also mixed.
    """
    from umbel import ask as asking
    from umbel.errors import InputError
    from umbel.loading import ready_model

    texts, questions = asking.parsed(words)
    if not texts:
        raise InputError("found no text to ask about", 'umbel ask "the text" --predicate "a statement"')
    asking.ask(ready_model(pack), texts, questions, as_json, exact)


@questions_app.command(
    rich_help_panel="Use packs",
    epilog=_examples('umbel answer --document manual.txt "How do I reset it?" "How long is the warranty?"'),
)
def answer(
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="What to look up.", show_default=False)],
    document: Annotated[
        Path,
        typer.Option("--document", "-d", metavar="F", help="A text file in UTF-8, of any length.", show_default=False),
    ],
    pack: Annotated[str, PACK] = "base",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Answer questions from a document in its own words, or say that it does not hold the answer.

    The document is read once, whatever number of questions there are, in overlapping windows.
    """
    from umbel import ask as asking
    from umbel.loading import ready_model

    asking.answer(ready_model(pack), document, questions, as_json)
