"""Writes the example that `umbel init` gives: a commented declaration and a small data set that it trains on."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from umbel.errors import InputError


def write_example(folder: Path, force: bool = False) -> list[Path]:
    """Write `pack.yaml` and its data files into a folder, made if need be; return what was written.

    Raises:
        InputError: one of the files is there already and not to be overwritten by `force` (nothing is written then), or
            the folder cannot be written.
    """
    sources = sorted(files("umbel").joinpath("templates").iterdir(), key=lambda source: source.name)
    there = [source.name for source in sources if (folder / source.name).exists()]
    if there and not force:
        message = f"{folder} already holds {', '.join(there)}"
        raise InputError(message, "name another folder, move the files away, or overwrite them with --force")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            (folder / source.name).write_bytes(source.read_bytes())
            written.append(folder / source.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", "name a folder you may write to") from error
    return written
