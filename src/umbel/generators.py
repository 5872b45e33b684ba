"""The process that writes: started when first needed, started again when it died, and told to stop what nobody awaits.

It is apart from the workers that answer: writing takes seconds where an answer takes milliseconds, so it must not hold
a worker's lanes, and its native library may fail without taking an answer along. It runs at a lower priority than they
do. A lane is a pipe with a thread at either end: one call at a time, whose events come before its outcome, and on which
a word that is sent meanwhile means to stop. Knows nothing of HTTP and of who may write how much.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from umbel.errors import UmbelError, UnavailableError
from umbel.generation import Generation

logger = logging.getLogger(__name__)

LANES = 4  # texts that grow at once
NICE = 5  # added to the process's niceness: answers go first
ENDING = 5.0  # seconds that the process has to end by itself
EVENT, DONE, FAILED = "event", "done", "failed"
STOP = None  # in place of a call

Heard = Callable[[str, dict[str, Any]], None]


class Generators:
    """One process with `lanes` calls at once; `threads` are its engines', 0 for all processors."""

    def __init__(self, threads: int = 0, lanes: int = LANES) -> None:
        self.lanes, self.restarts = lanes, 0
        self._threads = threads
        self._process: _Process | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id, None where there is none."""
        return self._process.process.pid if self._process else None

    async def call(self, method: str, *arguments: Any, heard: Heard) -> Any:
        """Call a method of `Generation` and return what it gives; `heard` is told of its events in this event loop.

        Cancelled, it tells the process to stop and does not wait for that.

        Raises:
            UnavailableError: the process died over it, or this is closed.
            Exception: what the method raises.
        """
        lane = await (await self._running()).free.get()
        loop = asyncio.get_running_loop()

        def event(name: str, about: dict[str, Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the server ended
                loop.call_soon_threadsafe(heard, name, about)

        outcome = loop.run_in_executor(lane.thread, lane.ask, (method, arguments), event)
        outcome.add_done_callback(lane.end)
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            if not outcome.done():  # else the lane may be another call's by now
                lane.stop()
            raise

    async def drop(self, key: str) -> None:
        """Forget a pack, if there is a process that may hold it."""
        if self._process and self._process.process.is_alive():
            with suppress(UnavailableError):
                await self.call("drop", key, heard=lambda name, about: None)

    async def close(self) -> None:
        """End the process; what is at work is lost."""
        self._closed = True
        async with self._starting:
            process, self._process = self._process, None
        if process:
            process.close()
            await asyncio.to_thread(process.end)

    async def _running(self) -> _Process:
        async with self._starting:
            if self._closed:
                raise UnavailableError("the server ends and takes nothing new", "send it again in a while")
            if self._process and not self._process.process.is_alive():
                logger.warning("the process that writes died (exit code %s)", self._process.process.exitcode)
                self._process.close()
                self._process, self.restarts = None, self.restarts + 1
            if self._process is None:
                self._process = await asyncio.to_thread(_Process, self._threads, self.lanes)
                for lane in self._process.lanes:
                    self._process.free.put_nowait(lane)
            return self._process


class _Process:
    """The process, and this end of its lanes."""

    def __init__(self, threads: int, lanes: int) -> None:
        spawning = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        pipes = [spawning.Pipe() for _ in range(lanes)]
        self.process = spawning.Process(target=_serve, args=(threads, [there for _, there in pipes]), daemon=True)
        self.process.start()
        for _, there in pipes:
            there.close()
        self.free: asyncio.Queue[_Lane] = asyncio.Queue()
        self.lanes = [_Lane(here, self.free) for here, _ in pipes]

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()

    def end(self) -> None:
        """Wait a little for the process, then kill it."""
        self.process.join(ENDING)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Lane:
    """This end of a pipe, and the thread that waits there."""

    def __init__(self, connection: Connection, free: asyncio.Queue[_Lane]) -> None:
        self.thread = ThreadPoolExecutor(1, "writing")
        self._connection, self._free = connection, free

    def ask(self, call: tuple[str, Sequence[Any]], event: Heard) -> Any:
        """Make a call, tell its events, and return its outcome."""
        try:
            self._connection.send(call)
            while True:
                kind, *found = self._connection.recv()
                if kind == EVENT:
                    event(*found)
                elif kind == DONE:
                    return found[0]
                else:
                    raise found[0]
        except (EOFError, OSError) as error:
            raise UnavailableError("the process that writes was lost over this", "try again") from error

    def stop(self) -> None:
        """Tell the other end to stop; one that has ended meanwhile passes it over."""
        with suppress(OSError):
            self._connection.send(STOP)

    def end(self, outcome: asyncio.Future[Any]) -> None:
        """Take the next call, whatever became of this one."""
        if not outcome.cancelled():
            outcome.exception()  # it was told to who waited, if anyone did
        self._free.put_nowait(self)

    def close(self) -> None:
        with suppress(OSError):
            self._connection.send(STOP)
            self._connection.close()
        self.thread.shutdown(wait=False, cancel_futures=True)


def _serve(threads: int, pipes: Sequence[Connection]) -> None:
    """Serve at the pipes until their other ends close: what the process does."""
    for number in (signal.SIGINT, signal.SIGTERM):  # often sent to the whole group; the server says when to end
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    generation = Generation(threads)
    serving = [threading.Thread(target=_attend, args=(generation, pipe)) for pipe in pipes]
    for thread in serving:
        thread.start()
    for thread in serving:
        thread.join()


def _attend(generation: Generation, pipe: Connection) -> None:
    sending = threading.Lock()  # steps of a flow speak from threads of their own

    def send(*message: Any) -> None:
        with sending:
            pipe.send(message)

    try:
        while True:
            call = pipe.recv()
            if call is STOP:  # for a call that had ended
                continue
            method, arguments = call
            try:
                outcome = getattr(generation, method)(_telling(send), _stopping(pipe), *arguments)
            except Exception as error:
                if not isinstance(error, UmbelError):
                    logger.exception("%s failed", method)
                send(FAILED, error if isinstance(error, UmbelError) else RuntimeError(f"{method}: {error}"))
            else:
                send(DONE, outcome)
    except (EOFError, OSError):
        pipe.close()


def _telling(send: Callable[..., None]) -> Heard:
    return lambda name, about: send(EVENT, name, about)


def _stopping(pipe: Connection) -> Callable[[], bool]:
    """Return what tells whether to stop: whether anything was said since the call, or the other end is gone."""

    def stopped() -> bool:
        try:
            return pipe.poll()
        except OSError:
            return True

    return stopped
