"""Runs `umbel serve`: names of packs and indexes, what is fetched or compiled first, and a line when all is there.

Knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn

from rich import box
from rich.table import Table

from umbel.catalogue import CATALOGUE
from umbel.decoding.load import is_decoder
from umbel.decoding.remote import is_url, remote_of
from umbel.errors import BackboneError, InputError, MissingExtraError, UmbelError
from umbel.loading import fetched, prepare
from umbel.pack import read_pack
from umbel.terminal import errors

if TYPE_CHECKING:
    from umbel.server.keys import KeyEntry
    from umbel.server.settings import Settings

LONGEST_BODY = 20.0  # seconds
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
    with ending_at_once():
        sources = sources_of(packs)
        for source in sources.values():
            prepare(source)
            prepare_writing(source)
        for decoder in settings.decoders.values():
            fetched_decoder(decoder)
        _run(sources, settings, opening)


def _run(sources: Mapping[str, str | Path], settings: Settings, opening: bool) -> None:
    from umbel.server import logs, running

    logs.set_up(settings.log_format, min(logging.getLogger().level, logging.INFO))

    def told(address: str) -> None:
        errors().print(f"{', '.join(sources)} served at {address} (Ctrl-C ends it)", soft_wrap=True)
        errors().print(f"the studio is at {address}/studio/", soft_wrap=True)
        if opening and has_screen():
            Thread(target=webbrowser.open, args=(f"{address}/studio/",), daemon=True).start()

    running.run(sources, settings, told)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the program well at SIGTERM, while nothing is served yet that would have to be finished."""

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare_writing(source: str | Path) -> None:
    """Fetch the decoders that a pack's tasks name; without one only these tasks fail, so it is told and no more."""
    entries = read_pack(source).manifest.tasks.values()
    for decoder in {entry.writing.decoder for entry in entries if entry.writing}:
        try:
            fetched_decoder(decoder)
        except UmbelError as error:
            errors().print(f"{source} cannot write: {error}", soft_wrap=True)


def fetched_decoder(decoder: str) -> None:
    """Fetch a decoder of the catalogue, if need be, with progress.

    Raises:
        BackboneError: it is an encoder.
        DownloadError: it cannot be fetched.
    """
    if decoder in CATALOGUE and not is_decoder(decoder):
        raise BackboneError(f"{decoder} is an encoder, which does not write", "umbel models")
    fetched(decoder)


def settings_of(
    plain: Mapping[str, Any],
    indexes: Sequence[str],
    decoders: Sequence[str],
    queues: tuple[int, float, float, int],
) -> Settings:
    """Return settings: those that are as the command line has them, and those that are read or made of several.

    `queues` are the tokens that may wait to be answered, the seconds that they may take, the latency budget in seconds,
    and the tokens that may wait to be written.

    Raises:
        InputError: a file or decoder is not written as it should be, or the server would be open to anyone.
    """
    from umbel.scheduler import Limits
    from umbel.server.settings import WRITING, Settings

    tokens, seconds, budget, writing = queues
    return Settings(
        **plain,
        indexes=named(indexes, "--index"),
        decoders=named_decoders(decoders),
        body_seconds=min(plain["request_seconds"], LONGEST_BODY),
        limits=Limits(queue_work=tokens, queue_seconds=seconds, budget=budget),
        writing=replace(WRITING, queue_work=writing),
    )


def named_decoders(listed: Sequence[str]) -> dict[str, str]:
    """Return decoders by the names under which they are served: NAME=DECODER, or a name made of what it is.

    Raises:
        InputError: two have one name, or one is no decoder.
    """
    found: dict[str, str] = {}
    for given in listed:
        name, equals, source = given.partition("=")
        if not equals or "/" in name:  # an address may have a = of its own
            name, source = _name_of(given), given
        if not name or not source or name in found:
            raise InputError(f"--decoder: found {given!r}, expected a decoder with a name of its own", "NAME=DECODER")
        found[name] = source
    return found


def _name_of(decoder: str) -> str:
    if is_url(decoder):
        return remote_of(decoder).model
    return Path(decoder).stem if decoder.endswith(".gguf") else decoder


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
