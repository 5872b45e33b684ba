"""Lets `python -m umbel` stand for the command `umbel`, where the latter is not on the path."""

from umbel.cli import app

if __name__ == "__main__":  # processes that a server starts import it
    app(prog_name="umbel")
