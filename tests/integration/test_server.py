"""The server as users run it: `umbel serve` over tiny packs, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.answers import plain_answer
from umbel.retrieval import Document, Index

TEXTS = ["good to Paris", "bad", "这 good bad to to Paris good", "unheard words here", "good " * 30]
QUESTIONS = [
    {"kind": "choice", "question": "Which team?", "options": ["billing", {"name": "technical", "description": "help"}]},
    {"kind": "predicate", "statement": "It is good"},
    {"kind": "score", "question": "How good?", "levels": ["bad", "good"]},
    {"kind": "extract", "question": "Where to?", "must_answer": True},
    {"kind": "mentions", "types": ["place"]},
]
BLANK = {"kind": "predicate", "statement": " "}
NO_JSON = [b'{"texts": ["', b"\xff\xfe", b'{"texts": ["\xed\xa0\x80"]}', b'{"texts": ["\\ud800"]}']


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("server")
    backbone = write_tiny_backbone(folder / "backbone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        for number in range(3):
            write_tiny_pack(folder / f"tiny{number}", backbone, f"0.{number}.0", seed=number, branches=True)
        with Index.create(folder / "docs.index", umbel.load(folder / "tiny0"), tokens=32) as index:
            index.add([Document("good to Paris", "a"), Document("bad bad", "b")])
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    packs = ["one=tiny0", "two=tiny1"]
    with live_server(folder, *packs, "--index", "docs=docs.index", "--workers", "1", "--threads", "1") as found:
        yield found


@pytest.fixture
def own(folder: Path) -> Iterator[Live]:
    """A server that a test may harm."""
    with live_server(folder, "one=tiny0", "--threads", "1", "--log-format", "json") as found:
        yield found


def test_answers_are_those_of_the_library(live: Live, folder: Path) -> None:
    model = umbel.load(folder / "tiny0", threads=1)
    tasks = ["sentiment", "topics", "urgency", "entities"]
    found = live.post("/v1/analyze", {"texts": TEXTS}).json()
    assert (found["pack"], found["version"]) == ("one", "0.0.0")
    for text, result in zip(TEXTS, found["results"], strict=True):
        expected = {task: plain_answer(each) for task, each in model(text, tasks).items()}
        assert result["answers"] == json.loads(json.dumps(expected))


def test_questions_are_answered_with_tasks_from_one_encoding(live: Live) -> None:
    def encodings() -> float:
        lines = live.get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith('umbel_encodings_total{pack="one"}'))

    before = encodings()
    body = {"text": "good to Paris bad", "questions": QUESTIONS, "tasks": ["sentiment"]}
    found = live.post("/v1/ask", body).json()
    assert encodings() - before == 1
    assert [each["kind"] for each in found["answers"]] == [each["kind"] for each in QUESTIONS]
    assert list(found["tasks"]) == ["sentiment"]
    again = live.post("/v1/ask", {**body, "questions": QUESTIONS[::-1]}).json()
    assert again["answers"] == found["answers"][::-1]
    assert encodings() - before == 1  # it was kept


def test_a_document_answers(live: Live) -> None:
    body = {"document": "good to Paris", "questions": ["Where to?"], "must_answer": True}
    (found,) = live.post("/v1/answer", body).json()["answers"]
    assert "good to Paris"[found["start"] : found["end"]] == found["answer"]


def test_search_finds(live: Live) -> None:
    hits = live.post("/v1/search", {"index": "docs", "query": "good Paris", "by": "words"}).json()["hits"]
    assert hits[0]["source"] == "a"
    assert live.post("/v1/search", {"index": "doks", "query": "good"}).status_code == 404


def test_packs_and_tasks_are_listed(live: Live) -> None:
    packs = live.get("/v1/packs").json()["packs"]
    assert [(pack["name"], pack["default"]) for pack in packs][:2] == [("one", True), ("two", False)]
    assert live.get("/v1/packs/two").json()["version"] == "0.1.0"
    tasks = live.get("/v1/tasks", params={"pack": "two"}).json()["tasks"]
    assert tasks[0]["labels"] == ["bad", "good"]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/analyze", {"texts": ["good", " "]}, 422, "texts[1]"),
        ("/v1/analyze", {"texts": []}, 422, "texts"),
        ("/v1/analyze", {"texts": ["good"], "tasks": ["sentiment", "sentimant"]}, 422, "tasks[1]"),
        ("/v1/analyze", {"texts": ["good"], "tops": 3}, 422, "tops"),
        ("/v1/analyze", {"texts": [7]}, 422, "texts[0]"),
        ("/v1/analyze", ["good"], 422, "body"),
        ("/v1/analyze", {"texts": ["good"], "pack": "three"}, 404, None),
        ("/v1/ask", {"text": "good", "questions": [{"kind": "choice", "question": "?", "options": ["a"]}]}, 422, None),
        (
            "/v1/ask",
            {"text": "good", "questions": [QUESTIONS[1], {"kind": "predicate", "statement": " "}]},
            422,
            "questions[1]",
        ),
        ("/v1/teach", {"task": "mood"}, 422, "body"),
        ("/v1/nothing", {}, 404, None),
    ],
)
def test_what_is_wrong_is_told_by_field(live: Live, path: str, body: object, status: int, field: str | None) -> None:
    response = live.post(path, body)
    error = response.json()["error"]
    assert (response.status_code, error["request_id"]) == (status, response.headers["x-request-id"])
    if field:
        assert error["field"] == field
    assert error["message"]


@pytest.mark.parametrize(
    "body", [b'{"texts": ["', b"\xff\xfe", b'{"texts": ["\xed\xa0\x80"]}', b'{"texts": ["\\ud800"]}']
)
def test_what_is_no_json_is_told(live: Live, body: bytes) -> None:
    response = httpx2.post(f"{live.url}/v1/analyze", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "json")


def test_a_request_id_is_taken_over_if_it_is_one(live: Live) -> None:
    assert live.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert live.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"


def test_callers_are_answered_together_each_with_its_own(live: Live, folder: Path) -> None:
    model = umbel.load(folder / "tiny0", threads=1)
    expected = {text: plain_answer(model(text, ["sentiment"])["sentiment"]) for text in TEXTS}
    with live.client() as client, ThreadPoolExecutor(16) as pool:
        wanted = TEXTS * 20
        answers = pool.map(
            lambda text: client.post("/v1/analyze", json={"texts": [text], "tasks": ["sentiment"]}), wanted
        )
        for text, answer in zip(wanted, answers, strict=True):
            assert answer.json()["results"][0]["answers"]["sentiment"] == json.loads(json.dumps(expected[text]))


def test_a_pack_is_swapped_under_load_and_no_request_is_dropped(live: Live, folder: Path) -> None:
    stop, statuses, versions = threading.Event(), [], set()

    def load() -> None:
        with live.client() as client:
            while not stop.is_set():
                response = client.post("/v1/analyze", json={"texts": ["good to Paris"], "pack": "swapped"})
                statuses.append(response.status_code)
                versions.add(response.json().get("version"))

    def put(number: int) -> httpx2.Response:
        return live.send("PUT", "/v1/packs/swapped", json={"source": str(folder / f"tiny{number}")})

    assert put(0).status_code == 200
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in (1, 2, 0, 1):
        assert put(number).json()["version"] == f"0.{number}.0"
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert {"0.0.0", "0.1.0"} <= versions
    assert live.send("DELETE", "/v1/packs/swapped").status_code == 200
    assert live.post("/v1/analyze", {"texts": ["good"], "pack": "swapped"}).status_code == 404


def test_a_pack_that_is_not_there_leaves_all_as_it_was(live: Live) -> None:
    response = live.send("PUT", "/v1/packs/one", json={"source": "/nowhere"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "pack")
    assert live.post("/v1/analyze", {"texts": ["good"]}).status_code == 200


def test_a_task_is_taught_and_the_others_do_not_move(live: Live) -> None:
    before = live.post("/v1/analyze", {"texts": TEXTS, "pack": "two"}).json()["results"]
    examples = [{"text": "good", "label": "fine"}, {"text": "bad", "label": "sad"}] * 6
    found = live.post("/v1/teach", {"task": "mood", "examples": examples, "pack": "two", "name": "moody"}).json()
    assert (found["pack"], found["examples"]) == ("moody", 12)
    assert found["unchanged"]["answers"] > 0
    result = live.post("/v1/analyze", {"texts": ["good"], "tasks": ["mood"], "pack": "moody"}).json()["results"][0]
    assert result["answers"]["mood"]["label"] == "fine"
    old = [task for task in before[0]["answers"]]
    after = live.post("/v1/analyze", {"texts": TEXTS, "tasks": old, "pack": "moody"}).json()["results"]
    assert after == before


def test_pages_of_other_sites_and_other_names_are_turned_away(live: Live) -> None:
    body = {"texts": ["good"]}
    assert live.post("/v1/analyze", body, headers={"origin": "https://example.org"}).status_code == 403
    assert live.post("/v1/analyze", body, headers={"host": "rebound.example"}).status_code == 403
    assert live.post("/v1/analyze", body, headers={"origin": live.url}).status_code == 200


def test_the_routes_are_described_with_examples_that_work(live: Live) -> None:
    described = live.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path}"
    examples = described["components"]["schemas"]["AskRequest"]["examples"]
    assert live.post("/v1/ask", examples[0]).status_code == 200


def test_a_killed_worker_comes_back_and_no_request_fails(own: Live) -> None:
    stop, statuses = threading.Event(), []

    def load() -> None:
        with own.client() as client:
            while not stop.is_set():
                statuses.append(client.post("/v1/analyze", json={"texts": TEXTS}).status_code)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    (first,) = own.workers()
    os.kill(first, signal.SIGKILL)
    while not (heirs := [pid for pid in own.workers() if pid != first]):
        time.sleep(0.05)
    seen = len(statuses)
    while len(statuses) < seen + 10:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(heirs) == 1
    assert set(statuses) == {200}
    assert "umbel_worker_restarts 1.0" in own.get("/metrics").text


def test_sigterm_finishes_what_was_taken_and_ends_with_its_workers(own: Live) -> None:
    workers = own.workers()
    statuses = []

    def ask() -> None:
        statuses.append(own.post("/v1/analyze", {"texts": ["good " * 3000] * 20}).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    while "umbel_batches_running 0.0" in own.get("/metrics").text and asking.is_alive():
        time.sleep(0.01)
    assert own.terminate() == 0
    asking.join()
    assert statuses == [200]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_the_log_has_no_text_of_anyone(own: Live) -> None:
    own.post("/v1/analyze", {"texts": ["good secret"]}, headers={"x-request-id": "abc"})
    own.post("/v1/analyze", {"texts": ["good secret"], "tasks": ["nothing"]})
    own.terminate()
    lines = [json.loads(line) for line in own.log.read_text("utf-8").splitlines() if line.startswith("{")]
    (line,) = (line for line in lines if line.get("request_id") == "abc")
    assert (line["route"], line["status"], line["method"]) == ("/v1/analyze", 200, "POST")
    assert "secret" not in own.log.read_text("utf-8")


def test_it_is_refused_to_open_to_the_network_without_keys(folder: Path) -> None:
    refused = pytest.raises(AssertionError, match="would answer anyone who reaches")
    with refused, live_server(folder, "tiny0", "--host", "0.0.0.0"):
        pass


def test_sigterm_while_packs_are_loaded_ends_well(folder: Path) -> None:
    """However far the start has come once signals are heard: `umbel serve` has just said that it begins, or listens."""
    packs = [f"p{number}=tiny{number % 3}" for number in range(60)]
    for workers in ("0", "1"):
        for head_start in (0.0, 1.0):
            command = [sys.executable, "-m", "umbel", "serve", *packs, "--port", "0", "--threads", "1"]
            environment = os.environ | {"PYTHONPATH": str(Path(umbel.__file__).parents[1])}
            with (folder / "starting.log").open("wb") as log:
                process = subprocess.Popen(
                    [*command, "--workers", workers, "--drain", "10"], cwd=folder, stderr=log, env=environment
                )
                while not _listens(process.pid):
                    assert process.poll() is None
                    time.sleep(0.02)
                time.sleep(head_start)
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            said = (folder / "starting.log").read_text("utf-8")
            assert "served at" not in said, "it was ready before the signal: take more packs"
            assert "Traceback" not in said
            assert time.monotonic() - began < 30


def _listens(pid: int) -> bool:
    """Tell whether a process has a socket that listens."""
    sockets = set()
    for fd in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(fd))
    listening = [line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    return any(f"socket:[{inode}]" in sockets for inode in listening)
