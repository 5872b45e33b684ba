"""A writer elsewhere, against a small server that is well, slow, busy, gone, or talks nonsense."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from umbel.decoding import remote
from umbel.decoding.base import Limits, Message
from umbel.decoding.remote import RemoteWriter, remote_of
from umbel.errors import DecoderError, InputError, TimeLimitError

HELLO = [Message("user", "Hello")]
Answer = Callable[[BaseHTTPRequestHandler, int], None]


class Server:
    """Answers each request with what the test says; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Answer = lambda handler, count: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.asked[-1]["key"] = self.headers.get("Authorization")
                outer.answer(self, len(outer.asked))

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("UMBEL_API_KEY", raising=False)
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, kind: str = "application/json", status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def events(*texts: str, finish: str = "stop") -> bytes:
    chunks = [{"choices": [{"delta": {"content": text}, "finish_reason": None}]} for text in texts]
    chunks += [{"choices": [{"delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": {}}]
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


def well(handler: BaseHTTPRequestHandler, count: int) -> None:
    send(handler, events("Good ", "day", "！"), "text/event-stream")


def written(server: Server, limits: Limits = Limits(), texts: int = 1) -> Any:  # noqa: B008 - frozen
    stream = RemoteWriter(remote_of(f"{server.url}#tiny")).stream(HELLO, limits, texts)
    chunks = list(stream)
    return chunks, stream.written


def test_an_answer_is_streamed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = well
    monkeypatch.setenv("UMBEL_API_KEY", "secret")
    schema = {"type": "object"}
    chunks, texts = written(server, Limits(temperature=0.5, seed=7, stop=("END",), schema=schema), 2)
    assert [chunk.text for chunk in chunks] == ["Good ", "day", "！", ""] * 2
    assert [(text.text, text.finish) for text in texts] == [("Good day！", "end")] * 2
    first, second = server.asked
    assert (first["model"], first["key"], first["stop"]) == ("tiny", "Bearer secret", ["END"])
    assert first["response_format"]["json_schema"]["schema"] == schema
    assert (first["seed"], second["seed"]) == (7, 8)


def test_a_server_that_does_not_stream_will_do(server: Server) -> None:
    body = {"choices": [{"message": {"content": "Good day"}, "finish_reason": "length"}]}
    server.answer = lambda handler, count: send(handler, json.dumps(body).encode())
    assert [(text.text, text.finish) for text in written(server)[1]] == [("Good day", "length")]


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.answer = lambda handler, count: well(handler, count) if count == 3 else send(handler, b"busy", status=503)
    assert written(server)[1][0].text == "Good day！"
    assert len(server.asked) == 3


def test_one_that_stays_busy_is_told(server: Server) -> None:
    server.answer = lambda handler, count: send(handler, b"busy", status=503)
    with pytest.raises(DecoderError, match="answered 503 busy") as caught:
        written(server)
    assert caught.value.retry


def test_one_that_is_down_is_told(server: Server) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(DecoderError, match="cannot be reached"):
        written(server)


def test_a_slow_one_is_given_up(server: Server) -> None:
    server.answer = lambda handler, count: time.sleep(2)
    began = time.perf_counter()
    with pytest.raises(TimeLimitError, match="no answer in time"):
        written(server, Limits(seconds=0.3))
    assert time.perf_counter() - began < 1.9


def test_one_that_becomes_slow_gives_what_came(server: Server) -> None:
    def trickle(handler: BaseHTTPRequestHandler, count: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n')
            handler.wfile.flush()
            time.sleep(0.05)

    server.answer = trickle
    (text,) = written(server, Limits(seconds=2))[1]
    assert text.finish == "time"
    assert 0 < len(text.text) < 100


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>hello</html>", "text/html"),
        (b'{"choices": [{"message": {"content": 5}}]}', "application/json"),
        (b"[]", "application/json"),
        (b"data: nonsense\n\n", "text/event-stream"),
    ],
)
def test_nonsense_is_told(server: Server, body: bytes, kind: str) -> None:
    server.answer = lambda handler, count: send(handler, body, kind)
    with pytest.raises(DecoderError, match="not a chat completion"):
        written(server)


def test_a_stream_without_an_end_broke_off(server: Server) -> None:
    cut = events("Good ", "day")[: -len(b"data: [DONE]") - 100]
    assert b'finish_reason": "stop' not in cut
    server.answer = lambda handler, count: send(handler, cut, "text/event-stream")
    with pytest.raises(DecoderError, match="the answer broke off"):
        written(server)
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_a_line_that_never_ends_is_given_up_in_time(server: Server, kind: str) -> None:
    def drip(handler: BaseHTTPRequestHandler, count: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        with suppress(OSError):  # the other side hangs up
            for _ in range(200):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)

    server.answer = drip
    began = time.perf_counter()
    with pytest.raises(TimeLimitError, match="no answer in time"):
        written(server, Limits(seconds=1))
    assert time.perf_counter() - began < 8


def test_an_answer_beyond_all_size_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_BYTES", 1 << 20)
    server.answer = lambda handler, count: send(handler, b"data: " + b"x" * (2 << 20), "text/event-stream")
    with pytest.raises(DecoderError, match="more than 1 MB"):
        written(server)


def test_an_empty_answer_is_told(server: Server) -> None:
    server.answer = lambda handler, count: send(handler, events(" "), "text/event-stream")
    with pytest.raises(DecoderError, match="the answer is empty"):
        written(server)


def test_a_refusal_is_told_with_what_to_do(server: Server) -> None:
    server.answer = lambda handler, count: send(handler, b"no key", status=401)
    with pytest.raises(DecoderError, match="answered 401 no key") as caught:
        written(server)
    assert caught.value.hint == "set UMBEL_API_KEY"
    assert len(server.asked) == 1


def test_a_text_can_be_cancelled(server: Server) -> None:
    server.answer = well
    stream = RemoteWriter(remote_of(f"{server.url}#tiny")).stream(HELLO, Limits(), cancelled=lambda: True)
    assert [chunk.finish for chunk in stream] == [None, "cancelled"]


def test_an_address_without_a_model_is_told() -> None:
    with pytest.raises(InputError, match="names no model"):
        remote_of("http://127.0.0.1:1/v1")
    with pytest.raises(InputError, match="takes no adapter"):
        RemoteWriter(remote_of("http://127.0.0.1:1/v1#m")).stream(HELLO, Limits(), adapter="mine")
