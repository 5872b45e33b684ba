"""OpenAI's own client against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.pack import TaskEntry
from umbel.questions import Choice, Option, Predicate, Score

TEXTS = ["good to Paris", "bad bad", "good"]
KIND = "text-classification"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("openai")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        backbone = write_tiny_backbone(folder / "backbone")
        hate = TaskEntry(kind=KIND, labels=("neither", "hate", "offensive"), languages=("en",))
        abuse = TaskEntry(kind=KIND, labels=("sexual", "violence"), multi_label=True, languages=("zh",))
        write_tiny_pack(folder / "one", backbone, branches=True, hate=hate, abuse=abuse)
        write_tiny_pack(folder / "plain", backbone)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with live_server(folder, "one=one", "plain=plain", "--workers", "0", "--threads", "1") as found:
        yield found


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0, timeout=120) as found:
        yield found


@pytest.fixture(scope="module")
def model(folder: Path) -> umbel.runtime.Model:
    return umbel.load(folder / "one", threads=1)


def test_models_are_packs(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["one", "plain"]
    assert client.models.retrieve("plain").owned_by == "umbel"
    with pytest.raises(openai.NotFoundError, match="did you mean 'plain'"):
        client.models.retrieve("plane")


def test_vectors_are_the_packs(client: openai.OpenAI, model: umbel.runtime.Model) -> None:
    found = client.embeddings.create(model="one", input=TEXTS)  # the client asks for base64 by itself
    plain = client.embeddings.create(model="one", input=TEXTS, encoding_format="float")
    assert found.usage.total_tokens == found.usage.prompt_tokens > 0
    for place, text in enumerate(TEXTS):
        vector = model(text, ["vector"])["vector"].vector
        assert np.array_equal(np.array(found.data[place].embedding, np.float32), vector)
        assert np.allclose(plain.data[place].embedding, vector, atol=1e-7)
    assert client.embeddings.create(model="one", input="good", dimensions=32).data[0].index == 0
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.embeddings.create(model="one", input="good", dimensions=8)
    assert raised.value.body["param"] == "dimensions"


def test_moderation_reads_the_tasks_of_the_texts_language(client: openai.OpenAI, model: umbel.runtime.Model) -> None:
    english, chinese = client.moderations.create(input=["good to Paris", "这这这这"], model="one").results
    hate = model("good to Paris", ["hate"])["hate"]
    assert english.category_scores.hate == pytest.approx(hate.probabilities["hate"], abs=1e-6)
    assert english.category_scores.harassment == pytest.approx(hate.probabilities["offensive"], abs=1e-6)
    assert english.flagged == (hate.label != "neither")
    assert english.categories.hate == (hate.label == "hate")
    assert english.category_applied_input_types.hate == ["text"]
    assert english.category_applied_input_types.sexual == []
    abuse = model("这这这这", ["abuse"])["abuse"]
    assert chinese.category_scores.violence == pytest.approx(abuse.probabilities["violence"], abs=1e-6)
    assert chinese.categories.violence == ("violence" in abuse.labels)
    assert chinese.category_applied_input_types.hate == []


def test_moderation_takes_one_text_parts_and_no_images(client: openai.OpenAI) -> None:
    whole = client.moderations.create(input="good\nbad").results
    parts = client.moderations.create(input=[{"type": "text", "text": "good"}, {"type": "text", "text": "bad"}]).results
    assert parts == whole
    with pytest.raises(openai.UnprocessableEntityError):
        client.moderations.create(input=[{"type": "image_url", "image_url": {"url": "data:,"}}])
    with pytest.raises(openai.UnprocessableEntityError, match="no task that moderates"):
        client.moderations.create(input="good", model="plain")


def test_decisions_are_the_librarys_answers(client: openai.OpenAI, model: umbel.runtime.Model) -> None:
    options = ["billing", {"name": "technical", "description": "it broke"}]
    wanted = [
        {"type": "predicate", "name": "refund", "statement": "It is good"},
        {"type": "choice", "name": "team", "question": "Which team?", "options": options},
        {"type": "score", "question": "How good?", "levels": ["bad", "fair", "good"]},
    ]
    body = {"model": "one", "input": "good to Paris", "decisions": wanted}
    found = client.post("/decisions", body=body, cast_to=dict)  # type: ignore[type-var]
    teams = Choice("Which team?", (Option("billing"), Option("technical", "it broke")))
    scale = Score("How good?", (Option("bad"), Option("fair"), Option("good")))
    holds, team, score = model.ask("good to Paris", [Predicate("It is good"), teams, scale])
    predicate, choice, level = found["data"]
    assert [each["name"] for each in found["data"]] == ["refund", "team", None]
    assert (predicate["value"], predicate["probability"]) == (holds.holds, pytest.approx(holds.probability, abs=1e-6))
    assert choice["value"] == team.label
    assert choice["probabilities"] == pytest.approx(dict(team.probabilities), abs=1e-6)
    assert level["value"] == pytest.approx(score.score, abs=1e-6)
    expected = sum(place * p for place, p in enumerate(level["probabilities"].values()))
    assert level["value"] == pytest.approx(expected, abs=1e-5)
    assert (level["level"], level["probability"]) == (score.level, max(level["probabilities"].values()))


def test_errors_are_in_openais_form(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="nothing", input="good")
    assert missing.value.body["type"] == "not_found_error"
    with pytest.raises(openai.UnprocessableEntityError) as blank:
        client.embeddings.create(model="one", input=["good", " "])
    assert (blank.value.body["type"], blank.value.body["param"]) == ("invalid_request_error", "input[1]")
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        client.post("/decisions", body={"input": "good", "decisions": [{"type": "what"}]}, cast_to=dict)
    assert wrong.value.body["param"].startswith("decisions[0]")
