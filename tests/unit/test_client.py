"""The client's patience, with answers that are made up; against a live server it is in tests/integration."""

import asyncio
from types import SimpleNamespace

import httpx2
import pytest

from umbel import client as module
from umbel.client import AsyncClient, Client
from umbel.errors import BusyError, UmbelError, UnavailableError


def good():
    return httpx2.Response(200, json={"packs": []})


def busy():
    return httpx2.Response(429, json={"error": {"message": "full"}}, headers={"retry-after": "7"})


def ending():
    return httpx2.Response(503, json={"error": {"message": "ends", "hint": "wait"}})


@pytest.fixture
def slept(monkeypatch):
    found = []

    async def sleep(seconds):
        found.append(seconds)

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=found.append))
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    return found


def made(answers, retries=3):
    left = iter(answers)
    client = Client(retries=retries)
    client._http.close()
    client._http = httpx2.Client(base_url="http://test", transport=httpx2.MockTransport(lambda request: next(left)()))
    return client


def test_it_waits_as_long_as_the_server_says(slept):
    with made([busy, ending, good]) as client:
        assert client.packs() == []
    assert slept == [7.0, 0.5]


def test_it_gives_up_after_some_tries(slept):
    with made([busy] * 3, retries=2) as client, pytest.raises(BusyError) as raised:
        client.packs()
    assert (raised.value.retry_after, len(slept)) == (7.0, 2)
    with made([ending], retries=0) as client, pytest.raises(UnavailableError, match="ends\n  wait"):
        client.packs()


@pytest.mark.parametrize("answer", [{"text": "<html>"}, {"json": {"detail": 1}}, {"json": [1]}])
def test_what_is_no_umbel_is_told(answer):
    with made([lambda: httpx2.Response(502, **answer)]) as client, pytest.raises(UmbelError, match="not as Umbel does"):
        client.packs()


def test_coroutines_wait_too(slept):
    async def main():
        left = iter([busy, good])
        async with AsyncClient() as client:
            await client._http.aclose()
            transport = httpx2.MockTransport(lambda request: next(left)())
            client._http = httpx2.AsyncClient(base_url="http://test", transport=transport)
            assert await client.packs() == []

    asyncio.run(main())
    assert slept == [7.0]
