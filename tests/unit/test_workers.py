"""Hosts in threads and in processes over a tiny pack: answers, packs that come and go, workers that die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.errors import InputError, PackError, UnavailableError
from umbel.host import Host, Lesson
from umbel.inquiries import Inquiry, Reply
from umbel.questions import Predicate
from umbel.workers import Crew, Processes, Threads

LESSON = Lesson("mood", labels=[("fine", "all is well"), ("sad", "")], examples=[("good", "fine"), ("bad", "sad")] * 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    folder = tmp_path_factory.mktemp("workers")
    backbone = write_tiny_backbone(folder / "backbone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        yield [write_tiny_pack(folder / f"tiny{n}", backbone, seed=n, branches=True).folder for n in range(2)]


def with_crew(crew: Callable[[], Crew], use: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        made = crew()
        await made.start()
        try:
            async with asyncio.timeout(120):
                await use(made)
        finally:
            await made.close()

    asyncio.run(main())


CREWS = [pytest.param(lambda: Threads(1), id="threads"), pytest.param(lambda: Processes(1, 1), id="process")]


@pytest.mark.parametrize("crew", CREWS)
def test_a_crew_answers_as_a_model_does(crew: Callable[[], Crew], folders: list[Path]) -> None:
    import umbel

    model = umbel.load(folders[0], threads=1)

    async def use(made: Crew) -> None:
        await made.load("a", folders[0])
        await made.load("b", folders[1])
        wanted = [Inquiry("good to Paris", ["sentiment"], [Predicate("It is good")]), Inquiry("bad", ["nothing"])]
        ((replies, spent),) = await made.inquire("a", wanted)
        assert isinstance(replies[0], Reply)
        assert replies[0].result["sentiment"] == model("good to Paris")["sentiment"]
        assert list(replies[0].answers) == model.ask("good to Paris", [Predicate("It is good")])
        assert isinstance(replies[1], InputError)
        assert (spent.encodings, spent.tasks, spent.questions) == (1, 1, 1)
        ((other, _),) = await made.inquire("b", wanted[:1])
        assert other[0].result != replies[0].result
        await made.drop("b")
        with pytest.raises(PackError, match="not loaded"):
            await made.inquire("b", wanted)

    with_crew(crew, use)


@pytest.mark.parametrize("crew", CREWS)
def test_a_crew_teaches_and_leaves_the_loaded_pack_alone(
    crew: Callable[[], Crew], folders: list[Path], tmp_path: Path
) -> None:
    async def use(made: Crew) -> None:
        await made.load("a", folders[0])
        learned = await made.call("teach", "a", tmp_path / "taught", LESSON)
        assert learned.examples == 12
        assert learned.unchanged["answers"] > 0
        await made.load("c", learned.folder)
        ((replies, _),) = await made.inquire("c", [Inquiry("good", ["mood"])])
        assert replies[0].result["mood"].label == "fine"
        ((faults, _),) = await made.inquire("a", [Inquiry("good", ["mood"])])
        assert isinstance(faults[0], InputError)

    with_crew(crew, use)


def test_a_pack_that_cannot_be_loaded_is_loaded_nowhere(folders: list[Path], tmp_path: Path) -> None:
    async def use(made: Processes) -> None:
        await made.load("a", folders[0])
        with pytest.raises(PackError):
            await made.load("x", tmp_path / "nothing")
        await made.inquire("a", [Inquiry("good")])

    with_crew(lambda: Processes(2, 1), use)


def test_a_killed_worker_is_replaced_and_its_inquiries_are_answered(folders: list[Path]) -> None:
    async def use(made: Processes) -> None:
        await made.load("a", folders[0])
        (first,) = made.pids
        os.kill(first, signal.SIGSTOP)  # it is at work on them, and never ends
        asked = asyncio.ensure_future(made.inquire("a", [Inquiry("good"), Inquiry("bad")]))
        await asyncio.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        parts = await asked
        assert [isinstance(reply, Reply) for replies, _ in parts for reply in replies] == [True, True]
        assert made.restarts == 1
        assert made.pids != [first]

    with_crew(lambda: Processes(1, 1), use)


def test_a_worker_killed_at_rest_is_replaced_too(folders: list[Path]) -> None:
    async def use(made: Processes) -> None:
        await made.load("a", folders[0])
        os.kill(made.pids[0], signal.SIGKILL)
        while not made.restarts:
            await asyncio.sleep(0.05)
        await made.inquire("a", [Inquiry("good")])

    with_crew(lambda: Processes(2, 1), use)


def test_only_the_inquiry_that_kills_fails(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The front's part of it: a lane that is lost whenever a certain text is asked about."""

    async def use(made: Processes) -> None:
        await made.load("a", folders[0])
        through = made._on_a_lane
        killed: set[int] = set()

        async def deadly(method: str, key: str, inquiries: list[Inquiry]) -> Any:
            if all(inquiry.text != "bad" for inquiry in inquiries):
                return await through(method, key, inquiries)
            while not (alive := set(made.pids) - killed):  # the one before may still be counted
                await asyncio.sleep(0.05)
            (worker,) = alive
            killed.add(worker)
            os.kill(worker, signal.SIGSTOP)
            asked = asyncio.ensure_future(through(method, key, inquiries))
            await asyncio.sleep(0.1)
            os.kill(worker, signal.SIGKILL)
            return await asked

        monkeypatch.setattr(made, "_on_a_lane", deadly)
        parts = await made.inquire("a", [Inquiry("good"), Inquiry("bad"), Inquiry("Paris")])
        kinds = [type(reply) for some, _ in parts for reply in some]
        assert kinds == [Reply, UnavailableError, Reply]

    with_crew(lambda: Processes(1, 1), use)


def test_a_host_counts_what_it_did(folders: list[Path]) -> None:
    host = Host(1)
    host.load("a", folders[0])
    _, first = host.inquire("a", [Inquiry("good", ["sentiment", "vector"]), Inquiry("bad", ["vector"])])
    _, second = host.inquire("a", [Inquiry("good", [], [Predicate("It is good")])])
    _, third = host.inquire("a", [Inquiry("good", ["vector"])])
    assert (first.encodings, first.tasks, first.questions, first.cache_hits) == (2, 3, 0, 0)
    assert (second.encodings, second.questions) == (1, 1)
    assert (third.encodings, third.tasks, third.cache_hits) == (0, 1, 1)


def test_a_blank_example_is_told(folders: list[Path], tmp_path: Path) -> None:
    host = Host(1)
    host.load("a", folders[0])
    with pytest.raises(InputError, match="example 2: the text is blank"):
        host.teach("a", tmp_path, Lesson("mood", examples=[("good", "fine"), (" ", "sad")]))
