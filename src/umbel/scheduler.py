"""A micro-batching queue: jobs of many callers, grouped by length, run together as soon as a lane is free.

Knows nothing of HTTP, texts or models: a job has a group, a length and its work; `run` answers a batch of one group.

- **Batching.** While all lanes work, jobs gather, and the next batch is taken from them: nothing waits for company
  when a lane is free. Jobs of the length with most work waiting go first, filled up with neighbouring lengths. A job
  that has waited longer than the latency budget heads the next batch, whatever its length.
- **Admission** is by work (tokens, for a text), all jobs of one call or none, and by time: who would wait too long
  behind those who wait already, at the pace of late, is told at once when to come again.
- **Order.** Jobs of one origin (a connection) are answered in the order they came in, whichever batch they ran in.
- **Abandoned** jobs, whose caller was cancelled, leave the queue and free their work.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import Awaitable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from umbel.errors import BusyError, TooLargeError, UnavailableError

PACE_SHARE = 0.2  # of the newest batch in the moving pace
FIRST_PACE = 2000.0  # work a second, before anything was measured
LONGEST_RETRY = 60.0  # seconds


@dataclass(frozen=True)
class Limits:
    """How much is waited for, and how batches are cut.

    `queue_work` is the work that may wait, and `queue_seconds` how long a call may wait for what came before it, at the
    pace of late, ten budgets; `request_work` is that of one call; `batch_work` ends a batch; a job that waited `budget`
    seconds heads the next one; `first_pace` is the work a second that is expected before anything was measured.
    """

    queue_work: int = 64 * 1024
    queue_seconds: float = 0.5
    request_work: int = 256 * 1024
    batch_work: int = 512
    budget: float = 0.05
    first_pace: float = FIRST_PACE


LIMITS = Limits()


@dataclass(frozen=True)
class Job:
    """One piece of work. Jobs run together only within a `group`, and only if they are not `alone`."""

    group: Hashable
    payload: Any
    length: int
    work: int
    origin: Hashable = None
    alone: bool = False


class Run(Protocol):
    """Answers the payloads of one batch, in order; an exception in place of an answer is that job's own."""

    def __call__(self, group: Hashable, payloads: Sequence[Any]) -> Awaitable[Sequence[Any]]:
        """Return as many answers as there are payloads."""


class Watcher(Protocol):
    """Is told what the scheduler does; `metrics` of the server is one."""

    def batch(self, jobs: int, work: int, waited: Sequence[float]) -> None:
        """A batch starts; `waited` are each job's seconds in the queue."""

    def rejected(self, reason: str) -> None:
        """A call was not admitted: full, large or draining."""


class _Unwatched:
    def batch(self, jobs: int, work: int, waited: Sequence[float]) -> None:
        pass

    def rejected(self, reason: str) -> None:
        pass


@dataclass(eq=False)
class _Entry:
    """A job in the queue or at work; `ahead` are its origin's entries without an answer, in order, itself included."""

    job: Job
    key: tuple[Hashable, int]
    future: asyncio.Future[Any]
    since: float
    ahead: deque[_Entry] | None
    outcome: tuple[Any] | None = None


@dataclass
class _Bucket:
    """The waiting jobs of one group and length, in the order they came."""

    entries: dict[_Entry, None] = field(default_factory=dict)
    work: int = 0


