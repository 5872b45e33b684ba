"""The hub's own client, as users of text-embeddings-inference have it, against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.pack import TaskEntry

TEXTS = ["good to Paris", "bad bad", "good"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tei")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        backbone = write_tiny_backbone(folder / "backbone")
        write_tiny_pack(folder / "one", backbone)
        mood = TaskEntry(kind="regression", metric="spearman")
        write_tiny_pack(folder / "two", backbone, seed=2, topics=mood, vector=TaskEntry(kind="regression"))
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with live_server(folder, "one=one", "two=two", "--workers", "0", "--threads", "1") as found:
        yield found


@pytest.fixture(scope="module")
def model(folder: Path) -> umbel.runtime.Model:
    return umbel.load(folder / "one", threads=1)


def vectors(model: umbel.runtime.Model, texts: list[str]) -> Any:
    return np.stack([model(text, ["vector"])["vector"].vector for text in texts])


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_the_hubs_client_gets_vectors(live: Live, model: umbel.runtime.Model, path: str) -> None:
    client = InferenceClient(live.url + path, token="none", timeout=120)
    assert np.allclose(client.feature_extraction(TEXTS), vectors(model, TEXTS), atol=1e-6)
    assert np.allclose(client.feature_extraction("good", normalize=True, truncate=True), vectors(model, ["good"]))
    assert client.feature_extraction("good", dimensions=32).shape == (1, 32)
    with pytest.raises(HfHubHTTPError):
        client.feature_extraction("good", dimensions=8)


def test_the_hubs_client_compares(live: Live, model: umbel.runtime.Model) -> None:
    client = InferenceClient(f"{live.url}/similarity", token="none", timeout=120)
    found = client.sentence_similarity("good", other_sentences=TEXTS)
    assert found == pytest.approx((vectors(model, TEXTS) @ vectors(model, ["good"])[0]).tolist(), abs=1e-5)


def test_texts_are_ordered(live: Live, model: umbel.runtime.Model) -> None:
    cosines = vectors(model, TEXTS) @ vectors(model, ["good"])[0]
    found = live.post("/rerank", {"query": "good", "texts": TEXTS, "return_text": True}).json()
    assert [each["index"] for each in found] == np.argsort(-cosines).tolist()
    assert [each["text"] for each in found] == [TEXTS[each["index"]] for each in found]
    assert [each["score"] for each in found] == pytest.approx(sorted((1 + cosines) / 2, reverse=True), abs=1e-5)
    raw = live.post("/rerank", {"query": "good", "texts": TEXTS, "raw_scores": True}).json()
    assert raw[0] == {"index": 2, "score": pytest.approx(1, abs=1e-5)}


def test_a_task_is_answered(live: Live, model: umbel.runtime.Model) -> None:
    expected = [model(text, ["sentiment"])["sentiment"].probabilities for text in TEXTS]
    batch = live.post("/predict?task=sentiment", {"inputs": [[text] for text in TEXTS]}).json()
    for found, probabilities in zip(batch, expected, strict=True):
        assert {each["label"]: each["score"] for each in found} == pytest.approx(dict(probabilities), abs=1e-6)
        assert found[0]["score"] == max(each["score"] for each in found)
    assert live.post("/predict?task=sentiment", {"inputs": TEXTS[0]}).json() == batch[0]
    labels = {each["label"] for each in live.post("/predict?task=topics", {"inputs": "good"}).json()}
    assert labels == {"food", "place", "price"}
    assert len(live.post("/predict?pack=two", {"inputs": "good"}).json()) == 2  # its only task that classifies


def test_what_is_served_is_told(live: Live) -> None:
    found = live.get("/info").json()
    assert (found["model_id"], found["model_type"], found["version"]) == (
        "one",
        {"embedding": {"pooling": "mean"}},
        umbel.__version__,
    )
    labels = live.get("/info?task=sentiment").json()["model_type"]["classifier"]
    assert labels == {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    assert live.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/embed", {"inputs": []}, 422, "inputs"),
        ("/embed", {"inputs": ["good", " "]}, 422, "inputs[1]"),
        ("/embed", {"inputs": "good", "normalize": False}, 422, "normalize"),
        ("/embed?pack=two", {"inputs": "good"}, 422, "gives no vectors"),
        ("/embed?pack=three", {"inputs": "good"}, 404, "three"),
        ("/predict", {"inputs": "good"}, 422, "name one in the address"),
        ("/predict?task=sentimant", {"inputs": "good"}, 422, "did you mean 'sentiment'"),
        ("/predict?task=urgency", {"inputs": "good"}, 422, "urgency"),
        ("/predict?task=sentiment", {"inputs": ["good", "bad"]}, 422, "pair"),
        ("/rerank", {"query": "good"}, 422, "texts"),
    ],
)
def test_errors_are_in_its_form(live: Live, path: str, body: Any, status: int, words: str) -> None:
    response = live.post(path, body)
    found = response.json()
    assert (response.status_code, found["error_type"]) == (status, "validation")
    assert words in found["error"]
