"""Writes docs/reference/cli.md from the command line itself; with --check, tells whether it is up to date.

python scripts/reference.py [--check]
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


def page() -> str:
    """Return the page: every command with its help, arguments and options."""
    root = typer.main.get_command(app)
    parts = ["# The command line", "Made by `python scripts/reference.py`; do not edit."]
    return "\n\n".join([*parts, *_command("umbel", root)]) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## `{name}`"
    if command.help:
        yield inspect.cleandoc(command.help).replace("\f", "").strip()
    lines = [line for parameter in command.params if (line := _parameter(parameter))]
    if lines:
        yield "\n".join(lines)
    for child, found in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {child}", found)


def _parameter(parameter: Any) -> str:
    names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    text = " ".join((getattr(parameter, "help", None) or "").split())
    return f"- {names}: {text}" if text else ""


def main() -> None:
    """Write the page or check it."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE.name} is out of date: run python scripts/reference.py")


if __name__ == "__main__":
    main()
