"""Runs a server from its start to its end: a socket, workers, packs, signals, draining."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
import uvloop

from umbel.errors import InputError
from umbel.generators import Generators
from umbel.server.app import create_app
from umbel.server.attributes import read_attributes
from umbel.server.generating import Generating
from umbel.server.keys import Keyed
from umbel.server.logs import RequestLog
from umbel.server.metrics import Metrics
from umbel.server.service import Service, no_span
from umbel.server.settings import Settings
from umbel.server.tracing import Tracing
from umbel.server.wire import Wire
from umbel.workers import Processes, Threads

logger = logging.getLogger(__name__)

BACKLOG = 2048
LAST_SECONDS = 2.0  # for answers on their way out, after all is drained


def run(packs: Mapping[str, str | Path], settings: Settings, told: Callable[[str], None]) -> None:
    """Serve packs until SIGTERM or SIGINT; `told` is given the address once requests are taken.

    Raises:
        UmbelError: a pack cannot be loaded, or the address cannot be had.
    """
    uvloop.run(serve(packs, settings, told))


async def serve(packs: Mapping[str, str | Path], settings: Settings, told: Callable[[str], None]) -> None:
    """Serve as `run` does, in a running event loop."""
    _raise_file_limit()
    listening = _listen(settings)
    metrics = Metrics()
    crew = Processes(settings.workers, settings.threads) if settings.workers else Threads(settings.threads)
    tracing = Tracing() if settings.trace else None
    generating = Generating(
        Generators(settings.threads), settings.writing, settings.decoders, metrics, settings.request_seconds
    )
    span = tracing.span if tracing else no_span
    service = Service(crew, settings.limits, metrics, settings.taught, settings.indexes, span, generating)
    if settings.perspective:
        service.options["perspective"] = read_attributes(settings.perspective)
    metrics.watch(service)
    access = Keyed(settings.keys) if settings.keys else None
    app = create_app(service, settings, access, [metrics, RequestLog(settings.log_texts)], tracing=tracing)
    server = _Server(_config(app, settings))
    ending = asyncio.Event()
    with _signals(ending, server):
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        try:
            starting = asyncio.ensure_future(service.start(packs))
            told_to_end = asyncio.ensure_future(ending.wait())
            await asyncio.wait({starting, told_to_end, serving}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                _settle_memory()
                told(_address(settings, listening))
                await asyncio.wait({told_to_end, serving}, return_when=asyncio.FIRST_COMPLETED)
            starting.cancel()
            logger.info("the server ends: nothing new is taken, what was is finished")
        finally:
            finished = await service.close(settings.drain_seconds)
            if not finished:
                logger.warning("not all was finished within %s s", settings.drain_seconds)
            server.should_exit = True
            await serving
            if tracing:
                await asyncio.to_thread(tracing.close)


def _raise_file_limit() -> None:
    """Allow as many open connections as the system does; shells often start programs with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _settle_memory() -> None:
    """Let the garbage collector pass over what the start made: a fifth of a request's time went there (docs/log.md)."""
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """Leaves signals alone: they first drain the service, with the socket open, and then end the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=Wire,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(settings.idle_seconds),
        timeout_graceful_shutdown=int(LAST_SECONDS),
        backlog=BACKLOG,
    )


@contextmanager
def _signals(ending: asyncio.Event, server: uvicorn.Server) -> Iterator[None]:
    """Set `ending` at the first signal; a second one ends the server at once."""

    def told() -> None:
        if ending.is_set():
            server.force_exit = True
        ending.set()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise InputError(f"{where} cannot be listened at: {error.strerror}", "give another --port") from error


def _address(settings: Settings, listening: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}"
