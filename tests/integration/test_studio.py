"""The studio as people use it: in a real Chromium, against a live server with the shipped pack."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from live import Live, live_server
from playwright.sync_api import Route, expect
from studio_page import PATIENCE, PHONE, VIEWS, Opener
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.server.keys import add_key
from umbel.server.pages import FOLDER

TEXT = "🎉🎉 Maria flew from Lisbon to Oslo with Acme Corp 👩‍🚀, thank you!"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, default_backbone: str) -> Iterator[Live]:
    twin = Path(umbel.__file__).parent / "packs" / "base"
    folder = tmp_path_factory.mktemp("studio")
    with live_server(folder, "base", f"twin={twin}", "--threads", "1", "--timeout", "600") as found:
        yield found


# Analysing


def test_every_task_answers_as_the_server_says(studio: Opener) -> None:
    found = studio()
    told = found.analyse(TEXT)
    found.page.locator("#others summary").click()
    shown = found.page.eval_on_selector_all("[data-task]", "all => all.map(e => e.dataset.task)")
    assert sorted(shown) == sorted(told["answers"])
    for task, answer in told["answers"].items():
        card = found.page.locator(f"[data-task={task}]")
        expect(card.locator(".cost-of")).to_have_text(re.compile(r"^[\d.]+ (µs|ms|s)$"))
        if "label" in answer:
            expect(card.locator(".headline")).to_contain_text(answer["label"])
            width = card.locator(".bar.chosen .fill").evaluate("e => parseFloat(e.style.width)")
            assert width == pytest.approx(100 * answer["probability"], abs=0.01)
        if "spans" in answer:
            assert card.locator("q").all_text_contents() == [span["text"] for span in answer["spans"]]
    expect(found.page.locator("#analyse-status")).to_contain_text(f"{len(told['answers'])} tasks answered")
    expect(found.page.locator("#analyse-cost")).to_contain_text("once for all tasks")
    found.picture("analyse")


def test_marks_stand_where_the_server_says_beyond_the_basic_plane(studio: Opener) -> None:
    found = studio()
    told = found.analyse(TEXT)
    assert found.without_tags("#marked") == TEXT
    (maria,) = [span for span in told["answers"]["entities"]["spans"] if span["text"] == "Maria"]
    assert TEXT[maria["start"] : maria["end"]] == "Maria"
    found.page.locator("#chips input:not([data-chip=entities]):checked").first.wait_for()
    for chip in found.page.locator("#chips input").all():
        chip.set_checked(chip.get_attribute("data-chip") == "entities")
    assert found.words("#marked") == [span["text"] for span in told["answers"]["entities"]["spans"]]


def test_spans_that_overlap_get_lines_of_their_own(studio: Opener) -> None:
    spans = [(0, 9, "all"), (2, 4, "in"), (3, 6, "across"), (7, 9, "after"), (2, 4, "same")]
    given = [{"start": start, "end": end, "label": label, "text": "", "probability": 1} for start, end, label in spans]
    text = "😀a😀b👩‍🚀cd"
    script = "async ([text, spans]) => (await import('/studio/marks.js')).pieces(text, spans)"
    pieces = studio().page.evaluate(script, [text, given])
    assert "".join(piece["words"] for piece in pieces) == text
    for start, end, label in spans:
        covered = [piece for piece in pieces if label in [span["label"] for span in piece["spans"]]]
        assert "".join(piece["words"] for piece in covered) == text[start:end]
        assert len({span["lane"] for piece in covered for span in piece["spans"] if span["label"] == label}) == 1
    for piece in pieces:
        lanes = [span["lane"] for span in piece["spans"]]
        assert len(lanes) == len(set(lanes))


def test_typing_is_debounced_and_stale_answers_are_dropped(studio: Opener) -> None:
    found = studio()
    found.analyse(TEXT)
    before = len([each for each in found.asked if each.url.endswith("/v1/analyze")])
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "stale words" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    found.page.route("**/v1/analyze", hold)
    found.page.fill("#text", "")
    found.page.locator("#text").press_sequentially("I hate these stale words")
    while not held:
        found.page.wait_for_timeout(20)
    found.analyse("I love these fresh words")
    for route in held:
        route.fulfill(json={"results": [{"language": "en", "answers": {"sentiment": {"label": "stale"}}}]})
    found.page.wait_for_timeout(100)
    assert "fresh words" in found.without_tags("#marked") or not found.page.locator("#marked-box").is_visible()
    expect(found.page.locator("[data-task=sentiment] .headline")).to_have_text("positive")
    requests = [each for each in found.asked[before:] if each.url.endswith("/v1/analyze")]
    assert len(requests) < len("I hate these stale words")


def test_an_empty_text_asks_nothing(studio: Opener) -> None:
    found = studio()
    found.analyse(TEXT)
    found.page.fill("#text", "  ")
    expect(found.page.locator("#analyse-status")).to_have_text("Type or paste a text above.")
    expect(found.page.locator("[data-task]")).to_have_count(0)


def test_all_probabilities_are_shown_on_demand(studio: Opener) -> None:
    found = studio()
    told = found.analyse(TEXT)
    card = found.page.locator("[data-task=assistant-intent]")
    card.get_by_role("button", name="All").click()
    expect(card.locator(".bar:visible")).to_have_count(len(told["answers"]["assistant-intent"]["probabilities"]))
    card.get_by_role("button", name="Fewer").click()
    expect(card.locator(".bar:visible")).to_have_count(3)


def test_errors_are_told_in_the_servers_words(studio: Opener) -> None:
    found = studio()
    error = {"error": {"message": "the pack is tired", "hint": "wake it"}}
    found.page.route("**/v1/analyze", lambda route: route.fulfill(status=422, json=error))
    found.page.fill("#text", "anything")
    expect(found.page.locator("#error")).to_have_text("the pack is tired (wake it)")
    found.page.unroute("**/v1/analyze")
    found.page.route("**/v1/analyze", lambda route: route.abort())
    found.page.fill("#text", "anything else")
    expect(found.page.locator("#error")).to_have_text("The server cannot be reached.")
    found.page.unroute("**/v1/analyze")
    found.analyse(TEXT)
    expect(found.page.locator("#error")).to_be_hidden()
    assert all("Failed to load resource" in fault for fault in found.faults)
    found.faults.clear()


# Asking


def test_free_questions_are_answered_as_the_server_says(studio: Opener) -> None:
    found = studio("ask")
    found.page.fill("#text", TEXT)
    found.page.locator("#question-3-options").fill("person\nplace: a city")
    found.page.locator("#ask-form [type=submit]").click()
    cards = found.page.locator("#ask-answers .card")
    expect(cards).to_have_count(4)
    sent = json.loads(next(each.post_data or "" for each in found.asked if each.url.endswith("/v1/ask")))
    assert [each["kind"] for each in sent["questions"]] == ["choice", "predicate", "score", "mentions"]
    assert sent["questions"][3]["types"][1] == {"name": "place", "description": "a city"}
    told = found.live.post("/v1/ask", sent).json()["answers"]
    expect(cards.nth(0).locator(".headline")).to_have_text(told[0]["answer"])
    expect(cards.nth(1).locator(".headline")).to_have_text("Yes" if told[1]["answer"] else "No")
    expect(cards.nth(2).locator(".headline")).to_contain_text(f"{told[2]['score']:.2f}")
    assert cards.nth(3).locator("q").all_text_contents() == [span["text"] for span in told[3]["spans"]]
    assert found.without_tags("#ask-marked") == (TEXT if told[3]["spans"] else "")
    found.picture("ask")


def test_questions_are_added_changed_and_removed(studio: Opener) -> None:
    found = studio("ask")
    for _ in range(3):
        found.page.get_by_role("button", name="Remove question 2").click()
    found.page.get_by_role("button", name="Add a question").click()
    expect(found.page.locator("#question-1-kind")).to_be_focused()
    found.page.locator("#question-1-kind").select_option("predicate")
    found.page.locator("#question-1-words").fill("A person travels")
    found.page.locator("#question-1-words").press("Control+Enter")
    expect(found.page.locator("#ask-answers .card")).to_have_count(2)
    expect(found.page.locator("#ask-answers h3").nth(1)).to_have_text("A person travels")


def test_a_document_answers_in_its_own_words(studio: Opener) -> None:
    found = studio("document")
    found.page.locator("#document-form [type=submit]").click()
    cards = found.page.locator("#document-answers .card")
    expect(cards).to_have_count(3)
    document = found.page.input_value("#document-text")
    questions = found.page.input_value("#document-questions").splitlines()
    told = found.live.post("/v1/answer", {"document": document, "questions": questions}).json()["answers"]
    assert any(each["answer"] for each in told)
    for place, answer in enumerate(told):
        expect(cards.nth(place)).to_contain_text(answer["answer"] or "The document does not say.")
    assert found.without_tags("#document-marked") == document
    first = next(each for each in told if each["answer"])
    cards.nth(told.index(first)).get_by_role("button", name="Show it there").click()
    focused = found.page.locator("#document-marked mark:focus .words")
    expect(focused).to_have_text(document[first["start"] : first["end"]])
    found.picture("document")


# Teaching and comparing


def test_a_correction_is_taught_and_moves_nothing_else(studio: Opener) -> None:
    found = studio()
    told = found.analyse(TEXT)
    task, before = "service-category", told["answers"]["service-category"]
    found.page.get_by_role("button", name=f"Correct {task}").click()
    expect(found.page.locator("#teach-label")).to_be_focused()
    expect(found.page.locator("#teach-now")).to_contain_text(before["label"])
    right = list(before["probabilities"])[1]
    found.page.locator("#teach-label").select_option(right)
    found.page.get_by_role("button", name="Add this correction").click()
    expect(found.page.locator("#corrections li")).to_have_count(1)
    found.page.fill("#teach-name", "corrected")
    with found.page.expect_response("**/v1/teach", timeout=PATIENCE) as answered:
        found.page.get_by_role("button", name="Teach", exact=True).click()
    learned = answered.value.json()
    expect(found.page.locator("#teach-status")).to_contain_text("corrected is served")
    expect(found.page.locator("[data-side=before] .headline")).to_have_text(before["label"])
    expect(found.page.locator("[data-side=after] .headline")).to_have_text(right)
    proof = found.page.locator(".proof")
    others = len(told["answers"]) - 1
    expect(proof).to_have_attribute("data-same", "true")
    expect(proof).to_contain_text(f"{learned['unchanged']['files']} files")
    expect(proof).to_contain_text(f"{others} of {others} answers")
    found.picture("teach")
    found.page.get_by_role("button", name="Compare the packs").click()
    expect(found.page.locator("#compare-status")).to_have_text(f"1 of {others + 1} tasks differ")
    expect(found.page.locator("tr.differs")).to_have_attribute("data-task", task)
    found.picture("compare")
    found.page.locator("#pack").select_option("corrected")
    found.go("analyse")
    assert found.live.send("DELETE", "/v1/packs/corrected").status_code == 200


def test_nothing_is_taught_without_a_correction(studio: Opener) -> None:
    found = studio("teach")
    found.page.get_by_role("button", name="Teach", exact=True).click()
    expect(found.page.locator("#teach-status")).to_have_text("Add a correction first.")
    found.page.get_by_role("button", name="Add this correction").click()
    found.page.get_by_role("button", name="Remove the correction").click()
    expect(found.page.locator("#no-corrections")).to_be_visible()


def test_equal_packs_are_equal(studio: Opener) -> None:
    found = studio("compare")
    expect(found.page.locator("#compare-status")).to_have_text(re.compile(r"^0 of \d+ tasks differ$"))
    expect(found.page.locator("#right")).to_have_value("twin")
    expect(found.page.locator("#comparison tbody tr")).not_to_have_count(0)
    found.page.locator("#differing").check()
    expect(found.page.locator("#comparison tbody tr")).to_have_count(0)


# Throughput


def test_throughput_is_seen_live(studio: Opener) -> None:
    found = studio("live")

    def texts() -> int:
        lines = found.live.get("/metrics").text.splitlines()
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith("umbel_encodings_total{")))

    before = texts()
    found.page.get_by_role("button", name="Send 64 messages").click()
    expect(found.page.locator("#load-status")).to_contain_text("64 messages answered")
    assert texts() >= before + 64
    expect(found.page.locator("[data-tile=texts]")).to_contain_text(f"{texts():,} in all")
    expect(found.page.locator("#stages .bar")).to_have_count(4)
    found.picture("live")
    found.page.get_by_role("button", name="Pause").click()
    expect(found.page.locator("#pause")).to_have_attribute("aria-pressed", "true")


# For everyone


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_no_barriers(studio: Opener, language: str, scheme: str) -> None:
    found = studio(locale=language, color_scheme=scheme)
    for view in VIEWS:
        found.go(view)
        if view == "analyse":
            found.page.locator("[data-task]").first.wait_for()
        elif view in ("ask", "document"):
            found.page.locator(f"#{view}-form [type=submit]").click()
            found.page.locator(f"#{view}-answers .card").first.wait_for()
        elif view == "compare":
            found.page.locator("#comparison tbody tr").first.wait_for()
        elif view == "live":
            found.page.locator("#stages .bar").first.wait_for()
        told = Axe().run(found.page)
        assert told.violations_count == 0, told.generate_report()


def test_the_interface_speaks_both_languages(studio: Opener) -> None:
    found = studio(locale="zh-CN")
    words = found.page.evaluate(
        "async () => { const { WORDS } = await import('/studio/words.js');"
        "const kinds = (all) => Object.fromEntries(Object.entries(all).map(([k, v]) => [k, typeof v]));"
        "return { en: kinds(WORDS.en), zh: kinds(WORDS.zh) } }"
    )
    assert words["en"] == words["zh"]
    assert found.page.get_attribute("html", "lang") == "zh-Hans"
    for view in VIEWS:
        found.go(view)
        texts = found.page.locator("[data-word]").all_text_contents()
        assert [text for text in texts if not re.search(r"[\u4e00-\u9fff]", text)] == []
    found.picture("live-zh")
    found.go("analyse").analyse("王伟昨天从北京飞到上海✈️，服务太棒了")
    found.picture("analyse-zh")
    found.page.locator("#language").select_option("en")
    expect(found.page.locator("#analyse-title")).to_have_text("Every task's answer")
    found.page.reload()
    expect(found.page.locator("#analyse-title")).to_have_text("Every task's answer")  # it was kept


def test_a_phone_shows_all_of_it(studio: Opener) -> None:
    found = studio(viewport=PHONE, is_mobile=True, has_touch=True)
    found.analyse(TEXT)
    for view in VIEWS:
        found.go(view)
        assert found.width_beyond() <= 0, view
        found.picture(f"phone-{view}")


def test_the_keyboard_is_enough(studio: Opener) -> None:
    found = studio()
    found.page.goto(f"{found.live.url}/studio/")  # with #analyse, Tab would begin there
    found.page.locator("[data-task]").first.wait_for()
    keys = found.page.keyboard

    def until(place: str) -> None:
        for _ in range(150):
            keys.press("Tab")
            if found.page.evaluate("place => document.activeElement.matches(place)", place):
                return
        raise AssertionError(f"Tab does not come to {place}")

    keys.press("Tab")
    expect(found.page.locator(".skip")).to_be_focused()
    until("nav a[href='#ask']")
    keys.press("Enter")
    expect(found.page.locator("#ask")).to_be_visible()
    until("#text")
    keys.press("Control+A")
    keys.type("Where is my parcel?")
    until("#ask-form [type=submit]")
    keys.press("Enter")
    expect(found.page.locator("#ask-answers .card")).to_have_count(4)
    found.page.locator("nav a[href='#analyse']").focus()
    keys.press("Enter")
    until("[data-task] button[aria-label^=Correct]")
    keys.press("Enter")
    expect(found.page.locator("#teach-label")).to_be_focused()
    until("#correct-form [type=submit]")
    keys.press("Enter")
    expect(found.page.locator("#corrections li")).to_have_count(1)


def test_motion_is_reduced_for_who_asks(studio: Opener) -> None:
    found = studio(reduced_motion="reduce")
    found.analyse(TEXT)
    assert found.page.locator(".fill").first.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"


# The pages


def test_a_key_is_asked_for_where_one_is_needed(
    studio: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    write_tiny_pack(tmp_path / "tiny", write_tiny_backbone(tmp_path / "backbone"), branches=True)
    key = add_key(tmp_path / "keys.json", "me")
    with live_server(tmp_path, "tiny", "--keys", "keys.json", "--threads", "1") as keyed:
        found = studio(server=keyed, ready=False)
        expect(found.page.locator("#key-dialog")).to_be_visible()
        found.page.fill("#key-input", key)
        found.page.keyboard.press("Enter")
        expect(found.page.locator("#pack option")).to_have_count(1)
        found.page.fill("#text", "good to Paris")
        expect(found.page.locator("[data-task=sentiment] .headline")).not_to_be_empty()
        assert all("401" in fault for fault in found.faults)
        found.faults.clear()


def test_pages_are_served_with_rules_that_let_nothing_else_in(live: Live) -> None:
    for file in FOLDER.iterdir():
        answer = live.get(f"/studio/{file.name}")
        assert answer.content == file.read_bytes()
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert live.get("/studio/").content == (FOLDER / "index.html").read_bytes()
    for path in ("/", "/studio"):
        assert live.get(path).headers["location"] == "/studio/"


@pytest.mark.parametrize("path", ["no.html", "../pages.py", "..%2fpages.py", "%2fetc%2fpasswd", "%00"])
def test_nothing_else_is_served(live: Live, path: str) -> None:
    assert live.get(f"/studio/{path}").status_code == 404


def test_files_name_no_other_place() -> None:
    for file in FOLDER.iterdir():
        assert set(re.findall(r"https?://[^\"' ]+", file.read_text("utf-8"))) <= {"http://www.w3.org/2000/svg"}, file
