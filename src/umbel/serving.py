"""Runs `umbel serve`: names of packs and indexes, what is fetched or compiled first, and a line when all is there.

Knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import os
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from umbel.errors import InputError, MissingExtraError
from umbel.loading import prepare
from umbel.pack import read_pack
from umbel.terminal import errors

if TYPE_CHECKING:
    from umbel.server.keys import KeyEntry
    from umbel.server.settings import Settings

NEEDED = ("fastapi", "uvicorn", "uvloop", "httptools", "orjson", "prometheus_client")  # the extra `serve`


def serve(packs: Sequence[str], settings: Settings, opening: bool = False) -> None:
    """Serve packs until told to end; `opening` shows the studio in the browser once they are served.

    Raises:
        MissingExtraError: the extra is not installed.
        UmbelError: a pack cannot be loaded, or the address cannot be had.
    """
    for package in NEEDED:
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    from umbel.server import logs, running

    sources = sources_of(packs)
    for source in sources.values():
        prepare(source)
    logs.set_up(settings.log_format, min(logging.getLogger().level, logging.INFO))

    def told(address: str) -> None:
        errors().print(f"{', '.join(sources)} served at {address} (Ctrl-C ends it)", soft_wrap=True)
        errors().print(f"the studio is at {address}/studio/", soft_wrap=True)
        if opening and has_screen():
            Thread(target=webbrowser.open, args=(f"{address}/studio/",), daemon=True).start()

    running.run(sources, settings, told)


def has_screen() -> bool:
    """Return whether a browser could show a page: without a screen it would take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def sources_of(packs: Sequence[str]) -> dict[str, str | Path]:
    """Return packs by the names under which they are served: NAME=FOLDER, or a pack's own name.

    Raises:
        InputError: two have one name.
        PackError: one is missing or damaged.
    """
    found: dict[str, str | Path] = {}
    for given in packs:
        name, equals, source = given.partition("=")
        name, source = (name, source) if equals else (read_pack(given).manifest.name, given)
        if name in found:
            raise InputError(f"two packs are called {name}", f"give one another name: OTHER={source}")
        found[name] = source
    return found


def keys_table(entries: Sequence[KeyEntry]) -> Table:
    """Return a table of keys."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for title in ("name", "role", "requests a minute", "tokens a day", "made"):
        table.add_column(title)
    for entry in entries:
        limits = (f"{limit:,}" if limit else "any" for limit in (entry.per_minute, entry.tokens_per_day))
        table.add_row(entry.name, entry.role, *limits, entry.created)
    return table


def named(listed: Sequence[str], option: str) -> dict[str, Path]:
    """Return files written NAME=FILE.

    Raises:
        InputError: one is written in another way, or is not there.
    """
    found: Mapping[str, Path] = {}
    for each in listed:
        name, equals, path = each.partition("=")
        if not name or not equals:
            raise InputError(f"{option}: found {each!r}, expected NAME=FILE")
        if not Path(path).is_file():
            raise InputError(f"{option}: {path} is not there", "make it with umbel index")
        found = {**found, name: Path(path)}
    return dict(found)
