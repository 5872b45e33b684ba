"""A client that loads a server, in a process of its own: prints what it saw as one line of JSON.

    python bench/_load.py '{"host": ..., "port": ..., "path": ..., "bodies": FILE, "seconds": 5, "connections": 64}'

Without `rate` each connection asks again as soon as it is answered; with it, requests leave at random times (Poisson)
at that rate, whatever the answers do, and wait for a connection where all are in use: that wait counts. `offered` is
the rate at which they were due, `sent` that at which they left; `answered` counts all answers, from the start on.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import httptools
import uvloop

LAST_SECONDS = 10.0  # for the answers to what was asked before the end


class Connection(asyncio.Protocol):
    """One request at a time over a connection that is kept."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.began = 0.0
        self.told_when = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.load.free(self)

    def ask(self, request: bytes, began: float) -> None:
        self.began = began
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.told_when |= name.lower() == b"retry-after"

    def on_message_complete(self) -> None:
        self.load.answered(self.parser.get_status_code(), time.perf_counter() - self.began, self.told_when)
        self.told_when = False
        self.parser = httptools.HttpResponseParser(self)
        self.load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost += 1


class Load:
    """Requests, and what became of them."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        head = f"POST {told['path']} HTTP/1.1\r\nhost: {told['host']}\r\ncontent-type: application/json\r\n"
        bodies = Path(told["bodies"]).read_bytes().splitlines()
        self.requests = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.next = 0
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []  # of what was answered with 200
        self.idle: deque[Connection] = deque()
        self.due: deque[float] = deque()
        self.lost = self.total = self.open = self.due_count = self.sent = self.untold = 0
        self.ended = False

    def free(self, connection: Connection) -> None:
        """Use a connection again, or keep it for later."""
        if self.ended:
            return
        if "rate" not in self.told:
            self._ask(connection, time.perf_counter())
        elif self.due:
            self._ask(connection, self.due.popleft())
        else:
            self.idle.append(connection)

    def _ask(self, connection: Connection, began: float) -> None:
        connection.ask(self.requests[self.next % len(self.requests)], began)
        self.next += 1
        self.sent += 1
        self.open += 1

    def answered(self, status: int, seconds: float, told_when: bool) -> None:
        """Count an answer; `told_when` is whether it says when to come again."""
        self.open -= 1
        self.statuses[status] += 1
        self.total += status == 200
        self.untold += status == 429 and not told_when
        if status == 200:
            self.seconds.append(seconds)

    async def run(self) -> dict[str, Any]:
        """Load the server, and return what was seen after the first fifth of the time."""
        loop = asyncio.get_running_loop()
        for _ in range(self.told["connections"]):
            await loop.create_connection(lambda: Connection(self), self.told["host"], self.told["port"])
        pace = asyncio.ensure_future(self._pace()) if "rate" in self.told else None
        await asyncio.sleep(self.told["seconds"] / 5)
        self.statuses.clear()
        self.seconds.clear()
        self.due_count = self.sent = 0
        began = time.perf_counter()
        await asyncio.sleep(self.told["seconds"])
        seen = self._seen(time.perf_counter() - began)
        self.ended = True
        if pace:
            pace.cancel()
        return seen | {"answered": await self._last_answers()}

    async def _last_answers(self) -> int:
        """Wait for what was asked, so that nobody works on it later, and return how many were answered in all."""
        until = time.perf_counter() + LAST_SECONDS
        while self.open and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        return self.total

    def _seen(self, taken: float) -> dict[str, Any]:
        seconds = sorted(self.seconds)
        shares = {f"p{share}": seconds[int(share / 100 * len(seconds))] if seconds else None for share in (50, 90, 99)}
        counts = {"lost": self.lost, "untold": self.untold}
        rates = {"per_second": len(seconds) / taken, "offered": self.due_count / taken, "sent": self.sent / taken}
        return rates | {"statuses": dict(self.statuses)} | counts | shares

    async def _pace(self) -> None:
        rate, due = self.told["rate"], time.perf_counter()
        while True:
            due += random.expovariate(rate)
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            self.due_count += 1
            if self.idle:
                self._ask(self.idle.popleft(), due)
            else:
                self.due.append(due)


async def main() -> None:
    """Load as told."""
    random.seed(0)
    print(json.dumps(await Load(json.loads(sys.argv[1])).run()))


if __name__ == "__main__":
    uvloop.run(main())
