"""Server-sent events: their form, an error in the middle, and a reader who is gone."""

import asyncio

import pytest

from umbel.errors import DecoderError
from umbel.server.faults import native_error
from umbel.server.guard import Seen
from umbel.server.streams import WAITING, EventStream, event


class Made:
    """Parts that are made up; tells whether they were ended."""

    def __init__(self, *parts, error=None):
        self.parts, self.error, self.ended = parts, error, False

    async def __call__(self):
        try:
            for part in self.parts:
                yield part
            if self.error:
                raise self.error
        finally:
            self.ended = True


async def sent(made, send=None):
    found = []

    async def keep(message):
        found.append(message)
        if send:
            await send(message)

    stream = EventStream(made(), lambda error: event(error, "error"), native_error)
    await stream({"umbel": Seen("abc", "POST", "/v1/generate", 0.0)}, None, keep)
    return found


def test_an_event_is_a_name_and_one_object():
    assert event({"text": "好\n"}, "token") == 'event: token\ndata: {"text":"好\\n"}\n\n'.encode()
    assert event({"a": 1}) == b'data: {"a":1}\n\n'


def test_parts_are_sent_as_they_are_and_an_error_ends_them():
    made = Made(event({"text": "a"}, "token"), WAITING, error=DecoderError("it broke", "mend it"))
    start, *parts, last = asyncio.run(sent(made))
    assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in dict(start["headers"])
    assert [part["body"] for part in parts[:2]] == [event({"text": "a"}, "token"), WAITING]
    assert parts[2]["body"] == (
        b'event: error\ndata: {"error":{"code":"decoder","message":"it broke","hint":"mend it","retry":true,'
        b'"request_id":"abc"}}\n\n'
    )
    assert last == {"type": "http.response.body", "body": b""}
    assert made.ended


def test_an_error_that_was_not_meant_is_told_without_its_words():
    parts = asyncio.run(sent(Made(error=RuntimeError("a secret"))))
    assert b"secret" not in parts[1]["body"]
    assert b'"code":"internal"' in parts[1]["body"]


def test_what_makes_the_parts_is_ended_when_its_reader_is_gone():
    made = Made(b"a", b"b", b"c")

    async def gone(message):
        if message.get("body") == b"b":
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(sent(made, gone))
    assert made.ended
