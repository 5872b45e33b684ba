"""Google's own client, as Perspective's users have it, against a live server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httplib2
import pytest
from googleapiclient import discovery
from googleapiclient.errors import HttpError
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.pack import TaskEntry
from umbel.questions import Choice, Option, Predicate
from umbel.server.attributes import DEFAULTS
from umbel.server.keys import add_key

KIND = "text-classification"
TEXT = "good to Paris! 😀 bad bad. unheard"
FILE = """\
SPAM: {statement: The text advertises something}
MOOD: {tasks: {sentiment: [bad]}}
SEXUALLY_EXPLICIT:
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("perspective")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        hate = TaskEntry(kind=KIND, labels=("neither", "hate", "offensive"), languages=("en",))
        offensive = TaskEntry(kind=KIND, labels=("not_offensive", "offensive"), languages=("zh",))
        backbone = write_tiny_backbone(folder / "backbone")
        write_tiny_pack(folder / "one", backbone, branches=True, hate=hate, offensive=offensive)
        write_tiny_pack(folder / "plain", backbone, hate=hate)
        (folder / "attributes.yaml").write_text(FILE)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    more = ["--perspective", "attributes.yaml", "--keys", "keys.json"]
    key = add_key(folder / "keys.json", "forum")
    with live_server(folder, "one=one", "--workers", "0", "--threads", "1", *more) as found:
        found.key = key  # type: ignore[attr-defined]
        yield found


@pytest.fixture(scope="module")
def model(folder: Path) -> umbel.runtime.Model:
    return umbel.load(folder / "one", threads=1)


@contextmanager
def comments(live: Live, key: str | None = None) -> Iterator[Any]:
    """What the guide of Perspective has, but for the address."""
    http = httplib2.Http(timeout=120)
    address = f"{live.url}/$discovery/rest?version=v1alpha1"
    more = {"discoveryServiceUrl": address, "cache_discovery": False, "http": http}
    try:
        key = key or live.key  # type: ignore[attr-defined]
        yield discovery.build("commentanalyzer", "v1alpha1", developerKey=key, **more).comments()
    finally:
        http.close()


def analyzed(live: Live, body: dict[str, Any]) -> dict[str, Any]:
    with comments(live) as found:
        return dict(found.analyze(body=body).execute())


def asked(text: str = TEXT, *attributes: str, **more: Any) -> dict[str, Any]:
    return {"comment": {"text": text}, "requestedAttributes": {name: {} for name in attributes}} | more


