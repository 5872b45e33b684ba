"""The log's lines and the figures for Prometheus, of requests that are made up."""

import json
import logging

import pytest

from umbel.host import Spent
from umbel.server.access import Caller
from umbel.server.guard import Seen
from umbel.server.logs import JsonLines, RequestLog
from umbel.server.metrics import Metrics


@pytest.fixture
def seen():
    return Seen("abc", "POST", "/v1/analyze", 0.0, Caller("shop"), 200, 12, 34, body=b'{"texts": ["secret"]}')


def test_a_request_is_a_line_without_its_words(seen, caplog):
    caplog.set_level(logging.INFO, "umbel.requests")
    RequestLog().request(seen, "/v1/analyze", 0.0123)
    (record,) = caplog.records
    line = json.loads(JsonLines().format(record))
    assert {name: line[name] for name in ("request_id", "key", "route", "status", "milliseconds")} == {
        "request_id": "abc",
        "key": "shop",
        "route": "/v1/analyze",
        "status": 200,
        "milliseconds": 12.3,
    }
    assert "secret" not in record.getMessage() + json.dumps(line)


def test_its_words_are_there_if_asked_for(seen, caplog):
    caplog.set_level(logging.INFO, "umbel.requests")
    RequestLog(texts=True).request(seen, "/v1/analyze", 0.01)
    assert "secret" in caplog.text


def test_what_machines_ask_is_quiet_unless_it_fails(seen, caplog):
    caplog.set_level(logging.INFO, "umbel.requests")
    RequestLog().request(seen, "/ready", 0.01)
    assert caplog.records == []
    seen.status = 503
    RequestLog().request(seen, "/ready", 0.01)
    assert len(caplog.records) == 1


def test_other_events_are_json_too():
    record = logging.LogRecord("umbel.x", logging.WARNING, "", 0, "worker %s died", (7,), None)
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["message"]) == ("warning", "worker 7 died")


def test_figures_are_counted(seen):
    metrics = Metrics()
    metrics.request(seen, "/v1/analyze", 0.01)
    metrics.request(seen, "", 0.01)  # a path that nobody serves
    metrics.batch(3, 100, [0.1, 0.2, 0.3])
    metrics.rejected("full")
    metrics.spent("base", Spent(encodings=2, tasks=6, questions=2, cache_hits=1, seconds_encoding=0.5), 3)

    def value(name, **labels):
        return metrics.registry.get_sample_value(name, labels)

    assert value("umbel_requests_total", route="/v1/analyze", method="POST", status="200") == 1
    assert value("umbel_requests_total", route="none", method="any", status="200") == 1
    assert (value("umbel_batch_jobs_sum"), value("umbel_queue_seconds_count")) == (3, 3)
    assert value("umbel_rejections_total", reason="full") == 1
    assert (value("umbel_encodings_total", pack="base"), value("umbel_tasks_total", pack="base")) == (2, 6)
    assert value("umbel_tasks_per_encoding_sum") == 4
    assert value("umbel_stage_seconds_total", stage="encoding") == 0.5
