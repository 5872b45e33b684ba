"""A web server on this machine that serves bytes from memory and can break off, refuse, redirect or ignore ranges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer(ThreadingHTTPServer):
    """`cuts` and `statuses` are used up, one a request; `asked` lists what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges, self.lengths = True, True  # whether it knows ranges, and says how long files are
        self.shift = 0  # added to where a range starts, as a faulty server would
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def headers_of(self, path: str) -> list[dict[str, str]]:
        return [headers for asked, headers in self.asked if asked == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        if self.path in self.server.redirects:
            self._answer(302, b"", {"Location": self.server.redirects[self.path]})
        elif self.server.statuses:
            self._answer(self.server.statuses.pop(0), b"", {})
        elif self.path not in self.server.files:
            self._answer(404, b"", {})
        else:
            self._send(self.server.files[self.path])

    def _send(self, body: bytes) -> None:
        headers = {"Content-Type": self.server.kinds.get(self.path, "application/octet-stream")}
        wanted = self.headers.get("Range", "")
        if not (wanted and self.server.ranges):
            self._answer(200, body, headers)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.server.shift
        if start >= len(body):
            self._answer(416, b"", {})
            return
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._answer(206, body[start:], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts and body else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serve() -> Iterator[FileServer]:
    """Run a server for the length of the block."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
