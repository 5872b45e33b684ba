"""Runs hosts of packs: in threads of this process, or in processes of their own that are started again when they die.

A process has lanes, each a pipe and a thread at either end, so that one batch is encoded while another is decoded, and
a line aside for what takes long. Pipes end with the process at either end, so neither outlives the other. Knows nothing
of HTTP and of batching.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umbel.errors import UmbelError, UnavailableError
from umbel.host import Host, Spent

if TYPE_CHECKING:
    from umbel.inquiries import Inquiry, Reply

logger = logging.getLogger(__name__)

LANES = 2  # of a worker
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds before a worker that died is started again
STEADY = 60.0  # seconds after which a death counts as the first
ATTEMPTS = 2  # at an inquiry alone, after the worker died over its batch
ENDING = 5.0  # seconds that a process has to end by itself

Inquired = tuple["list[Reply | UmbelError]", Spent]


class Crew(Protocol):
    """Whoever holds the packs; `lanes` calls can be at work at once, `restarts` counts processes started again."""

    lanes: int
    restarts: int

    @property
    def ready(self) -> bool:
        """Whether someone is there to answer."""

    async def start(self) -> None:
        """Begin."""

    async def load(self, key: str, folder: Path) -> None:
        """Load a pack everywhere, or nowhere."""

    async def drop(self, key: str) -> None:
        """Forget a pack everywhere."""

    async def inquire(self, key: str, inquiries: Sequence[Inquiry]) -> list[Inquired]:
        """Answer inquiries, in one part or, when who was at work on them died, in several, in order."""

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of one host; `teach` goes aside, so that it holds up no answers."""

    async def close(self) -> None:
        """End; what is at work is lost."""


