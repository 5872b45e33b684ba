"""Keys: what the file holds, who is let in, and how often."""

import json

import pytest

from umbel.errors import AccessError, BusyError, InputError
from umbel.server import keys
from umbel.server.keys import Keyed, add_key, key_of, read_keys, remove_key


def scope(key="", query=b"", **headers):
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"headers": given + ([(b"authorization", f"Bearer {key}".encode())] if key else []), "query_string": query}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(keys, "time", clock)
    return clock


def test_the_file_holds_hashes_and_is_its_owners_alone(path):
    key = add_key(path, "shop", "admin", 10, 100)
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    (entry,) = read_keys(path)
    assert (entry.name, entry.role, entry.per_minute, entry.tokens_per_day) == ("shop", "admin", 10, 100)
    assert add_key(path, "other") != key


def test_a_name_is_taken_once_and_removed_once(path):
    add_key(path, "shop")
    with pytest.raises(InputError, match="there is a key called shop"):
        add_key(path, "shop")
    remove_key(path, "shop")
    assert read_keys(path) == []
    with pytest.raises(InputError, match="no key called shop"):
        remove_key(path, "shop")


@pytest.mark.parametrize("content", ["", "{}", '[{"name": "a"}]', '[{"name": "a", "sha256": "b", "role": "owner"}]'])
def test_a_file_that_is_none_is_told(path, content):
    path.write_text(content)
    with pytest.raises(InputError, match=r"keys\.json"):
        read_keys(path)


def test_who_has_a_key_is_let_in_by_any_header(path):
    key = add_key(path, "shop", "use")
    access = Keyed(path)
    for each in (scope(key), scope(x_api_key=key), scope(api_key=key), scope(query=f"a=b&key={key}".encode())):
        caller = access.admit(each)
        assert (caller.name, caller.role) == ("shop", "use")


@pytest.mark.parametrize(
    "each", [scope(), scope("umbel_wrong"), scope(authorization="Basic abc"), scope(query=b"key=")]
)
def test_who_has_none_is_not(path, each):
    add_key(path, "shop")
    with pytest.raises(AccessError) as raised:
        Keyed(path).admit(each)
    assert not raised.value.known


def test_a_file_without_keys_serves_nobody(path):
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no key"):
        Keyed(path)


def test_requests_a_minute_are_bounded_and_come_back(path, clock):
    key = add_key(path, "shop", per_minute=3)
    access = Keyed(path)
    for _ in range(3):
        access.admit(scope(key))
    with pytest.raises(BusyError) as raised:
        access.admit(scope(key))
    assert raised.value.retry_after == pytest.approx(20)
    clock.now += 20
    access.admit(scope(key))
    with pytest.raises(BusyError):
        access.admit(scope(key))


def test_the_file_is_read_again_when_it_changes(path, clock):
    first = add_key(path, "shop")
    access = Keyed(path)
    second = add_key(path, "other")
    clock.now += 2
    assert access.admit(scope(second)).name == "other"
    remove_key(path, "shop")
    clock.now += 2
    with pytest.raises(AccessError):
        access.admit(scope(first))
    path.write_text("broken")
    clock.now += 2
    assert access.admit(scope(second)).name == "other"


def test_what_a_key_has_used_outlasts_a_change_of_others(path, clock):
    key = add_key(path, "shop", per_minute=1)
    access = Keyed(path)
    access.admit(scope(key))
    add_key(path, "other")
    clock.now += 2
    with pytest.raises(BusyError):
        access.admit(scope(key))


def test_a_quota_is_of_a_day(path, clock):
    key = add_key(path, "shop", tokens_per_day=100)
    access = Keyed(path)
    charge = access.admit(scope(key)).charge
    charge(60)
    with pytest.raises(BusyError, match="60 of 100 tokens a day are used, this takes 50") as raised:
        charge(50)
    assert raised.value.retry_after == pytest.approx(keys.DAY - 1000)
    charge(40)
    clock.now += keys.DAY
    charge(100)


def test_a_key_in_a_header_goes_before_one_in_the_address():
    assert key_of(scope("a", b"key=b")) == "a"
    assert key_of({"headers": [], "query_string": b"monkey=b"}) == ""


def test_no_key_is_in_the_listed_entries(path):
    add_key(path, "shop")
    assert set(json.loads(path.read_text())[0]) == {"name", "sha256", "role", "per_minute", "tokens_per_day", "created"}
