"""System One's conformance suite and client against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import systemone
from jevcompat import runner
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.questions import Choice, Option, Score
from umbel.server.keys import add_key

STATE = "good to Paris"
REFUND = systemone.Noul("The customer wants money back")
TEAM = systemone.Choice("Which team?", {"billing": "payments", "technical": None, "销售": None})
ANGER = systemone.Score("How angry?", ["calm", "annoyed", "furious"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("systemone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        backbone = write_tiny_backbone(folder / "backbone")
        write_tiny_pack(folder / "one", backbone, branches=True)
        write_tiny_pack(folder / "plain", backbone)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with live_server(folder, "one=one", "plain=plain", "--workers", "0", "--threads", "1") as found:
        yield found


@pytest.fixture
def client(live: Live) -> Iterator[systemone.Client]:
    with systemone.Client(live.url, timeout=120) as found:
        yield found


def conforms(report: runner.Report, untested: set[str]) -> None:
    failed = [(each.id, [finding.message for finding in each.findings]) for each in report.results if each.findings]
    assert (report.aborted, report.case_errors, report.inconclusive, failed) == (None, [], [], [])
    assert report.verdict == "conformant"
    assert {each.id for each in report.results if each.status != "pass"} == untested


def test_the_conformance_suite_passes(live: Live) -> None:
    conforms(runner.run(live.url), {"auth.bearer", "auth.missing", "auth.invalid"})


def test_the_conformance_suite_passes_with_keys(folder: Path) -> None:
    key = add_key(folder / "keys.json", "suite")
    with live_server(folder, "one=one", "--workers", "0", "--threads", "1", "--keys", "keys.json") as live:
        conforms(runner.run(live.url, key=key), {"auth.ignored-when-off"})
        with systemone.Client(live.url, "umbel_wrong") as client:
            with pytest.raises(systemone.SystemOneError, match="authentication_error") as raised:
                client.system_one(STATE, {"refund": REFUND})
            assert raised.value.status == 401


def test_answers_are_the_librarys(client: systemone.Client, folder: Path) -> None:
    found = client.system_one(STATE, {"refund": REFUND, "team": TEAM, "how angry": ANGER}, model="one")
    teams = Choice("Which team?", (Option("billing", "payments"), Option("technical"), Option("销售")))
    scale = Score("How angry?", (Option("calm"), Option("annoyed"), Option("furious")))
    sides = Choice("The customer wants money back", (Option("yes"), Option("no")))
    questions = [sides, teams, scale]
    holds, team, score = umbel.load(folder / "one", threads=1).ask(STATE, questions)
    assert found.nouls["refund"].noul == pytest.approx(holds.probabilities["yes"], abs=1e-6)
    assert found.choices["team"].choice == team.label
    assert found.choices["team"].probabilities == pytest.approx(dict(team.probabilities), abs=1e-6)
    expected = (team.probability - 1 / 3) / (1 - 1 / 3)
    assert found.choices["team"].confidence == pytest.approx(expected, abs=1e-5)
    assert found.scores["how angry"].score == pytest.approx(score.score, abs=1e-5)
    assert list(found.scores["how angry"].probabilities.values()) == pytest.approx(
        [*score.probabilities.values()], abs=1e-6
    )
    assert found.scores["how angry"].legend == {"0": "calm", "1": "annoyed", "2": "furious"}
    assert found.usage.input_tokens > 0


def test_both_sides_of_a_noul_are_read(client: systemone.Client, folder: Path) -> None:
    noul = systemone.Noul("Refund?", {"true": "wants money back", "false": ["asks", "thanks"]})
    found = client.system_one({"subject": "good", "body": {"to": "Paris"}}, {"refund": noul}, model="jev-latest")
    question = Choice("Refund?", (Option("yes", "wants money back"), Option("no", "asks; thanks")))
    (answer,) = umbel.load(folder / "one", threads=1).ask("subject: good\nbody: to: Paris", [question])
    assert found.nouls["refund"].noul == pytest.approx(answer.probabilities["yes"], abs=1e-6)


def test_errors_name_what_is_wrong(live: Live, client: systemone.Client) -> None:
    for state, questions, model, status, words in [
        (STATE, {"refund": REFUND}, "two", 404, "not_found_error"),
        (" ", {"refund": REFUND}, None, 422, "'state'"),
        (STATE, {"refund": REFUND}, "plain", 422, "'model'"),
        (STATE, {"a": REFUND, "b.c": systemone.Noul("  ")}, None, 422, "'b', 'c'"),
        (STATE, {"a": {"type": "noul"}}, None, 422, "neither instructions nor criteria"),
    ]:
        with pytest.raises(systemone.SystemOneError, match=words) as raised:
            client.system_one(state, questions, model)
        assert raised.value.status == status
    deep: object = "good"
    for _ in range(100):
        deep = [deep]
    body = {"state": deep, "questions": {"refund": REFUND.to_dict()}}
    assert live.post("/v1/systemone", body).json()["detail"][0]["loc"][0] == "body"
