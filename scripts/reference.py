"""Writes docs/reference/cli.md from the command line itself; with --check, tells whether it is up to date.

    python scripts/reference.py [--check]

What it says stands in `umbel.cli`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from umbel.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
HEAD = """\
# The command line

Made by `python scripts/reference.py`; do not edit.

Answers go to standard output; progress, notes and errors go to standard error. The exit code is 0 when all went well,
1 when something failed (the message says what to do), 2 when the command was mistyped, and 130 when a training was
stopped by Ctrl-C. Every command has `--help`.
"""


def page() -> str:
    """Return the page: every command with its usage, help, arguments, options and examples."""
    root = typer.main.get_command(app)
    return "\n\n".join([HEAD.rstrip(), *_command("umbel", root)]) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    children = getattr(command, "commands", {})
    yield f"## `{name}`"
    yield f"```text\n{' '.join([name, *_usage(command), *(['COMMAND'] if children else [])])}\n```"
    if command.help:
        yield inspect.cleandoc(command.help).replace("\f", "").strip()
    lines = [line for parameter in command.params if (line := _parameter(parameter))]
    if lines:
        yield "\n".join(lines)
    if command.epilog:
        yield "\n".join(line for line in command.epilog.splitlines() if line).replace("Examples:", "Examples:\n", 1)
    for child, found in children.items():
        yield from _command(f"{name} {child}", found)


def _usage(command: Any) -> Iterator[str]:
    yield "[OPTIONS]"
    for parameter in command.params:
        if not _is_option(parameter):
            several = "..." if parameter.nargs == -1 else ""
            yield (parameter.metavar if parameter.required else f"[{parameter.metavar}]") + several


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _parameter(parameter: Any) -> str:
    """Return one line: the names, what they take, the help and the default; nothing for what has no help."""
    text = " ".join((getattr(parameter, "help", None) or "").split())
    if not text:
        return ""
    if not _is_option(parameter):
        return f"- `{parameter.metavar}`: {text}{_default(parameter)}"
    names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    taken = f" `{parameter.metavar}`" if parameter.metavar else ""
    return f"- {names}{taken}: {text}{_default(parameter)}"


def _default(parameter: Any) -> str:
    """Return what holds without the parameter, where that says more than its help."""
    shown = parameter.show_default
    if isinstance(shown, str):
        return f" Default: {shown}."
    plain = parameter.default
    switched = getattr(parameter, "is_flag", False) or getattr(parameter, "count", False)
    if shown is False or plain is None or callable(plain) or switched or str(plain) == ".":
        return ""
    return f" Default: `{plain}`."


def main() -> None:
    """Write the page or check it."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE.name} is out of date: run python scripts/reference.py")


if __name__ == "__main__":
    main()
