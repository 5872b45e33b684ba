"""The client against a live server: answers as the library's, errors as its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.client import AsyncClient, Client
from umbel.errors import AccessError, InputError, NotFoundError, UnavailableError
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, Score
from umbel.records import VectorPrediction
from umbel.retrieval import Document, Index
from umbel.server.keys import add_key

TEXTS = ["good to Paris", "bad"]
QUESTIONS = [
    Choice("Which team?", (Option("billing"), Option("technical", "it broke"))),
    Predicate("It is good"),
    Score("How good?", (Option("bad"), Option("good"))),
    Extract("Where to?", must_answer=True),
    Extract("Where to?"),
    Mentions((Option("place"),), overlapping=True),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_pack(folder / "tiny", write_tiny_backbone(folder / "backbone"), branches=True)
        with Index.create(folder / "docs.index", umbel.load(folder / "tiny"), tokens=32) as index:
            index.add([Document("good to Paris", "a"), Document("bad bad", "b")])
        yield folder


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    path = folder / "keys.json"
    return {
        "admin": add_key(path, "boss", "admin"),
        "use": add_key(path, "shop"),
        "rare": add_key(path, "rare", per_minute=2),
        "little": add_key(path, "little", tokens_per_day=20),
    }


@pytest.fixture(scope="module")
def live(folder: Path, keys: dict[str, str]) -> Iterator[Live]:
    arguments = ["tiny", "--index", "docs=docs.index", "--keys", "keys.json", "--workers", "0", "--threads", "1"]
    with live_server(folder, *arguments) as found:
        yield found


@pytest.fixture
def client(live: Live, keys: dict[str, str]) -> Iterator[Client]:
    with Client(live.url, keys["admin"]) as found:
        yield found


def test_answers_are_the_librarys(client: Client, folder: Path) -> None:
    model = umbel.load(folder / "tiny", threads=1)
    for found, result in zip(client.analyze(TEXTS, list(model.tasks)), model(TEXTS), strict=True):
        assert (found.text, found.language, list(found)) == (result.text, result.language, list(result))
        for name, expected in result.items():
            if isinstance(expected, VectorPrediction):
                assert np.allclose(found[name].vector, expected.vector, atol=1e-6)
            else:
                assert repr(found[name])[:20] == repr(expected)[:20]
        assert found["sentiment"].label == result["sentiment"].label
        assert found["sentiment"].probabilities == pytest.approx(dict(result["sentiment"].probabilities), abs=1e-6)
        assert [(s.start, s.end, s.label, s.text) for s in found["entities"]] == [
            (s.start, s.end, s.label, s.text) for s in result["entities"]
        ]
    for found, expected in zip(client.ask(TEXTS[0], QUESTIONS), model.ask(TEXTS[0], QUESTIONS), strict=True):
        assert type(found) is type(expected)
        if hasattr(expected, "probability"):
            assert found.probability == pytest.approx(expected.probability, abs=1e-6)
        if hasattr(expected, "span") and expected.span:
            assert (found.span.start, found.span.text) == (expected.span.start, expected.span.text)


def test_a_document_answers_and_an_index_finds(client: Client) -> None:
    (answer,) = client.answer("good to Paris", ["Where to?"], must_answer=True)
    assert answer.span
    assert client.search("docs", "good Paris", by="words")[0]["source"] == "a"


def test_packs_come_and_go_and_are_taught(client: Client, folder: Path) -> None:
    assert client.deploy("other", str(folder / "tiny")).name == "other"
    taught = client.teach("mood", [("good", "fine"), ("bad", "sad")] * 6, pack="other", name="moody")
    assert (taught.pack, taught.examples) == ("moody", 12)
    assert "mood" in [task.name for task in client.tasks("moody")]
    assert [pack.name for pack in client.remove("other")] == ["tiny", "moody"]
    assert [pack.default for pack in client.packs()] == [True, False]


def test_errors_are_the_librarys(client: Client, live: Live) -> None:
    with pytest.raises(InputError, match="did you mean 'sentiment'") as wrong:
        client.analyze(TEXTS, ["sentimant"])
    assert wrong.value.field == "tasks[0]"
    with pytest.raises(NotFoundError):
        client.analyze(TEXTS, pack="nothing")
    with Client("http://127.0.0.1:9", retries=0) as nowhere, pytest.raises(UnavailableError, match="cannot be reached"):
        nowhere.packs()


def test_keys_say_who_may_do_what(live: Live, keys: dict[str, str]) -> None:
    with Client(live.url) as nobody, pytest.raises(AccessError, match="a key is needed"):
        nobody.analyze(TEXTS)
    with Client(live.url, "umbel_wrong") as stranger, pytest.raises(AccessError, match="not known"):
        stranger.analyze(TEXTS)
    with Client(live.url, keys["use"]) as user:
        assert len(user.analyze(TEXTS)) == 2
        with pytest.raises(AccessError, match="may not change"):
            user.remove("tiny")
    assert live.get("/ready").status_code == 200
    assert live.get("/metrics").status_code == 401


def test_limits_are_told_with_when_to_come_again(live: Live, keys: dict[str, str]) -> None:
    rare = {"authorization": f"Bearer {keys['rare']}"}
    statuses = [live.get("/v1/packs", headers=rare).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    little = {"authorization": f"Bearer {keys['little']}"}
    response = live.post("/v1/analyze", {"texts": ["good to Paris " * 20]}, headers=little)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 1
    assert "tokens a day" in response.json()["error"]["message"]


def test_coroutines_get_the_same(live: Live, keys: dict[str, str]) -> None:
    async def main() -> None:
        async with AsyncClient(live.url, keys["admin"]) as client:
            results = await asyncio.gather(*(client.analyze([text], ["sentiment"]) for text in TEXTS * 5))
            assert [result.text for (result,) in results] == TEXTS * 5
            answers = await client.ask(TEXTS[0], QUESTIONS)
            assert len(answers) == len(QUESTIONS)
            assert len(await client.answer(TEXTS[0], ["Where to?"])) == 1
            assert (await client.search("docs", "good"))[0]["text"]
            assert (await client.packs())[0].name == "tiny"
            assert await client.tasks()
            with pytest.raises(InputError):
                await client.analyze([" "])

    asyncio.run(main())
