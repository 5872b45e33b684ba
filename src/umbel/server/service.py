"""What all protocols call: packs by name, texts to answer, admitted and batched. Knows nothing of HTTP.

Every method is a coroutine that raises `UmbelError`s: `InputError` with the `field` that is wrong, `NotFoundError`,
`TooLargeError`, `BusyError`, `UnavailableError`. Cancel it, and its work leaves the queue. Those that write return what
happens as it happens; close that, and the writing stops.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umbel.errors import InputError, NotFoundError, UnavailableError, suggest
from umbel.generation import Held, Wanted
from umbel.host import Learned, Lesson, Spent
from umbel.inquiries import Inquiry, Reply
from umbel.pack import Manifest, read_pack
from umbel.questions import Question, all_checked
from umbel.scheduler import Job, Limits, Scheduler, Watcher
from umbel.server.generating import Event, Generating, begun, decoder_for, for_flow, for_pack, work_of_writing
from umbel.server.work import tokens_of, work_of
from umbel.workers import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umbel.records import Result, Task, VectorPrediction
    from umbel.retrieval.index import By

logger = logging.getLogger(__name__)

LENGTH_STEP, LONGEST = 8, 512
SEARCH_WORK = 64
TEACH_WORK = 1024
LEAVING = 0.02  # seconds between two looks whether a replaced pack is still in use
VECTORS = "feature-extraction"

charge: ContextVar[Any] = ContextVar("charge", default=None)  # called with the work of each call, by whom it is for


class Meter(Watcher, Protocol):
    """Is told what is done; `metrics` is one."""

    def spent(self, pack: str, spent: Spent, texts: int) -> None:
        """A batch was answered."""


class Span(Protocol):
    """Makes spans of a trace; `tracing.Tracing.span` is one."""

    def __call__(self, name: str, attributes: Mapping[str, Any], root: bool = False) -> AbstractContextManager[Any]:
        """Return a span to be in, under the current one or, with `root`, under none."""


def no_span(name: str, attributes: Mapping[str, Any], root: bool = False) -> AbstractContextManager[Any]:
    """Return a span of no trace."""
    return nullcontext()


@dataclass(frozen=True)
class Deployed:
    """A pack that is served: `key` names this version of it among the workers."""

    name: str
    key: str
    folder: Path
    manifest: Manifest
    tasks: Mapping[str, Task]

    @property
    def asks(self) -> bool:
        """Whether it answers questions decided on the spot."""
        return self.manifest.branches is not None

    @property
    def languages(self) -> list[str]:
        """The languages of its tasks."""
        return sorted({language for task in self.tasks.values() for language in task.languages})

    @property
    def vector_task(self) -> str | None:
        """The task that gives vectors, if there is one."""
        return next((name for name, task in self.tasks.items() if task.kind == VECTORS), None)

    @property
    def trained(self) -> list[str]:
        """The tasks but for those that give vectors."""
        return [name for name, task in self.tasks.items() if task.kind != VECTORS]


@dataclass(frozen=True)
class _Call:
    """A method of a host, and what it is given after the pack's key."""

    method: str
    arguments: tuple[Any, ...]


