"""The micro-batching queue, with lanes that a test opens and closes; nothing depends on how fast the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from umbel.errors import BusyError, InputError, TooLargeError, UnavailableError
from umbel.scheduler import Job, Limits, Scheduler

NEVER = 1e9


class Lane:
    """Records batches; holds them until it is opened. A payload that is an exception is its own answer."""

    def __init__(self, opened: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.gate = asyncio.Event()
        if opened:
            self.gate.set()

    async def __call__(self, group: Any, payloads: Sequence[Any]) -> list[Any]:
        self.batches.append([group, *payloads])
        await self.gate.wait()
        return [p if isinstance(p, Exception) else f"<{p}>" for p in payloads]


def job(payload: Any, length: int = 8, work: int = 8, group: str = "g", **more: Any) -> Job:
    return Job(group, payload, length, work, **more)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def occupied(lane: Lane, scheduler: Scheduler) -> asyncio.Task[Any]:
    """Give the lane a first job to hold, so that what follows gathers."""
    task = asyncio.ensure_future(scheduler.submit([job("first")]))
    await turns()
    assert scheduler.running == 1
    return task


def test_answers_come_in_the_order_of_the_jobs() -> None:
    async def main() -> None:
        scheduler = Scheduler(Lane(opened=True))
        assert await scheduler.submit([job("a", 16), job("b", 8), job("c", 16)]) == ["<a>", "<b>", "<c>"]
        assert (scheduler.waiting, scheduler.waiting_work, scheduler.running) == (0, 0, 0)

    asyncio.run(main())


def test_jobs_of_one_turn_run_together() -> None:
    async def main() -> None:
        lane = Lane(opened=True)
        scheduler = Scheduler(lane)
        await asyncio.gather(*(scheduler.submit([job(n)]) for n in range(5)))
        assert lane.batches == [["g", 0, 1, 2, 3, 4]]

    asyncio.run(main())


def test_while_a_lane_works_jobs_gather_by_length_and_group() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane, Limits(batch_work=64, budget=NEVER))
        first = await occupied(lane, scheduler)
        wanted = [job("short", 8), *(job(f"long{n}", 32, 32) for n in range(3)), job("other", 32, 8, group="h")]
        rest = [asyncio.ensure_future(scheduler.submit([each])) for each in wanted]
        await turns()
        lane.gate.set()
        await asyncio.gather(first, *rest)
        assert lane.batches[1] == ["g", "long0", "long1"]
        assert sorted(map(str, lane.batches[2:])) == sorted(map(str, [["g", "long2", "short"], ["h", "other"]]))

    asyncio.run(main())


def test_a_job_past_its_budget_heads_the_next_batch() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane, Limits(batch_work=64, budget=0))
        first = await occupied(lane, scheduler)
        rest = [asyncio.ensure_future(scheduler.submit([job("old", 8)]))]
        await asyncio.sleep(0.001)
        rest += [asyncio.ensure_future(scheduler.submit([job(f"long{n}", 64, 64)])) for n in range(3)]
        await turns()
        lane.gate.set()
        await asyncio.gather(first, *rest)
        assert lane.batches[1][1] == "old"

    asyncio.run(main())


def test_two_lanes_work_at_once() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane, Limits(batch_work=8), lanes=2)
        tasks = [asyncio.ensure_future(scheduler.submit([job(n)])) for n in range(3)]
        await turns()
        assert (scheduler.running, scheduler.waiting) == (2, 1)
        lane.gate.set()
        assert await asyncio.gather(*tasks) == [["<0>"], ["<1>"], ["<2>"]]

    asyncio.run(main())


def test_jobs_alone_share_no_batch() -> None:
    async def main() -> None:
        lane = Lane(opened=True)
        await Scheduler(lane).submit([job("a"), job("b", alone=True), job("c"), job("d", alone=True)])
        assert sorted(map(str, lane.batches)) == sorted(map(str, [["g", "a", "c"], ["g", "b"], ["g", "d"]]))

    asyncio.run(main())


def test_a_full_queue_says_when_to_come_again_and_takes_all_of_a_call_or_none() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane, Limits(queue_work=20))
        first = await occupied(lane, scheduler)
        second = asyncio.ensure_future(scheduler.submit([job("second", work=16)]))
        await turns()
        with pytest.raises(BusyError) as raised:
            await scheduler.submit([job("a", work=2), job("b", work=8)])
        assert raised.value.retry_after >= 1
        assert scheduler.waiting == 1
        lane.gate.set()
        assert await asyncio.gather(first, second) == [["<first>"], ["<second>"]]
        assert await scheduler.submit([job("later", work=19)]) == ["<later>"]

    asyncio.run(main())


def test_the_wait_is_bounded_too_at_the_pace_of_late() -> None:
    """A call is refused for what waits before it, not for what it brings."""

    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane, Limits(queue_work=10_000, queue_seconds=2))
        scheduler._pace = 10.0  # of work a second
        first = await occupied(lane, scheduler)
        rest = [asyncio.ensure_future(scheduler.submit([job(n, work=15)])) for n in range(2)]
        await turns()
        with pytest.raises(BusyError) as raised:
            await scheduler.submit([job("fourth", work=1)])
        assert raised.value.retry_after == 3
        lane.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(main())


def test_what_free_lanes_begin_at_once_counts_as_no_wait() -> None:
    """Calls that come together find all lanes free: they are taken, however slow the pace seems."""

    async def main() -> None:
        lane = Lane(opened=True)
        scheduler = Scheduler(lane, Limits(batch_work=64, queue_seconds=0), lanes=2)
        found = await asyncio.gather(*(scheduler.submit([job(n)]) for n in range(40)), return_exceptions=True)
        assert [isinstance(each, BusyError) for each in found] == [False] * 17 + [True] * 23  # 16 fill both lanes

    asyncio.run(main())


def test_a_batch_that_is_not_full_slows_no_pace() -> None:
    scheduler = Scheduler(Lane(), Limits(batch_work=100))
    scheduler._pace = 1000.0
    scheduler._learn_pace(10, 1.0)
    assert scheduler._pace == 1000.0
    scheduler._learn_pace(10, 0.001)
    assert scheduler._pace == pytest.approx(2800)
    scheduler._learn_pace(80, 0.1)
    assert scheduler._pace == pytest.approx(2400)


def test_one_large_call_is_taken_by_an_empty_queue_but_none_beyond_the_bound() -> None:
    async def main() -> None:
        scheduler = Scheduler(Lane(opened=True), Limits(queue_work=20, request_work=100))
        assert await scheduler.submit([job("large", work=100)]) == ["<large>"]
        with pytest.raises(TooLargeError, match="about 101 tokens of work, expected at most 100"):
            await scheduler.submit([job("larger", work=101)])

    asyncio.run(main())


def test_a_cancelled_call_leaves_the_queue_and_frees_its_work() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane)
        first = await occupied(lane, scheduler)
        second = asyncio.ensure_future(scheduler.submit([job("left", work=50), job("too", work=50)]))
        await turns()
        assert scheduler.waiting_work == 100
        second.cancel()
        await turns()
        assert (scheduler.waiting, scheduler.waiting_work) == (0, 0)
        lane.gate.set()
        await first
        assert lane.batches == [["g", "first"]]

    asyncio.run(main())


def test_a_call_cancelled_at_work_disturbs_no_other_of_its_batch() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane)
        tasks = [asyncio.ensure_future(scheduler.submit([job(n)])) for n in range(2)]
        await turns()
        tasks[0].cancel()
        await turns()
        lane.gate.set()
        assert await tasks[1] == ["<1>"]

    asyncio.run(main())


def test_one_fault_is_one_callers() -> None:
    async def main() -> None:
        scheduler = Scheduler(Lane(opened=True))
        found = await asyncio.gather(
            scheduler.submit([job("a")]), scheduler.submit([job(InputError("bad"))]), return_exceptions=True
        )
        assert found[0] == ["<a>"]
        assert isinstance(found[1], InputError)

    asyncio.run(main())


def test_a_failing_batch_is_told_to_its_callers_and_the_next_runs() -> None:
    async def main() -> None:
        calls = []

        async def run(group: Any, payloads: Sequence[Any]) -> list[Any]:
            calls.append(payloads)
            if len(calls) == 1:
                raise RuntimeError("lost")
            return list(payloads)

        scheduler = Scheduler(run)
        with pytest.raises(RuntimeError, match="lost"):
            await scheduler.submit([job("a"), job("b")])
        assert await scheduler.submit([job("c")]) == ["c"]
        assert scheduler.running == 0

    asyncio.run(main())


def test_one_origin_is_answered_in_its_order_whatever_ran_first() -> None:
    async def main() -> None:
        gates = {"slow": asyncio.Event(), "quick": asyncio.Event()}

        async def run(group: Any, payloads: Sequence[Any]) -> list[Any]:
            await gates[payloads[0]].wait()
            return list(payloads)

        scheduler = Scheduler(run, Limits(batch_work=8), lanes=3)
        done = []

        async def ask(name: str, origin: str) -> None:
            await scheduler.submit([job(name, origin=origin)])
            done.append((name, origin))

        tasks = [asyncio.ensure_future(ask(*each)) for each in [("slow", "a"), ("quick", "a"), ("quick", "b")]]
        await turns()
        gates["quick"].set()
        await turns(10)
        assert done == [("quick", "b")]
        gates["slow"].set()
        await asyncio.gather(*tasks)
        assert done == [("quick", "b"), ("slow", "a"), ("quick", "a")]
        assert scheduler._origins == {}

    asyncio.run(main())


def test_an_abandoned_job_holds_up_no_other_of_its_origin() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane)
        first = await occupied(lane, scheduler)
        left = asyncio.ensure_future(scheduler.submit([job("left", origin="a")]))
        kept = asyncio.ensure_future(scheduler.submit([job("kept", origin="a")]))
        await turns()
        left.cancel()
        lane.gate.set()
        assert await kept == ["<kept>"]
        await first

    asyncio.run(main())


def test_draining_finishes_what_was_admitted_and_admits_nothing() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane)
        first = await occupied(lane, scheduler)
        second = asyncio.ensure_future(scheduler.submit([job("second")]))
        await turns()
        draining = asyncio.ensure_future(scheduler.drain(60))
        await turns()
        with pytest.raises(UnavailableError):
            await scheduler.submit([job("late")])
        lane.gate.set()
        assert await draining
        assert await asyncio.gather(first, second) == [["<first>"], ["<second>"]]

    asyncio.run(main())


def test_what_is_not_done_within_the_limit_is_told_so() -> None:
    async def main() -> None:
        lane = Lane()
        scheduler = Scheduler(lane)
        first = await occupied(lane, scheduler)
        second = asyncio.ensure_future(scheduler.submit([job("second")]))
        await turns()
        assert not await scheduler.drain(0.01)
        found = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(each) for each in found] == [UnavailableError] * 2

    asyncio.run(main())


def test_a_watcher_is_told_of_batches_and_rejections() -> None:
    class Seen(list[Any]):
        def batch(self, jobs: int, work: int, waited: Sequence[float]) -> None:
            self.append((jobs, work, len(waited)))

        def rejected(self, reason: str) -> None:
            self.append(reason)

    async def main() -> None:
        seen = Seen()
        scheduler = Scheduler(Lane(opened=True), Limits(request_work=30), watcher=seen)
        await scheduler.submit([job("a", work=10), job("b", work=20)])
        with pytest.raises(TooLargeError):
            await scheduler.submit([job("c", work=31)])
        await scheduler.drain(1)
        with pytest.raises(UnavailableError):
            await scheduler.submit([job("d")])
        assert seen == [(2, 30, 2), "large", "draining"]

    asyncio.run(main())
