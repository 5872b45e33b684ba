"""Lets `python -m umbel` stand for the command `umbel`, where the latter is not on the path."""

from umbel.cli import app

app(prog_name="umbel")
