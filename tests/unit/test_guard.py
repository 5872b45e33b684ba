"""The guard around routes that are made up: bodies, hanging up, time, headers, errors."""

import asyncio

import orjson
import pytest
from fastapi import APIRouter

from umbel.errors import InputError
from umbel.server.access import Open
from umbel.server.guard import KEY, Guard
from umbel.server.keys import Keyed, add_key
from umbel.server.protocols import Protocol
from umbel.server.settings import Settings

HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]


class Exchange:
    """One request to an application: what it receives, and what it sent."""

    def __init__(self, app, messages=(), headers=HEADERS, **settings):
        self.seen, self.sent = [], []
        self.guard = Guard(app, Settings(**settings), Open(), recorders=[self])
        self.scope = {"type": "http", "method": "POST", "path": "/v1/x", "query_string": b"", "headers": headers}
        self.messages = list(messages) or [{"type": "http.request", "body": b"{}"}]
        self.gone = asyncio.Event()

    def request(self, seen, route, seconds):
        self.seen.append(seen)

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    async def run(self):
        await self.guard(self.scope, self.receive, self.send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])

    @property
    def error(self):
        return orjson.loads(self.sent[1]["body"])["error"]


async def echo(scope, receive, send):
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def run(app, *arguments, **settings):
    async def main():
        return await Exchange(app, *arguments, **settings).run()

    return asyncio.run(main())


def parts(*bodies):
    last = len(bodies) - 1
    return [{"type": "http.request", "body": b, "more_body": place < last} for place, b in enumerate(bodies)]


def test_a_body_in_parts_is_one():
    done = run(echo, parts(b"a", b"", b"bc"))
    assert done.sent[1]["body"] == b"abc"
    assert (done.seen[0].received, done.seen[0].sent, done.seen[0].status) == (3, 3, 200)


def test_safe_headers_are_on_every_answer_and_a_routes_own_stand():
    async def own(scope, receive, send):
        policy = (b"content-security-policy", b"default-src 'self'")
        await send({"type": "http.response.start", "status": 200, "headers": [policy]})
        await send({"type": "http.response.body"})

    assert run(echo).headers[b"x-content-type-options"] == b"nosniff"
    assert run(own).headers[b"content-security-policy"] == b"default-src 'self'"
    assert len(run(own).headers[b"x-request-id"]) == 16


def test_a_body_is_refused_by_what_it_says_and_by_what_it_is():
    announced = run(echo, headers=[*HEADERS, (b"content-length", b"11")], body_bytes=10)
    sent = run(echo, parts(b"12345", b"678901", b"2"), body_bytes=10)
    for done in (announced, sent):
        assert (done.status, done.error["code"]) == (413, "too_large")


def test_a_body_that_does_not_come_is_not_waited_for():
    waiting = [{"type": "http.request", "body": b"a", "more_body": True}]
    done = run(echo, waiting, body_seconds=0.01)
    assert (done.status, done.error["code"]) == (503, "timeout")
    assert done.headers[b"connection"] == b"close"


def test_an_answer_that_takes_too_long_is_given_up():
    async def slow(scope, receive, send):
        await asyncio.sleep(60)

    done = run(slow, request_seconds=0.01)
    assert (done.status, done.error["code"]) == (503, "timeout")


def test_a_route_is_cancelled_when_its_client_hangs_up():
    ended = []

    async def main():
        started = asyncio.Event()

        async def slow(scope, receive, send):
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        exchange = Exchange(slow)
        running = asyncio.ensure_future(exchange.run())
        await started.wait()
        exchange.gone.set()
        await running
        return exchange

    done = asyncio.run(main())
    assert ended == [True]
    assert (done.sent, done.seen[0].status, done.seen[0].gone) == ([], 499, True)


def test_hanging_up_before_the_body_ends_is_no_fault():
    done = run(echo, [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}])
    assert (done.sent, done.seen[0].status) == ([], 499)


def test_the_servers_end_is_not_taken_for_the_clients():
    async def main():
        async def slow(scope, receive, send):
            await asyncio.sleep(60)

        running = asyncio.ensure_future(Exchange(slow).run())
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_errors_are_answers_and_those_not_meant_are_told_without_their_words(caplog):
    async def wrong(scope, receive, send):
        raise InputError("it is wrong", "mend it", field="texts[1]")

    async def broken(scope, receive, send):
        raise RuntimeError("of an inner secret")

    told = run(wrong)
    assert (told.status, told.error["field"], told.error["hint"]) == (422, "texts[1]", "mend it")
    hidden = run(broken)
    assert (hidden.status, hidden.error["code"]) == (500, "internal")
    assert "secret" not in hidden.sent[1]["body"].decode()
    assert f"request {hidden.seen[0].id} failed" in caplog.text


def test_a_fault_in_the_middle_of_an_answer_ends_the_connection():
    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    with pytest.raises(RuntimeError, match="too late"):
        run(broken)


def test_what_is_no_request_passes():
    async def app(scope, receive, send):
        await send(scope["type"])

    async def main():
        exchange = Exchange(app)
        exchange.scope = {"type": "lifespan"}
        return (await exchange.run()).sent

    assert asyncio.run(main()) == ["lifespan"]


@pytest.mark.parametrize(
    ("query", "left"),
    [(b"key=a", b""), (b"a=b&key=c&d=e", b"a=b&d=e"), (b"monkey=b", b"monkey=b"), (b"key=a&key=b&c=d", b"c=d")],
)
def test_a_key_is_taken_out_of_the_address(query, left):
    assert KEY.sub(b"", query) == left


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/studio", 200), ("/studio/main.js", 200), ("/v1/x", 401), ("/x", 401), ("//", 401)],
)
def test_public_paths_need_no_key_and_the_root_opens_itself_alone(path, status, tmp_path):
    exchange = Exchange(echo)
    add_key(tmp_path / "keys.json", "shop")
    page = Protocol(APIRouter(), public=("/", "/studio"))
    exchange.guard = Guard(echo, Settings(), Keyed(tmp_path / "keys.json"), [page])
    exchange.scope["path"] = path
    assert asyncio.run(exchange.run()).status == status
