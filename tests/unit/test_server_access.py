"""Without keys: names of this machine, no pages of other sites, and never beyond it."""

import asyncio

import httpx2
import pytest

from umbel.errors import AccessError, InputError
from umbel.server.access import Caller, Open, need_admin
from umbel.server.app import create_app
from umbel.server.keys import Keyed, add_key
from umbel.server.service import Service
from umbel.server.settings import Settings
from umbel.workers import Threads


def scope(host=b"localhost", origin=b""):
    return {"headers": [(b"host", host)] + ([(b"origin", origin)] if origin else [])}


@pytest.mark.parametrize("host", [b"localhost", b"localhost:8000", b"127.0.0.1:80", b"[::1]:8000", b"my.name"])
def test_names_of_this_machine_are_answered(host):
    assert Open(hosts=["my.name"]).admit(scope(host)) == Caller()


@pytest.mark.parametrize("host", [b"", b"evil.example", b"localhost.evil.example", b"[::1", b"192.168.0.1"])
def test_other_names_are_not(host):
    with pytest.raises(AccessError) as raised:
        Open().admit(scope(host))
    assert raised.value.known


@pytest.mark.parametrize("origin", [b"http://localhost:8000", b"http://127.0.0.1", b"https://shop.example"])
def test_own_pages_and_those_allowed_may_call(origin):
    assert Open(cors=["https://shop.example"]).admit(scope(origin=origin)) == Caller()


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b"http://shop.example"])
def test_pages_of_other_sites_may_not(origin):
    with pytest.raises(AccessError, match="pages of other sites"):
        Open(cors=["https://shop.example"]).admit(scope(origin=origin))


def test_only_an_admin_changes_what_is_served():
    class Seen:
        caller = Caller("shop", "use")

    with pytest.raises(AccessError, match="may not change"):
        need_admin({"umbel": Seen})
    Seen.caller = Caller("boss", "admin")
    need_admin({"umbel": Seen})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_no_server_is_open_to_the_network_without_keys(host, tmp_path):
    with pytest.raises(InputError, match="would answer anyone"):
        Settings(host=host)
    assert Settings(host=host, keys=tmp_path / "keys.json").host == host


def test_with_keys_the_studio_opens_and_what_it_calls_does_not(tmp_path):
    add_key(tmp_path / "keys.json", "shop")
    app = create_app(Service(Threads()), Settings(), Keyed(tmp_path / "keys.json"))

    async def statuses():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop.example") as client:
            paths = ("/", "/studio/", "/studio/main.js", "/v1/packs", "/v1/models", "/openapi.json", "/metrics")
            return {path: (await client.get(path)).status_code for path in paths}

    found = asyncio.run(statuses())
    assert {path for path, status in found.items() if status == 401} == {
        *("/v1/packs", "/v1/models", "/openapi.json", "/metrics"),
    }
    assert (found["/"], found["/studio/"], found["/studio/main.js"]) == (307, 200, 200)
