"""Keys: a file of their hashes, and access by them, with limits of requests and work for each.

A key is 32 random bytes, so its SHA-256 cannot be turned back by trying; the key itself is shown once and kept nowhere.
What a key has used is counted by the running server, and begins anew with it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from umbel.errors import AccessError, BusyError, InputError
from umbel.server.access import Caller, Role

PREFIX = "umbel_"
MINUTE, DAY = 60.0, 86_400.0
LOOK_SECONDS = 1.0  # between two looks whether the file has changed
HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")  # besides `authorization: Bearer KEY`, as clients send it
HINT = "send authorization: Bearer KEY"


class KeyEntry(BaseModel):
    """A key as the file has it; limits of 0 are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sha256: str
    role: Role = "use"
    per_minute: Annotated[int, Field(ge=0)] = 0
    tokens_per_day: Annotated[int, Field(ge=0)] = 0
    created: str = ""


_ENTRIES = TypeAdapter(list[KeyEntry])


def read_keys(path: Path) -> list[KeyEntry]:
    """Return the keys of a file.

    Raises:
        InputError: it cannot be read or is not as it should be.
    """
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "make it with umbel keys add") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def add_key(path: Path, name: str, role: Role = "use", per_minute: int = 0, tokens_per_day: int = 0) -> str:
    """Add a key to a file, made if need be, and return the key, which nothing can tell again.

    Raises:
        InputError: the name is taken, or the file is not as it should be or cannot be written.
    """
    there = read_keys(path) if path.exists() else []
    if any(entry.name == name for entry in there):
        raise InputError(f"{path}: there is a key called {name}", "give another name, or remove that one first")
    key = PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = KeyEntry(
        name=name, sha256=_hash(key), role=role, per_minute=per_minute, tokens_per_day=tokens_per_day, created=now
    )
    _write(path, [*there, entry])
    return key


def remove_key(path: Path, name: str) -> None:
    """Take a key out of a file; a running server knows it no more a moment later.

    Raises:
        InputError: there is none of this name, or the file cannot be read or written.
    """
    there = read_keys(path)
    left = [entry for entry in there if entry.name != name]
    if len(left) == len(there):
        raise InputError(f"{path}: there is no key called {name}", f"there are {', '.join(e.name for e in there)}")
    _write(path, left)


def _write(path: Path, entries: list[KeyEntry]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_ENTRIES.dump_json(entries, indent=1) + b"\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


@dataclass
class _Account:
    """What a key has used: `bucket` are the requests it may still make at once, `tokens` those of `day`."""

    entry: KeyEntry
    bucket: float = 0.0
    filled: float = 0.0
    day: int = 0
    tokens: int = 0

    def request(self, now: float) -> None:
        """Count one request.

        Raises:
            BusyError: too many in a minute.
        """
        most = self.entry.per_minute
        if not most:
            return
        self.bucket = min(self.bucket + (now - self.filled) * most / MINUTE, most)
        self.filled = now
        if self.bucket < 1:
            wait = (1 - self.bucket) * MINUTE / most
            raise BusyError(f"more than {most} requests a minute", f"try again in {wait:.1f} s", wait)
        self.bucket -= 1

    def charge(self, work: int) -> None:
        """Count tokens of work.

        Raises:
            BusyError: too many in a day, by UTC.
        """
        today, left = divmod(time.time(), DAY)
        if int(today) != self.day:
            self.day, self.tokens = int(today), 0
        most = self.entry.tokens_per_day
        if most and self.tokens + work > most:
            found = f"{self.tokens} of {most} tokens a day are used, this takes {work}"
            raise BusyError(found, "try again tomorrow, or ask for a larger quota", DAY - left)
        self.tokens += work


@dataclass
class Keyed:
    """Access by the keys of a file, which is read again when it changes."""

    path: Path
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _looked: float = -LOOK_SECONDS
    _stamp: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Read the file.

        Raises:
            InputError: it cannot be read, or holds no key.
        """
        self._read()
        if not self._accounts:
            raise InputError(f"{self.path}: holds no key", "add one: umbel keys add FILE NAME")

    def admit(self, scope: Mapping[str, Any]) -> Caller:
        """Return who asks, by their key.

        Raises:
            AccessError: there is no key, or nobody has it.
            BusyError: they ask too often.
        """
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._look()
            self._looked = now
        key = key_of(scope)
        if not key:
            raise AccessError("a key is needed", HINT)
        account = self._accounts.get(_hash(key))
        if account is None:
            raise AccessError("this key is not known", HINT)
        account.request(now)
        return Caller(account.entry.name, account.entry.role, account.charge)

    def _look(self) -> None:
        """Read the file again if it has changed; what is not as it should be changes nothing."""
        try:
            found = self.path.stat()
            if (found.st_mtime_ns, found.st_ino) != self._stamp:
                self._read()
        except (OSError, InputError):
            return

    def _read(self) -> None:
        entries = read_keys(self.path)
        found = self.path.stat()
        self._stamp = (found.st_mtime_ns, found.st_ino)
        now, before = time.monotonic(), self._accounts
        self._accounts = {each.sha256: _Account(each, each.per_minute, now) for each in entries}
        for sha256, account in self._accounts.items():
            if sha256 in before and before[sha256].entry == account.entry:
                self._accounts[sha256] = before[sha256]


def key_of(scope: Mapping[str, Any]) -> str:
    """Return the key that a request brings, in a header or as `?key=`, or nothing."""
    headers = dict(scope["headers"])
    scheme, _, bearer = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return str(bearer.strip())
    for name in HEADERS:
        if name in headers:
            return bytes(headers[name]).decode("latin-1")
    query = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("key", [""])[0] if b"key=" in query else ""
