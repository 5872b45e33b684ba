"""How a server is set: everything that `umbel serve` can say, except the packs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from umbel.errors import InputError
from umbel.scheduler import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MEGABYTE = 1 << 20
WRITING = Limits(queue_work=16 * 1024, queue_seconds=30.0, request_work=64 * 1024, budget=0.0, first_pace=100.0)


@dataclass(frozen=True)
class Settings:
    """Seconds and bytes are limits: `body_seconds` for a body to arrive, `request_seconds` for an answer to begin.

    `limits` are of what is answered, `writing` of what is written; `decoders` are what writes, by name.
    `cors` are origins of other sites whose pages may call; `hosts` are names under which the server may be called
    besides its own.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 0
    keys: Path | None = None
    indexes: dict[str, Path] = field(default_factory=dict)
    taught: Path = Path("taught")
    cors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    body_bytes: int = 4 * MEGABYTE
    body_seconds: float = 20.0
    request_seconds: float = 60.0
    idle_seconds: float = 30.0
    drain_seconds: float = 20.0
    limits: Limits = field(default_factory=Limits)
    decoders: dict[str, str] = field(default_factory=dict)
    writing: Limits = WRITING
    log_format: str = "text"
    log_texts: bool = False
    trace: bool = False
    perspective: Path | None = None

    def __post_init__(self) -> None:
        """Refuse to be open to the network without keys.

        Raises:
            InputError: it would be.
        """
        if self.host not in LOOPBACK and self.keys is None:
            raise InputError(
                f"the server would answer anyone who reaches {self.host}",
                "make a key: umbel keys add keys.json NAME, and serve with --keys keys.json; or bind to 127.0.0.1",
            )
