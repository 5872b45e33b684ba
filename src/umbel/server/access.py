"""Who may ask: without keys whoever is on this machine, with keys whoever holds one.

Without keys the names in Host and Origin are checked, so that no page of another site can reach a server on its
reader's own machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from umbel.errors import AccessError
from umbel.server.settings import LOOPBACK

Role = Literal["use", "admin"]


@dataclass(frozen=True)
class Caller:
    """Who asks, for the log; what they may do; and what takes account of their work, if anything does."""

    name: str = ""
    role: Role = "admin"
    charge: Callable[[int], None] | None = None


class Access(Protocol):
    """Lets callers in."""

    def admit(self, scope: Mapping[str, Any]) -> Caller:
        """Return who asks, by the request's ASGI scope.

        Raises:
            AccessError: they may not.
            BusyError: they ask too often.
        """


class Open:
    """Access without keys: only under names of this machine, and from no page but its own."""

    def __init__(self, hosts: Sequence[str] = (), cors: Sequence[str] = ()) -> None:
        self._hosts = {*LOOPBACK, *hosts}
        self._cors = set(cors)

    def admit(self, scope: Mapping[str, Any]) -> Caller:
        """Return the nameless caller.

        Raises:
            AccessError: the request is for another name, or comes from another site's page.
        """
        headers = dict(scope["headers"])
        host = _name(f"//{headers.get(b'host', b'').decode('latin-1')}")
        if host not in self._hosts:
            raise AccessError(
                "without keys only requests to this machine's own names are answered", "call 127.0.0.1", known=True
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._cors and _name(origin) not in self._hosts:
            raise AccessError("without keys no pages of other sites are answered", "allow it with --cors", known=True)
        return Caller()


def need_admin(scope: Any) -> None:
    """Let only those on who may change what is served.

    Raises:
        AccessError: the request's key is for use alone.
    """
    if scope["umbel"].caller.role != "admin":
        raise AccessError("this key may not change what is served", "use one of role admin", known=True)


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
