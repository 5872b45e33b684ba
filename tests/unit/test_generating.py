"""What routes that write call, over a process that is made up: events, refusals, who writes, and being given up."""

import asyncio

import pytest

from umbel.decoding.base import Message
from umbel.errors import BusyError, ContextError, InputError, UnavailableError
from umbel.generation import Wanted
from umbel.pack import BackboneName, Manifest, TaskEntry
from umbel.scheduler import Limits
from umbel.server.generating import Generating, begun, for_flow, for_pack, outcome, tasks_that_write
from umbel.writings import Writing


class Made:
    """In place of the process: `say` are its events, then its outcome."""

    lanes = 1

    def __init__(self, say=(), result=(), error=None):
        self.say, self.result, self.error = say, list(result), error
        self.given_up = 0
        self.goes_on = asyncio.Event()

    async def call(self, method, *arguments, heard):
        for name, about in self.say:
            heard(name, about)
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.error:
            raise self.error
        return self.result

    async def close(self):
        pass


BEGUN, TOKEN = ("begun", {}), ("token", {"number": 0, "text": "Hello. "})
LIMITS = Limits(queue_work=100, queue_seconds=10, budget=0, first_pace=10)


def test_events_come_in_order_and_the_outcome_last():
    async def run():
        made = Made([BEGUN, TOKEN], ["done"])
        made.result = []
        made.goes_on.set()
        events = await begun(Generating(made, LIMITS).events("converse", (), 10))
        return [event async for event in events]

    assert asyncio.run(run()) == [TOKEN, ("result", [])]


def test_what_keeps_a_call_from_beginning_is_raised_before_it_begins():
    async def run():
        made = Made(error=ContextError("too long"))
        made.goes_on.set()
        await begun(Generating(made, LIMITS).events("converse", (), 10))

    with pytest.raises(ContextError):
        asyncio.run(run())


def test_who_listens_no_more_ends_the_call_and_frees_its_lane():
    async def run():
        made = Made([BEGUN, TOKEN])
        generating = Generating(made, LIMITS)
        events = await begun(generating.events("converse", (), 10))
        assert await anext(events) == TOKEN
        await events.aclose()
        await asyncio.sleep(0.01)
        assert (made.given_up, generating.scheduler.running) == (1, 0)
        made.goes_on.set()
        return await outcome(generating.events("converse", (), 10))

    assert asyncio.run(run()) == []


def test_a_call_that_waits_is_given_up_before_it_ran_and_too_many_are_refused():
    async def run():
        made = Made([BEGUN])
        generating = Generating(made, LIMITS)
        running = await begun(generating.events("converse", (), 90))
        waiting = asyncio.ensure_future(begun(generating.events("converse", (), 90)))
        await asyncio.sleep(0.01)
        assert (generating.scheduler.running, generating.scheduler.waiting) == (1, 1)
        with pytest.raises(BusyError) as refused:
            await begun(generating.events("converse", (), 90))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (generating.scheduler.waiting, made.given_up) == (0, 0)
        await running.aclose()
        assert await generating.close(5)
        with pytest.raises(UnavailableError):
            await begun(generating.events("converse", (), 1))
        return refused.value.retry_after

    assert asyncio.run(run()) == 9.0  # seconds, for 90 tokens at a pace of 10


def manifest(**tasks):
    backbone = BackboneName(name="tiny", sha256="0" * 64)
    return Manifest(name="tiny", version="1", licence="CC0-1.0", backbone=backbone, tasks=tasks)


WRITES = {"answer": TaskEntry(kind="text-generation", writing=Writing(decoder="one", max_tokens=50))}
SAID = (Message("user", "good"),)


def test_a_pack_writes_its_own_tasks_and_others_where_a_decoder_is_there():
    assert tasks_that_write(manifest(), {}) == []
    assert tasks_that_write(manifest(), {"one": "one"}) == ["reply", "summary", "plan", "free"]
    assert tasks_that_write(manifest(**WRITES), {}) == ["answer", "reply", "summary", "plan", "free"]
    for task in ("", "reply"):
        with pytest.raises(InputError, match="nothing writes here") as raised:
            for_pack(manifest(), Wanted(SAID, task), {})
        assert raised.value.field == "pack"
    with pytest.raises(InputError, match="did you mean 'answer'") as raised:
        for_pack(manifest(**WRITES), Wanted(SAID, "answr"), {})
    assert raised.value.field == "task"


def test_work_is_what_is_read_and_what_may_be_written():
    read = for_pack(manifest(**WRITES), Wanted(SAID, "answer"), {}) - 50
    assert 0 < read < 10
    assert for_pack(manifest(**WRITES), Wanted(SAID, "answer", 3, max_tokens=7), {}) == read + 21
    assert for_pack(manifest(**WRITES), Wanted(SAID), {}) == read + 512
    flowing = manifest(**WRITES).model_copy(update={"flow": {"steps": {}}})
    assert for_flow(flowing, "good") == read + 50
    for wrong, text in ((manifest(), "good"), (flowing, " ")):
        with pytest.raises(InputError):
            for_flow(wrong, text)