class Threads:
    """A host in this process."""

    def __init__(self, threads: int = 0, lanes: int = LANES) -> None:
        self.lanes, self.restarts = lanes, 0
        self._host = Host(threads)
        self._pool = ThreadPoolExecutor(lanes, "lane")
        self._aside = ThreadPoolExecutor(1, "aside")
        self.ready = False

    async def start(self) -> None:
        """Begin."""
        self.ready = True

    async def load(self, key: str, folder: Path) -> None:
        """Load a pack."""
        await self._do(self._aside, self._host.load, key, folder)

    async def drop(self, key: str) -> None:
        """Forget a pack."""
        self._host.drop(key)

    async def inquire(self, key: str, inquiries: Sequence[Inquiry]) -> list[Inquired]:
        """Answer inquiries."""
        return [await self._do(self._pool, self._host.inquire, key, inquiries)]

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the host."""
        pool = self._aside if method == "teach" else self._pool
        return await self._do(pool, getattr(self._host, method), *arguments)

    async def close(self) -> None:
        """End."""
        self.ready = False
        for pool in (self._pool, self._aside):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _do(self, pool: ThreadPoolExecutor, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


class _LostError(Exception):
    """The process at the other end of a lane is gone."""


class _Lane:
    """This process's end of a pipe, and the thread that waits there; one call at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, "lane")
        self.alive = True

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the host at the other end.

        Raises:
            _LostError: the process there died.
            Exception: what the method raised.
        """
        fine, value = await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, (method, arguments))
        if fine:
            return value
        raise value

    def _ask(self, message: Any) -> Any:
        try:
            self._connection.send(message)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            self.alive = False
            raise _LostError from error

    def close(self) -> None:
        self.alive = False
        self._connection.close()
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """A process with a host, its lanes and the line aside."""

    def __init__(self, threads: int, lanes: int) -> None:
        spawning = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        pipes = [spawning.Pipe() for _ in range(lanes + 1)]
        self.process = spawning.Process(target=_work, args=(threads, [there for _, there in pipes]), daemon=True)
        self.process.start()
        self.started = time.monotonic()
        for _, there in pipes:
            there.close()
        self.aside, *self.lanes = [_Lane(here) for here, _ in pipes]

    def close(self) -> None:
        for lane in (self.aside, *self.lanes):
            lane.close()

    def end(self) -> None:
        """Wait a little for the process, then kill it."""
        self.process.join(ENDING)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Processes:
    """Hosts in `count` processes of `threads` threads each (0: the processors shared out evenly)."""

    def __init__(self, count: int = 1, threads: int = 0, lanes: int = LANES) -> None:
        self._count, self._lanes_each = count, lanes
        self._threads = threads or max(len(os.sched_getaffinity(0)) // count, 1)
        self.lanes, self.restarts = count * lanes, 0
        self._packs: dict[str, Path] = {}
        self._workers: list[_Worker] = []
        self._free: asyncio.Queue[_Lane] = asyncio.Queue()
        self._changing = asyncio.Lock()  # of who works, and of which packs they hold
        self._tasks: set[asyncio.Task[None]] = set()
        self._deaths = 0
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether a worker is there to answer."""
        return bool(self._workers)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    async def start(self) -> None:
        """Start all workers."""
        await asyncio.gather(*(self._add_worker() for _ in range(self._count)))

    async def load(self, key: str, folder: Path) -> None:
        """Load a pack in every worker, or in none.

        Raises:
            UmbelError: as `umbel.load` raises them.
        """
        async with self._changing:
            self._packs[key] = folder
            done = await asyncio.gather(
                *(worker.aside.call("load", key, folder) for worker in self._workers), return_exceptions=True
            )
            faults = [fault for fault in done if isinstance(fault, UmbelError)]  # a lost worker's heir will load it
            if faults:
                await self._forget(key)
                raise faults[0]

    async def drop(self, key: str) -> None:
        """Forget a pack in every worker."""
        async with self._changing:
            await self._forget(key)

    async def _forget(self, key: str) -> None:
        self._packs.pop(key, None)
        await asyncio.gather(*(w.aside.call("drop", key) for w in self._workers), return_exceptions=True)

    async def inquire(self, key: str, inquiries: Sequence[Inquiry]) -> list[Inquired]:
        """Answer inquiries; if the worker dies over them each is tried again alone, so that only its cause fails."""
        try:
            return [await self._on_a_lane("inquire", key, inquiries)]
        except _LostError:
            logger.warning("a worker died over %d inquiries; they are tried again", len(inquiries))
        return [await self._again(key, inquiry) for inquiry in inquiries]  # in turn: one cannot take another along

    async def _again(self, key: str, inquiry: Inquiry) -> Inquired:
        for _ in range(ATTEMPTS):
            try:
                replied: Inquired = await self._on_a_lane("inquire", key, [inquiry])
                return replied
            except _LostError:
                continue
        return [UnavailableError("several workers were lost over this", "look into the server's log")], Spent()

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of one host.

        Raises:
            UnavailableError: the worker died over it.
            Exception: what the method raises.
        """
        try:
            if method == "teach" and self._workers:
                return await self._workers[0].aside.call(method, *arguments)
            return await self._on_a_lane(method, *arguments)
        except _LostError as error:
            raise UnavailableError("the worker was lost over this", "try again") from error

    async def _on_a_lane(self, method: str, *arguments: Any) -> Any:
        lane = await self._free.get()
        while not lane.alive:
            lane = await self._free.get()
        work = asyncio.ensure_future(lane.call(method, *arguments))
        work.add_done_callback(lambda done: self._give_back(lane, done))
        return await asyncio.shield(work)  # a lane is free when its thread is, not when a caller has gone

    def _give_back(self, lane: _Lane, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()  # seen, should no caller be left
        if lane.alive:
            self._free.put_nowait(lane)

    async def close(self) -> None:
        """End all workers; what is at work is lost."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            loop.remove_reader(worker.process.sentinel)
            worker.close()
        await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in self._workers))
        self._workers.clear()

    async def _add_worker(self) -> None:
        """Start a worker with all packs and let it take part."""
        async with self._changing:
            worker = await asyncio.to_thread(_Worker, self._threads, self._lanes_each)
            try:
                for key, folder in self._packs.items():
                    await worker.aside.call("load", key, folder)
            except BaseException:
                worker.close()
                worker.process.kill()
                raise
            self._workers.append(worker)
        asyncio.get_running_loop().add_reader(worker.process.sentinel, self._mourn, worker)
        for lane in worker.lanes:
            self._free.put_nowait(lane)

    def _mourn(self, worker: _Worker) -> None:
        """Let a dead worker go and start another, after a pause that grows while they die young."""
        asyncio.get_running_loop().remove_reader(worker.process.sentinel)
        worker.process.join()
        logger.warning("worker %s died (exit code %s)", worker.process.pid, worker.process.exitcode)
        self._workers.remove(worker)
        worker.close()
        self._deaths = self._deaths + 1 if time.monotonic() - worker.started < STEADY else 1
        task = asyncio.ensure_future(self._replace())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self) -> None:
        while not self._closed:
            await asyncio.sleep(min(FIRST_PAUSE * 2 ** (self._deaths - 1), LONGEST_PAUSE))
            try:
                await self._add_worker()
                self.restarts += 1
                return
            except (_LostError, UmbelError, OSError) as error:
                self._deaths += 1
                logger.error("a worker could not be started: %s", error)


def _work(threads: int, pipes: Sequence[Connection]) -> None:
    """Serve a host at the pipes until their other ends close: what a worker's process does."""
    for number in (signal.SIGINT, signal.SIGTERM):  # often sent to the whole group; the server says when to end
        signal.signal(number, signal.SIG_IGN)
    host = Host(threads, len(pipes) - 1)  # the first is the line aside
    serving = [threading.Thread(target=_attend, args=(host, pipe)) for pipe in pipes]
    for thread in serving:
        thread.start()
    for thread in serving:
        thread.join()


def _attend(host: Host, pipe: Connection) -> None:
    try:
        while True:
            method, arguments = pipe.recv()
            try:
                answer = (True, getattr(host, method)(*arguments))
            except Exception as error:
                if not isinstance(error, UmbelError):
                    logger.exception("%s failed", method)
                answer = (False, error if isinstance(error, UmbelError) else RuntimeError(f"{method}: {error}"))
            pipe.send(answer)
    except (EOFError, OSError):
        pipe.close()