class Scheduler:
    """Runs jobs in batches, on `lanes` at once; belongs to one event loop."""

    def __init__(self, run: Run, limits: Limits = LIMITS, lanes: int = 1, watcher: Watcher | None = None) -> None:
        self.limits, self.lanes = limits, lanes
        self._run, self._watcher = run, _Unwatched() if watcher is None else watcher
        self._waiting: dict[_Entry, None] = {}  # in the order they came
        self._buckets: dict[tuple[Hashable, int], _Bucket] = {}
        self._origins: dict[Hashable, deque[_Entry]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._work = 0  # that waits
        self._pace = self.limits.first_pace
        self._draining = self._woken = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """The number of jobs in the queue."""
        return len(self._waiting)

    @property
    def waiting_work(self) -> int:
        """The work in the queue."""
        return self._work

    @property
    def running(self) -> int:
        """The number of batches at work."""
        return len(self._tasks)

    @property
    def draining(self) -> bool:
        """Whether nothing more is admitted."""
        return self._draining

    async def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Run jobs and return their answers in order; a cancelled call takes its jobs out of the queue.

        Raises:
            TooLargeError: the call is larger than any may be.
            BusyError: the queue is full; it says when to come again.
            UnavailableError: the scheduler drains.
            Exception: what `run` gave in place of an answer, the first of the call's.
        """
        self._admit(sum(job.work for job in jobs))
        entries = [self._enter(job) for job in jobs]
        self._wake()
        try:
            return (
                [await entries[0].future] if len(entries) == 1 else await asyncio.gather(*(e.future for e in entries))
            )
        finally:
            for entry in entries:
                self._abandon(entry)

    async def drain(self, seconds: float) -> bool:
        """Admit nothing more and wait until all is answered; what is not by then fails. Return whether all was."""
        self._draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
            return True
        except TimeoutError:
            for entry in [*self._waiting]:
                self._leave(entry)
                self._settle(entry, UnavailableError("the server ends and did not get to this", "send it again"))
            for task in self._tasks:
                task.cancel()
            return False

    def _admit(self, work: int) -> None:
        if self._draining:
            self._watcher.rejected("draining")
            raise UnavailableError("the server ends and takes nothing new", "send it again in a while")
        if work > self.limits.request_work:
            self._watcher.rejected("large")
            found = f"the request is about {work} tokens of work, expected at most {self.limits.request_work}"
            raise TooLargeError(found, "split it")
        ahead = self._work - (self.lanes - self.running) * self.limits.batch_work  # the rest is begun at once
        full = self._work + work > self.limits.queue_work or ahead > self.limits.queue_seconds * self._pace
        if self._work and full:
            self._watcher.rejected("full")
            wait = min(max(math.ceil(self._work / self._pace), 1), LONGEST_RETRY)
            raise BusyError("the queue is full", f"try again in {wait:.0f} s", wait)

    def _enter(self, job: Job) -> _Entry:
        group = (job.group, next(self._numbers)) if job.alone else job.group
        ahead = None if job.origin is None else self._origins.setdefault(job.origin, deque())
        future = asyncio.get_running_loop().create_future()
        entry = _Entry(job, (group, job.length), future, time.monotonic(), ahead)
        if ahead is not None:
            ahead.append(entry)
        bucket = self._buckets.setdefault(entry.key, _Bucket())
        bucket.entries[entry] = self._waiting[entry] = None
        bucket.work += job.work
        self._work += job.work
        self._idle.clear()
        return entry

    def _leave(self, entry: _Entry) -> None:
        """Take an entry out of the queue."""
        del self._waiting[entry]
        bucket = self._buckets[entry.key]
        del bucket.entries[entry]
        bucket.work -= entry.job.work
        self._work -= entry.job.work
        if not bucket.entries:
            del self._buckets[entry.key]

    def _abandon(self, entry: _Entry) -> None:
        """Forget an entry whose caller waits no more; one at work is answered to nobody."""
        entry.future.cancel()
        if entry in self._waiting:
            self._leave(entry)
            self._settle(entry, None)
            self._rest()

    def _wake(self) -> None:
        """Start batches once all callers of this turn of the event loop have come."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._woken = False
        while self._waiting and self.running < self.lanes:
            batch = list(self._next_batch())
            for entry in batch:
                self._leave(entry)
            task = asyncio.get_running_loop().create_task(self._execute(batch))
            self._tasks.add(task)

    def _next_batch(self) -> Iterator[_Entry]:
        """Yield the jobs to run next, at least one, up to a batch's work."""
        oldest = next(iter(self._waiting))
        late = time.monotonic() - oldest.since > self.limits.budget
        group, length = oldest.key if late else max(self._buckets, key=lambda key: self._buckets[key].work)
        near = sorted((abs(key[1] - length), key[1]) for key in self._buckets if key[0] == group)
        work = 0
        for _, other in near:
            for entry in self._buckets[group, other].entries:
                if work and work + entry.job.work > self.limits.batch_work:
                    return
                work += entry.job.work
                yield entry

    async def _execute(self, batch: Sequence[_Entry]) -> None:
        began = time.monotonic()
        work = sum(entry.job.work for entry in batch)
        self._watcher.batch(len(batch), work, [began - entry.since for entry in batch])
        outcomes: Sequence[Any]
        try:
            outcomes = await self._run(batch[0].job.group, [entry.job.payload for entry in batch])
        except asyncio.CancelledError:
            outcomes = [UnavailableError("the server ended before this was done", "send it again")] * len(batch)
        except Exception as error:
            outcomes = [error] * len(batch)
        if not batch[0].job.alone:
            self._learn_pace(work, time.monotonic() - began)
        for entry, outcome in zip(batch, outcomes, strict=True):
            self._settle(entry, outcome)
        self._tasks.discard(asyncio.current_task())
        self._wake()
        self._rest()

    def _learn_pace(self, work: int, seconds: float) -> None:
        """Learn from a batch how much is done in a second; one that is not full says only how much at least."""
        pace = self.lanes * work / max(seconds, 1e-6)
        if pace > self._pace or 2 * work >= self.limits.batch_work:
            self._pace += PACE_SHARE * (pace - self._pace)

    def _rest(self) -> None:
        if not self._waiting and not self._tasks:
            self._idle.set()

    def _settle(self, entry: _Entry, outcome: Any) -> None:
        """Answer an entry, after those of its origin that came before, and then those that it held up."""
        entry.outcome = (outcome,)
        if entry.ahead is None:
            return _answer(entry)
        while entry.ahead and entry.ahead[0].outcome:
            _answer(entry.ahead.popleft())
        if not entry.ahead:
            self._origins.pop(entry.job.origin, None)
        return None


def _answer(entry: _Entry) -> None:
    if entry.future.done() or entry.outcome is None:
        return
    (outcome,) = entry.outcome
    if isinstance(outcome, BaseException):
        entry.future.set_exception(outcome)
    else:
        entry.future.set_result(outcome)