class Service:
    """Packs that are served. The first one is the default wherever none is named.

    `taught` is the folder for packs with tasks taught here; `indexes` are search indexes by name; `options` are what
    protocols are told at the start, by their modules' names.
    """

    def __init__(
        self,
        crew: Crew,
        limits: Limits | None = None,
        meter: Meter | None = None,
        taught: Path = Path("taught"),
        indexes: Mapping[str, Path] | None = None,
        span: Span = no_span,
        generating: Generating | None = None,
    ) -> None:
        self.generating = generating or Generating()
        self.crew, self.indexes, self._span = crew, dict(indexes or {}), span
        self.scheduler = Scheduler(self._run, limits or Limits(), crew.lanes, meter)
        self.meter, self._taught = meter, taught
        self.options: dict[str, Any] = {}
        self._packs: dict[str, Deployed] = {}
        self._users: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, packs: Mapping[str, str | Path]) -> None:
        """Start the workers and load packs by name: a shipped one or a folder."""
        await self.crew.start()
        for name, source in packs.items():
            await self.deploy(name, source)
        await self.generating.start()

    async def close(self, seconds: float) -> bool:
        """Finish what was admitted, within a limit, and end; return whether all was finished."""
        drained = await asyncio.gather(self.scheduler.drain(seconds), self.generating.close(seconds))
        for task in self._tasks:
            task.cancel()
        await self.crew.close()
        return all(drained)

    @property
    def ready(self) -> bool:
        """Whether requests are taken: packs are loaded, a worker is there, and the service does not drain."""
        return bool(self._packs) and self.crew.ready and not self.scheduler.draining

    @property
    def packs(self) -> dict[str, Deployed]:
        """The packs that are served, by name, the default first."""
        return dict(self._packs)

    def pack(self, name: str | None = None) -> Deployed:
        """Return a pack by name, or the default.

        Raises:
            NotFoundError: none of that name is served.
            UnavailableError: none is served yet.
        """
        if not self._packs:
            raise UnavailableError("no pack is served", "wait until the server is ready, or load a pack")
        if name is None:
            return next(iter(self._packs.values()))
        if name not in self._packs:
            raise NotFoundError(
                f"no pack called {name!r} is served{suggest(name, list(self._packs))}", "`GET /v1/packs` lists them"
            )
        return self._packs[name]

    async def analyze(
        self, texts: Sequence[str], tasks: Sequence[str] | None = None, pack: str | None = None
    ) -> list[Result]:
        """Answer tasks for texts, in order; all trained tasks where none are named (vectors only by name)."""
        found = self.pack(pack)
        names = found.trained if tasks is None else tasks
        replies = await self.inquire([Inquiry(text, names) for text in texts], found.name)
        return [reply.result for reply in replies]

    async def ask(
        self,
        text: str,
        questions: Sequence[Question],
        tasks: Sequence[str] = (),
        pack: str | None = None,
        exact: bool = False,
    ) -> Reply:
        """Answer questions on a text, and tasks too if any are named, from one encoding."""
        (reply,) = await self.inquire([Inquiry(text, tasks, questions, exact)], pack)
        return reply

    async def embed(self, texts: Sequence[str], pack: str | None = None) -> list[VectorPrediction]:
        """Return each text's vector of length 1.

        Raises:
            InputError: the pack gives no vectors.
        """
        found = self.pack(pack)
        if found.vector_task is None:
            raise InputError(f"pack {found.name} gives no vectors", "name a pack that does", field="pack")
        results = await self.analyze(texts, [found.vector_task], found.name)
        return [result[found.vector_task] for result in results]  # type: ignore[misc]

    async def inquire(self, inquiries: Sequence[Inquiry], pack: str | None = None) -> list[Reply]:
        """Answer inquiries, in order: the method under all others that answer texts."""
        found = self.pack(pack)
        for place, inquiry in enumerate(inquiries):
            _check(inquiry, found, f"texts[{place}]" if len(inquiries) > 1 else "text")
        jobs = [_job(found.key, inquiry) for inquiry in inquiries]
        return await self._submit(found, jobs)

    async def search(
        self, index: str, query: str, k: int = 5, where: Mapping[str, str] | None = None, by: By = "both"
    ) -> list[dict[str, Any]]:
        """Return the passages of an index that fit a query best."""
        if index not in self.indexes:
            raise NotFoundError(
                f"no index called {index!r} is served{suggest(index, list(self.indexes))}", "give it with --index"
            )
        if not query.strip():
            raise InputError("it is blank", "say in a few words what to find", field="query")
        found = self.pack()
        call = _Call("search", (self.indexes[index], query, k, dict(where or {}), by))
        (hits,) = await self._submit(found, [Job(found.key, call, LONGEST, SEARCH_WORK, alone=True)])
        return list(hits)

    async def write(self, wanted: Wanted, pack: str | None = None) -> AsyncGenerator[Event]:
        """Write for a pack, which checks what is written, and return what happens once that has begun.

        Raises:
            InputError: it has no such task, or nothing writes for it.
            ContextError: the conversation, or the answer wanted to it, is too long.
        """
        found = self.pack(pack)
        work = for_pack(found.manifest, wanted, self.generating.decoders)
        return await begun(self._events(found, "write", wanted, work))

    async def converse(self, wanted: Wanted, decoder: str) -> AsyncGenerator[Event]:
        """Write the next turn of a conversation by a decoder alone, and return what happens once that has begun.

        Raises:
            ContextError: the conversation, or the answer wanted to it, is too long.
        """
        work = work_of_writing(wanted.messages, wanted.max_tokens, wanted.texts)
        return await begun(self.generating.events("converse", (decoder, wanted), _charged(work)))

    async def flow(self, text: str, pack: str | None = None) -> AsyncGenerator[Event]:
        """Take a text through a pack's flow, and return what happens once that has begun.

        Raises:
            InputError: the text is blank, or the pack declares no flow.
        """
        found = self.pack(pack)
        work = for_flow(found.manifest, text)
        return await begun(self._events(found, "flow", text, work))

    async def _events(self, found: Deployed, method: str, given: Any, work: int) -> AsyncGenerator[Event]:
        held = Held(found.key, found.folder, decoder_for(found.manifest, self.generating.decoders), self.indexes)
        events = self.generating.events(method, (held, given), _charged(work))
        with self._using(found.key):
            async with aclosing(events):
                async for event in events:
                    yield event

    async def teach(self, lesson: Lesson, pack: str | None = None, name: str | None = None) -> tuple[Deployed, Learned]:
        """Teach a pack one task, and serve the new pack as `name`, or in the old one's place.

        Tasks that the new pack has besides are those of the old, unmoved (`Learned.unchanged` counts the proofs).
        """
        found = self.pack(pack)
        folder = self._taught.absolute() / f"{name or found.name}-{next(self._numbers)}-{_stamp()}"
        work = TEACH_WORK + sum(tokens_of(text) for text, _ in [*lesson.examples, *lesson.dev])
        call = _Call("teach", (folder, lesson))
        (learned,) = await self._submit(found, [Job(found.key, call, LONGEST, work, alone=True)])
        return await self.deploy(name or found.name, learned.folder), learned

    async def deploy(self, name: str, source: str | Path) -> Deployed:
        """Load a pack, a shipped one or a folder, and serve it under a name; one that has the name serves until then.

        Raises:
            PackError: it is missing, damaged or of other weights.
        """
        async with self._changing:
            pack = await asyncio.to_thread(read_pack, source)
            key = f"{name}#{next(self._numbers)}"
            await self.crew.load(key, pack.folder)
            old = self._packs.get(name)
            new = self._packs[name] = Deployed(name, key, pack.folder, pack.manifest, pack.tasks)
            if old:
                self._retire(old)
        logger.info("pack %s %s is served from %s", name, new.manifest.version, new.folder)
        return new

    async def remove(self, name: str) -> None:
        """Serve a pack no longer; what was admitted for it is still answered.

        Raises:
            NotFoundError: none of that name is served.
            InputError: it is the last one.
        """
        async with self._changing:
            found = self.pack(name)
            if len(self._packs) == 1:
                raise InputError(f"{name} is the only pack that is served", "load another one first", field="name")
            del self._packs[name]
            self._retire(found)

    def _retire(self, old: Deployed) -> None:
        """Let the workers forget a pack once nothing that was admitted for it is left."""

        async def retire() -> None:
            while self._users[old.key]:
                await asyncio.sleep(LEAVING)
            await self.crew.drop(old.key)
            await self.generating.generators.drop(old.key)

        task = asyncio.ensure_future(retire())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit(self, found: Deployed, jobs: Sequence[Job]) -> list[Any]:
        work = _charged(sum(job.work for job in jobs))
        about = {"umbel.pack": found.name, "umbel.jobs": len(jobs), "umbel.tokens": work}
        with self._using(found.key), self._span("umbel.answer", about):
            return await self.scheduler.submit(jobs)

    @contextmanager
    def _using(self, key: str) -> Iterator[None]:
        self._users[key] += 1
        try:
            yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]

    async def _run(self, group: Any, payloads: Sequence[Any]) -> list[Any]:
        """Run one batch of the scheduler's: calls come alone, inquiries together."""
        with self._span("umbel.batch", {"umbel.pack": group.partition("#")[0], "umbel.jobs": len(payloads)}, root=True):
            return await self._answered(group, payloads)

    async def _answered(self, group: str, payloads: Sequence[Any]) -> list[Any]:
        if isinstance(payloads[0], _Call):
            return [await self.crew.call(payloads[0].method, group, *payloads[0].arguments)]
        replies: list[Any] = []
        for some, spent in await self.crew.inquire(group, payloads):
            replies += some
            if self.meter:
                self.meter.spent(group.partition("#")[0], spent, len(some))
        return replies


