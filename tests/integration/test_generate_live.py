"""The native routes that write, and flows, over HTTP: whole, event by event, checked before anything is shown."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, live_server
from tiny_decoder import CONTEXT, write_tiny_decoder
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.client import AsyncClient, Client
from umbel.decoding.base import Message
from umbel.errors import ContextError, InputError
from umbel.pack import Pack, TaskEntry
from umbel.packing import write_pack
from umbel.server.generate_schemas import StepEvent, TokenEvent
from umbel.writings import Writing

pytest.importorskip("xllamacpp")
KIND = "text-generation"
ANSWER = Writing(task="reply", decoder="tiny.gguf", check_language=False, max_tokens=60)
NEVER = ANSWER.model_copy(update={"moderation": ("sentiment=good", "sentiment=bad"), "fallback": {"*": "Soon."}})
FLOW = {
    "steps": {
        "read": {"tasks": "sentiment"},
        "long": {"when": "message.length > 1000", "reply": "That is long."},
        "draft": {"write": "answer", "when": "message.length > 3"},
        "checked": {"write": "never", "when": "draft.answered"},
        "broken": {"search": "missing.index", "fallback": None},
        "stands-in": {"write": "broken", "fallback": "Later, {message.text}"},
    }
}


def write_flowing(folder: Path, pack: Pack) -> None:
    """Write a pack again, with a flow."""
    flow = {name: {k: v for k, v in step.items() if v is not None} for name, step in FLOW["steps"].items()}
    heads = {name: pack.head(name) for name, entry in pack.manifest.tasks.items() if entry.head}
    manifest = pack.manifest.model_copy(update={"flow": {"steps": flow}, "name": "flowing"})
    write_pack(folder, manifest, heads, {}, branches=pack.branches())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("generate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_decoder(folder / "tiny.gguf")
        backbone = write_tiny_backbone(folder / "backbone")
        broken = ANSWER.model_copy(update={"decoder": "nothing.gguf"})
        writings = {"answer": ANSWER, "never": NEVER, "broken": broken}
        entries = {name: TaskEntry(kind=KIND, writing=each) for name, each in writings.items()}
        write_flowing(folder / "flowing", write_tiny_pack(folder / "writes", backbone, branches=True, **entries))
        write_tiny_pack(folder / "plain", backbone)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with live_server(folder, "flowing=flowing", "plain=plain", "--workers", "1", "--threads", "1") as found:
        yield found


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.url) as found:
        yield found


def events(live: Live, path: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return a stream's events, read as a browser reads them."""
    response = live.post(path, {**body, "stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = (line.partition(": ")[2] for line in block.split("\n"))
        found.append((name, json.loads(data)))
    return found


def test_a_text_is_the_same_whole_and_in_events(live: Live) -> None:
    body = {"task": "answer", "text": "good to Paris", "max_tokens": 40}
    whole = live.post("/v1/generate", body).json()
    assert (whole["pack"], whole["task"], whole["decoder"], whole["finish_reason"]) == (
        "flowing",
        "answer",
        "tiny",
        "length",
    )
    assert whole["usage"]["completion_tokens"] == 40
    assert whole["usage"]["prompt_tokens"] > 40
    assert (whole["flagged"], whole["flags"], whole["sources"]) == (False, [], [])
    *tokens, (last, result) = events(live, "/v1/generate", body)
    assert {name for name, _ in tokens} == {"token"}
    assert last == "result"
    assert "".join(token["text"] for _, token in tokens).strip() == result["text"] == whole["text"]
    assert all(set(token) == {"text"} for _, token in tokens)


def test_what_must_not_be_said_is_never_shown(live: Live) -> None:
    ((name, result),) = events(live, "/v1/generate", {"task": "never", "text": "good to Paris"})
    assert (name, result["text"], result["flagged"]) == ("result", "Soon.", True)
    assert result["checks"] == ["sentiment"]
    assert result["flags"][0].startswith("sentiment: ")


def test_a_conversation_goes_on_by_the_packs_decoder(live: Live) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    found = live.post("/v1/generate", {"messages": messages, "max_tokens": 20}).json()
    assert (found["task"], found["usage"]["completion_tokens"]) == (None, 20)
    long = [{"role": "user", "content": "word " * CONTEXT}]
    response = live.post("/v1/generate", {"messages": long, "stream": True})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, "context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "good", "task": "answr"}, "task"),
        ({"text": "good", "pack": "plain"}, "pack"),
        ({"text": " "}, "text"),
        ({"task": "answer"}, "body"),
        ({"text": "good", "messages": [{"role": "user", "content": "good"}]}, "body"),
        ({"messages": [{"role": "assistant", "content": "good"}]}, "body"),
        ({"text": "good", "temperature": 9}, "temperature"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(live: Live, body: dict[str, Any], field: str) -> None:
    response = live.post("/v1/generate", body)
    assert (response.status_code, response.json()["error"]["field"]) == (422, field)


def test_a_decoder_that_is_not_there_is_told(live: Live) -> None:
    response = live.post("/v1/generate", {"task": "broken", "text": "good"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "backbone")


def test_packs_say_what_they_write(live: Live) -> None:
    flowing, plain = live.get("/v1/packs").json()["packs"]
    assert flowing["writes"][:3] == ["answer", "never", "broken"]
    assert (flowing["flow"], plain["flow"], plain["writes"]) == (True, False, [])


def test_a_flow_tells_its_steps_as_they_run(live: Live) -> None:
    found = events(live, "/v1/flow", {"text": "good to Paris"})
    assert found[-1][0] == "result"
    result = found[-1][1]
    steps: dict[str, list[Any]] = {}
    for name, about in found[:-1]:
        if name == "step":
            steps.setdefault(about["name"], []).append(about)
    states = {name: [each["state"] for each in all_of] for name, all_of in steps.items()}
    assert states == {
        "read": ["running", "done"],
        "long": ["skipped"],
        "draft": ["running", "done"],
        "checked": ["running", "done"],
        "broken": ["running", "failed"],
        "stands-in": ["running", "fallback"],
    }
    assert steps["long"][0]["reason"] == "message.length is 13"
    assert steps["read"][1]["answer"]["sentiment"] == result["answers"]["sentiment"]
    assert steps["read"][1]["milliseconds"] >= 0
    assert "fallback" in steps["checked"][1]["reason"]
    assert "missing.index" in steps["broken"][1]["reason"]
    said = "".join(about["text"] for name, about in found if name == "token" and about["step"] == "draft")
    assert said.strip() == result["answers"]["draft"]["text"]
    assert not [about for name, about in found if name == "token" and about["step"] != "draft"]
    whole = live.post("/v1/flow", {"text": "good to Paris"}).json()
    assert whole["answers"] == result["answers"]
    assert [step["name"] for step in whole["steps"]] == list(steps)
    assert live.post("/v1/flow", {"text": "good", "pack": "plain"}).json()["error"]["field"] == "pack"
    assert live.post("/v1/flow", {"text": " "}).json()["error"]["field"] == "text"


def test_the_client_writes(client: Client, live: Live) -> None:
    writing = client.generate("good to Paris", "answer", max_tokens=40)
    said = "".join(writing)
    assert writing.result
    assert writing.result.text == said.strip()
    assert client.generate("good to Paris", "answer", max_tokens=40).wait().text == said.strip()
    talk = client.generate([Message("user", "Why?")], max_tokens=8, temperature=1.0, seed=4, stop=["zzz"])
    assert talk.wait().usage.completion_tokens == 8
    with pytest.raises(ContextError):
        client.generate([Message("user", "word " * CONTEXT)])
    with pytest.raises(InputError, match="did you mean 'answer'"):
        client.generate("good", "answr")


def test_the_client_takes_texts_through_flows(client: Client, live: Live) -> None:
    flowing = client.flow("good to Paris")
    parts = list(flowing)
    assert {type(part) for part in parts} == {StepEvent, TokenEvent}
    assert flowing.result
    assert flowing.result.reply == flowing.result.answers["draft"]["text"]

    async def same() -> str | None:
        async with AsyncClient(live.url) as waiting:
            sentences = [part async for part in await waiting.generate("good to Paris", "answer", max_tokens=40)]
            assert sentences
            return (await (await waiting.flow("good to Paris")).wait()).reply

    assert asyncio.run(same()) == flowing.result.reply


def test_the_process_that_writes_comes_back_and_answers_go_on(live: Live, client: Client) -> None:
    before = client.generate("good to Paris", "answer", max_tokens=20).wait()
    wanted = set(live.workers())
    answering = live.post("/v1/analyze", {"texts": ["good"]}).status_code
    names = {pid: Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[16] for pid in wanted}
    (writer,) = [pid for pid, nice in names.items() if nice == max(names.values(), key=int)]
    os.kill(writer, signal.SIGKILL)
    assert answering == live.post("/v1/analyze", {"texts": ["good"]}).status_code == 200
    deadline = time.monotonic() + 60
    while True:  # a call that meets the dying process is told to come again
        response = live.post("/v1/generate", {"task": "answer", "text": "good to Paris", "max_tokens": 20})
        if response.status_code == 200:
            break
        assert response.status_code == 503
        assert time.monotonic() < deadline
    assert response.json()["text"] == before.text
