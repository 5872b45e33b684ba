"""Items gathered into lists, from sources of every pace."""

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel import gather
from umbel.gather import as_they_come, by_pace

LONG = 60.0  # seconds; nothing here takes so long, even on a busy machine


@pytest.mark.parametrize("gathered", [by_pace, as_they_come])
@given(count=st.integers(0, 300), most=st.integers(1, 64))
def test_every_item_is_yielded_once_in_order_in_lists_that_are_not_too_long(gathered, count, most):
    lists = list(gathered(range(count), most))
    assert [item for some in lists for item in some] == list(range(count))
    assert all(1 <= len(some) <= most for some in lists)


def test_quick_items_are_gathered_into_full_lists(monkeypatch):
    monkeypatch.setattr(gather, "PATIENCE", LONG)
    assert [len(some) for some in by_pace(range(100), 16)] == [1, 2, 4, 8, 16, 16, 16, 16, 16, 5]
    assert [len(some) for some in as_they_come(range(100), 16)] == [16] * 6 + [4]


class Clock:
    """A clock that goes on only when it is told to."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(gather, "time", clock)
    return clock


def test_the_time_between_two_lists_makes_no_item_slow(clock):
    sizes = []
    for some in by_pace(range(15), 16):
        sizes.append(len(some))
        clock.now += 2 * gather.PATIENCE  # the reader's own work
    assert sizes == [1, 2, 4, 8]


def test_slow_items_come_one_by_one(clock):
    def slow():
        for number in range(4):
            clock.now += 2 * gather.PATIENCE
            yield number

    assert [*by_pace(slow(), 256)] == [[0], [1], [2], [3]]


def test_an_item_that_has_come_does_not_wait_for_the_next():
    taken = [threading.Event() for _ in range(3)]

    def slow():
        for number, event in enumerate(taken):
            yield number
            assert event.wait(LONG)  # the next comes only when this one was given on

    found = []
    for some in as_they_come(slow(), 256):
        found.append(some)
        for number in some:
            taken[number].set()
    assert found == [[0], [1], [2]]


def test_what_came_of_a_pipe_waits_for_no_more():
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as lines, open(writing, "w", encoding="utf-8") as pipe:
        gathered = as_they_come(lines, 256)
        for burst in (["a\n", "b\n", "c\n"], ["d\n"]):  # the pipe stays open
            pipe.writelines(burst)
            pipe.flush()
            found = []
            while len(found) < len(burst):
                found += next(gathered)
            assert found == burst
        pipe.close()
        assert list(gathered) == []


def test_items_are_drawn_no_further_ahead_than_a_list():
    drawn = []
    gathered = as_they_come((drawn.append(number) or number for number in range(1000)), 8)
    for _ in range(3):
        next(gathered)
    time.sleep(0.1)
    assert len(drawn) <= 3 * 8 + 8 + 1
    gathered.close()


def test_an_error_is_raised_after_the_items_before_it():
    def broken():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    gathered = as_they_come(broken(), 8)
    assert next(gathered) == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(gathered)


def test_a_closed_iterator_lets_its_thread_end():
    before = {*threading.enumerate()}
    gathered = as_they_come(iter(int, 1), 8)  # without end
    next(gathered)
    (own,) = {*threading.enumerate()} - before
    gathered.close()
    own.join(LONG)
    assert not own.is_alive()