def _charged(work: int) -> int:
    charged = charge.get()
    if charged:
        charged(work)
    return work


def _job(key: str, inquiry: Inquiry) -> Job:
    length = min(-(-tokens_of(inquiry.text) // LENGTH_STEP) * LENGTH_STEP, LONGEST)
    return Job(key, inquiry, length, work_of(inquiry))


def _check(inquiry: Inquiry, found: Deployed, field: str) -> None:
    """Tell what is wrong with an inquiry, by field, before it costs anything."""
    if not inquiry.text.strip():
        raise InputError("the text is blank", "leave blank texts out", field=field)
    for place, name in enumerate(inquiry.tasks or ()):
        if name not in found.tasks:
            raise InputError(
                f"{name!r} is not a task of pack {found.name}{suggest(name, list(found.tasks))}",
                f"its tasks are {', '.join(found.tasks)}",
                field=f"tasks[{place}]",
            )
    if inquiry.questions and not found.asks:
        raise InputError(f"pack {found.name} answers no questions", "name a pack that was trained for them", "pack")
    for place, question in enumerate(inquiry.questions):
        try:
            all_checked([question], found.languages)
        except InputError as error:
            message = error.message.replace("questions[0].", "")  # the only one that was looked at
            raise InputError(message, error.hint, f"questions[{place}]") from error


def _stamp() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
