"""What does a request cost in front of the runtime: guard, routes, JSON, scheduler?

    python bench/front.py [--pack base] [--requests 640] [--top 25] [--quick] [--write FILE]

Theory: against the 8 ms of the processor that reading a message of 32 tokens takes, a tenth of a millisecond is one
per cent. The application is called as the web server calls it, 32 requests at once, without sockets; a host stands
behind it that gives answers made beforehand. `--top` lists where the time goes, by cProfile, which slows small
functions most.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import os
import pstats
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from _common import finish, machine, options_of
from _texts import SAMPLES, TOKENS32

import umbel
from umbel import workers
from umbel.answers import plain_answer
from umbel.host import Host, Spent
from umbel.inquiries import Inquiry, Reply
from umbel.server.app import create_app
from umbel.server.logs import RequestLog
from umbel.server.metrics import Metrics
from umbel.server.service import Service

TASKS, AT_ONCE = 12, 32


class Prepared(Host):
    """Answers every inquiry with the next reply that was made beforehand."""

    replies: Sequence[Any] = ()

    def load(self, key: str, folder: Path) -> None:
        """Load nothing."""

    def inquire(self, key: str, inquiries: Sequence[Inquiry]) -> tuple[list[Any], Spent]:
        """Return as many replies."""
        found = [self.replies[place % len(self.replies)] for place in range(len(inquiries))]
        return found, Spent(encodings=len(inquiries))


def scope_of(body: bytes) -> dict[str, Any]:
    """Return a request as a web server describes it."""
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/analyze",
        "raw_path": b"/v1/analyze",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
    }


async def request(app: Any, body: bytes) -> None:
    """Send one request, and wait for the end of its answer."""
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    never = asyncio.Event()
    answered = []

    async def receive() -> dict[str, Any]:
        if not parts:
            await never.wait()
        return parts.pop()

    async def send(message: dict[str, Any]) -> None:
        answered.append(message)

    await app(scope_of(body), receive, send)
    assert answered[0]["status"] == 200, answered


async def measured(pack: str, tasks: Sequence[str], requests: int, rounds: int, top: int) -> list[float]:
    """Return the processor's microseconds for a request, one a round."""
    metrics = Metrics()
    service = Service(workers.Threads(1), meter=metrics)
    await service.start({"base": pack})
    app = create_app(service, recorders=[metrics, RequestLog()])
    body = json.dumps({"texts": [TOKENS32[1]], "tasks": list(tasks)}).encode()

    async def load() -> None:
        for _ in range(max(requests // AT_ONCE, 1)):
            await asyncio.gather(*(request(app, body) for _ in range(AT_ONCE)))

    await load()
    gc.collect()
    gc.freeze()  # as the server does
    found = []
    for _ in range(rounds):
        began = time.process_time()
        await load()
        found.append(1e6 * (time.process_time() - began) / (max(requests // AT_ONCE, 1) * AT_ONCE))
    if top:
        with cProfile.Profile() as profile:
            await load()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumtime").print_stats(top)
    await service.close(1)
    return found


def main() -> None:
    """Measure and print."""
    more = (
        ("--pack", {"default": "base", "help": "a shipped pack or a folder"}),
        ("--requests", {"type": int, "default": 640, "help": "of a round"}),
        ("--top", {"type": int, "default": 0, "metavar": "N", "help": "list so many functions"}),
    )
    options = options_of(__doc__, *more)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    model = umbel.load(options.pack, threads=options.threads)
    trained = [name for name, task in model.tasks.items() if task.kind not in ("feature-extraction", "asked")]
    tasks = list(dict.fromkeys(trained[place * len(trained) // TASKS] for place in range(TASKS)))
    replies = model.inquire([Inquiry(text, tasks) for text in SAMPLES])
    Prepared.replies = replies
    workers.Host = Prepared  # type: ignore[misc]
    requests = AT_ONCE if options.quick else options.requests
    found = uvloop.run(measured(options.pack, tasks, requests, options.rounds, options.top))
    began = time.process_time()
    for reply in replies:
        assert isinstance(reply, Reply)
        for prediction in reply.result.values():
            plain_answer(prediction)
    plain = 1e6 * (time.process_time() - began) / len(replies)
    figures = {"front_us": round(statistics.median(found)), "plain_answers_us": round(plain), "tasks": len(tasks)}
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
