"""Traces of a live server, as a collector of OpenTelemetry's receives them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from live import live_server
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.server.keys import add_key


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_requests_answers_and_batches_are_traced_without_words_and_keys(
    tmp_path: Path, collector: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"))
    key = add_key(tmp_path / "keys.json", "shop")
    url, received = collector
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
    arguments = ["tiny", "--trace", "--workers", "0", "--threads", "1", "--keys", "keys.json"]
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with live_server(tmp_path, *arguments, environment=environment) as live:
        body = {"texts": ["good secret"], "tasks": ["sentiment"]}
        answer = live.post(f"/v1/analyze?key={key}&a=b", body, headers={"traceparent": parent})
        assert answer.status_code == 200
        live.get("/health")
        live.terminate()
    spans = [
        span
        for each in received
        for found in ExportTraceServiceRequest.FromString(each).resource_spans
        for scope in found.scope_spans
        for span in scope.spans
    ]
    by_name = {span.name: span for span in spans}
    request, answered, batch = (by_name[name] for name in ("POST /v1/analyze", "umbel.answer", "umbel.batch"))
    assert request.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert (answered.trace_id, answered.parent_span_id) == (request.trace_id, request.span_id)
    assert batch.trace_id != request.trace_id
    assert len(spans) == 3
    assert not any(secret in each for each in received for secret in (b"secret", key.encode()))