def refused(live: Live, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    with comments(live, key) as found, pytest.raises(HttpError) as raised:
        found.analyze(body=body).execute()
    error = json.loads(raised.value.content)["error"]
    assert int(raised.value.resp.status) == error["code"]
    return dict(error)


def test_attributes_are_tasks_and_statements(live: Live, model: umbel.runtime.Model) -> None:
    body = asked(
        TEXT, "TOXICITY", "IDENTITY_ATTACK", "INSULT", "THREAT", "SPAM", "MOOD", doNotStore=True, clientToken="c-1"
    )
    found = analyzed(live, body)
    assert (found["languages"], found["detectedLanguages"], found["clientToken"]) == (["en"], ["en"], "c-1")
    hate = model(TEXT, ["hate"])["hate"].probabilities
    options = [Option("threaten", "announces to hurt or kill someone"), Option("insult"), Option("neither")]
    choice = Choice("What does the writer do?", tuple(options))
    questions = [Predicate("The text insults or demeans someone"), choice, Predicate("The text advertises something")]
    insult, threat, spam = model.ask(TEXT, questions)
    expected = {
        "TOXICITY": hate["hate"] + hate["offensive"],
        "IDENTITY_ATTACK": hate["hate"],
        "INSULT": insult.probability,
        "THREAT": threat.probabilities["threaten"],
        "SPAM": spam.probability,
        "MOOD": model(TEXT, ["sentiment"])["sentiment"].probabilities["bad"],
    }
    assert list(found["attributeScores"]) == list(expected)
    for name, value in expected.items():
        score = found["attributeScores"][name]
        assert score["summaryScore"] == {"value": pytest.approx(value, abs=1e-5), "type": "PROBABILITY"}
        assert score["spanScores"] == [{"begin": 0, "end": 34, "score": score["summaryScore"]}]  # 😀 counts as two


def test_spans_are_sentences_in_units_of_utf16(live: Live, model: umbel.runtime.Model) -> None:
    found = analyzed(live, asked(TEXT, "TOXICITY", "INSULT", spanAnnotations=True))
    for name, score in found["attributeScores"].items():
        spans = score["spanScores"]
        units = TEXT.encode("utf-16-le")
        parts = [units[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le") for span in spans]
        assert parts == ["good to Paris!", "😀 bad bad.", "unheard"]
        for part, span in zip(parts, spans, strict=True):
            hate = model(part, ["hate"])["hate"].probabilities
            (insult,) = model.ask(part, [Predicate(DEFAULTS["INSULT"].statement)])
            expected = hate["hate"] + hate["offensive"] if name == "TOXICITY" else insult.probability
            assert span["score"]["value"] == pytest.approx(expected, abs=1e-5)


def test_the_language_chooses_the_task(live: Live, model: umbel.runtime.Model) -> None:
    text = "这这 good"
    detected = analyzed(live, asked(text, "TOXICITY"))
    assert detected["languages"] == ["zh"]
    told = analyzed(live, asked(text, "TOXICITY", languages=["en-GB"]))
    assert (told["languages"], told["detectedLanguages"]) == (["en-GB"], ["zh"])
    hate = model(text, ["hate"])["hate"].probabilities
    offensive = model(text, ["offensive"])["offensive"].probabilities["offensive"]
    values = [found["attributeScores"]["TOXICITY"]["summaryScore"]["value"] for found in (detected, told)]
    assert values == pytest.approx([offensive, hate["hate"] + hate["offensive"]], abs=1e-5)


def test_scores_below_their_threshold_are_left_out(live: Live) -> None:
    body = asked() | {"requestedAttributes": {"INSULT": {"scoreThreshold": 1.0}, "THREAT": {"scoreThreshold": 0.0}}}
    assert list(analyzed(live, body)["attributeScores"]) == ["THREAT"]
    del body["requestedAttributes"]["THREAT"]
    assert "attributeScores" not in analyzed(live, body)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (asked("", "TOXICITY"), "COMMENT_EMPTY", "Comment must be non-empty."),
        (asked("привет", "TOXICITY"), "LANGUAGE_DETECTION_FAILED", "Unable to detect language"),
        (asked(TEXT), "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        (asked(TEXT, "NONSENSE"), "INVALID_REQUEST", "Unknown requested attribute: NONSENSE"),
        (asked(TEXT, "SEXUALLY_EXPLICIT"), "INVALID_REQUEST", "Unknown requested attribute: SEXUALLY"),
        (asked() | {"comment": {"text": "a", "type": "HTML"}}, "INVALID_REQUEST", "Currently, only 'PLAIN_TEXT'"),
        (asked() | {"requestedAttributes": {"INSULT": {"scoreType": "RAW"}}}, "INVALID_REQUEST", "score type RAW"),
        (asked() | {"comment": {"text": 7}}, "INVALID_REQUEST", "comment.text"),
    ],
)
def test_errors_are_perspectives(live: Live, body: dict[str, Any], kind: str, message: str) -> None:
    found = refused(live, body)
    assert (found["code"], found["status"], found["details"][0]["errorType"]) == (400, "INVALID_ARGUMENT", kind)
    assert message in found["message"]


def test_a_language_that_nothing_knows_is_told(live: Live) -> None:
    found = refused(live, asked(TEXT, "TOXICITY", languages=["de"]))
    assert found["message"] == "Attribute TOXICITY does not support request languages: de"
    (details,) = found["details"]
    assert details["errorType"] == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    assert details["languageNotSupportedByAttributeError"]["attribute"] == "TOXICITY"
    assert details["languageNotSupportedByAttributeError"]["detectedLanguages"] == ["de"]


def test_keys_are_asked_for(live: Live) -> None:
    assert refused(live, asked(TEXT, "TOXICITY"), "umbel_wrong")["status"] == "UNAUTHENTICATED"
    response = live.post("/v1alpha1/comments:analyze", asked(TEXT, "TOXICITY"))
    assert (response.status_code, response.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    key = {"x-goog-api-key": live.key}  # type: ignore[attr-defined]
    response = live.post("/v1alpha1/comments:analyze", asked(TEXT, "TOXICITY"), headers=key)
    assert response.status_code == 200


def test_a_pack_without_questions_tells_what_its_tasks_do(folder: Path) -> None:
    with live_server(folder, "plain=plain", "--workers", "0", "--threads", "1") as live:
        live.key = "none"  # type: ignore[attr-defined]
        found = analyzed(live, asked(TEXT, "TOXICITY"))
        assert list(found["attributeScores"]) == ["TOXICITY"]
        assert refused(live, asked(TEXT, "INSULT"))["message"] == "Unknown requested attribute: INSULT"
