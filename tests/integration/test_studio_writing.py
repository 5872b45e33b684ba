"""The studio's writing, flows and report in a real Chromium, against a live server with a pack of nonsense.

What a server does seldom (a stream that breaks, hangs, or fails midway) is put in its place inside the page.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from live import SECONDS, Live, live_server
from playwright.sync_api import Route, expect
from studio_page import PHONE, Opener, Studio
from tiny_decoder import SAID, write_tiny_decoder
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.pack import TaskEntry, read_pack
from umbel.report import report_of
from umbel.server.keys import add_key
from umbel.writings import Writing

pytest.importorskip("xllamacpp")
REPLY = Writing(task="reply", decoder="tiny.gguf", check_language=False, fallback={"*": "We answer soon."})
NEVER = REPLY.model_copy(update={"moderation": ("sentiment=good", "sentiment=bad")})
FLOW = {
    "description": "Reads, asks, and replies in the language of the message.",
    "steps": {
        "read": {"tasks": ["sentiment", "entities"]},
        "asked": {"ask": {"angry": {"predicate": "The writer is angry"}}},
        "chinese": {"when": 'message.language == "zh"', "reply": "谢谢。"},
        "english": {"when": 'message.language == "en"', "reply": "Thank you."},
        "help": {"when": "english.answered", "search": "none.index"},
        "found": {"when": "help.count > 0", "reply": "{help.text}"},
        "otherwise": {"when": "not chinese.answered and angry.probability >= 0", "reply": "Never mind."},
        "written": {"when": "english.answered", "write": "answer"},
    },
}
TEXT = "good to Paris, 🎉 you know"
STEPS = [
    ("step", {"name": "read", "state": "running"}),
    ("step", {"name": "read", "state": "done", "milliseconds": 2.5, "answer": {"sentiment": {"label": "good"}}}),
    ("step", {"name": "asked", "state": "running"}),
]
TOKENS = [("token", {"text": f"{words} "}) for words in ("We are", "sorry. We look", "into it. Soon")]
ENGLISH = re.compile(r"[A-Za-z]{2,}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("writing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_decoder(folder / "tiny.gguf", 4096)
        backbone = write_tiny_backbone(folder / "backbone")
        entries = {
            name: TaskEntry(kind="text-generation", writing=each)
            for name, each in {"answer": REPLY, "never": NEVER}.items()
        }
        write_tiny_pack(folder / "flowing", backbone, branches=True, **entries)
        manifest = json.loads((folder / "flowing/manifest.json").read_text())
        (folder / "flowing/manifest.json").write_text(json.dumps(manifest | {"flow": FLOW}))
        write_tiny_pack(folder / "plain", backbone, branches=True)
        yield folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    packs = ["flowing=flowing", "plain=plain"]
    with live_server(folder, *packs, "--workers", "0", "--threads", "1", "--timeout", "300") as found:
        yield found


def metric(live: Live, beginning: str) -> float:
    lines = live.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(beginning))


# Writing


def test_a_reply_is_written_as_the_server_says(studio: Opener) -> None:
    found = studio("write")
    found.page.fill("#text", TEXT)
    assert found.page.locator("#write-task option").all_text_contents()[:2] == ["answer", "never"]
    found.page.fill("#write-most", "80")
    found.page.locator("#write-button").click()
    expect(found.page.locator("#write-status")).to_contain_text("80 tokens in")
    told = found.live.post("/v1/generate", {"task": "answer", "text": TEXT, "max_tokens": 80}).json()
    assert set(told["text"]) <= set(SAID)
    expect(found.page.locator("#write-text")).to_have_text(told["text"])
    expect(found.page.locator("#write-notes")).to_have_text("It ended at the limit of tokens.")
    expect(found.page.locator("#write-stop")).to_be_disabled()
    found.picture("write")


def test_what_the_pack_does_not_pass_is_replaced_and_told(studio: Opener) -> None:
    found = studio("write")
    found.page.locator("#write-task").select_option("never")
    found.page.fill("#write-most", "40")
    found.page.locator("#write-button").click()
    expect(found.page.locator("#write-text")).to_have_text("We answer soon.")
    expect(found.page.locator("#write-notes .warn").first).to_contain_text("sentiment")
    expect(found.page.locator("#write-said")).to_have_text("We answer soon.")


def test_a_text_grows_and_is_said_sentence_by_sentence(studio: Opener) -> None:
    found = studio("write")
    found.stream("/v1/generate", TOKENS, "hang")
    found.page.locator("#write-button").click()
    expect(found.page.locator("#write-text")).to_have_text("We are sorry. We look into it. Soon")
    assert found.page.locator("#write-said p").all_text_contents() == ["We are sorry.", "We look into it."]
    expect(found.page.locator("#write-said")).to_have_attribute("aria-live", "polite")
    expect(found.page.locator("#write")).to_have_attribute("aria-busy", "true")
    expect(found.page.locator("#write-status")).to_have_text("Writing …")
    assert found.page.evaluate("window.wanted.stream") is True
    found.picture("write-growing")
    found.page.locator("#write-stop").click()
    expect(found.page.locator("#write-status")).to_have_text("Stopped.")
    assert found.page.evaluate("window.stopped")
    expect(found.page.locator("#write-text")).to_have_text("We are sorry. We look into it. Soon")
    expect(found.page.locator("#write-button")).to_be_focused()
    expect(found.page.locator("#write")).not_to_have_attribute("aria-busy", "true")


def test_stop_ends_the_writing_on_the_server(studio: Opener) -> None:
    def until(texts: float) -> None:
        end = time.monotonic() + SECONDS
        while metric(found.live, "umbel_writing_running") != texts:
            assert time.monotonic() < end
            time.sleep(0.05)

    found = studio("write")
    found.page.fill("#write-most", "3000")
    found.page.locator("#write-button").click()
    until(1)
    found.page.locator("#write-stop").press("Escape")
    expect(found.page.locator("#write-status")).to_have_text("Stopped.")
    until(0)
    assert metric(found.live, "umbel_written_tokens_total") < 3000


def test_sentences_are_seen_before_the_last_is_written(studio: Opener, folder: Path, tmp_path: Path) -> None:
    going = threading.Event()

    class Elsewhere(BaseHTTPRequestHandler):
        """A server of OpenAI's protocol that says a sentence, and the next when it is let."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for text in ("The parcel is late. ", "It comes tomorrow. ", "Good night."):
                chunk = {"choices": [{"delta": {"content": text}, "finish_reason": None}]}
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.flush()
                assert text != "It comes tomorrow. " or going.wait(SECONDS)
            self.wfile.write(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        decoder = f"http://127.0.0.1:{elsewhere.server_port}/v1#any"
        arguments = ["--decoder", decoder, "--workers", "0", "--threads", "1"]
        with live_server(tmp_path, folder / "plain", *arguments, environment={"NO_PROXY": "127.0.0.1"}) as live:
            found = studio("write", server=live)
            found.page.locator("#write-button").click()
            expect(found.page.locator("#write-text")).to_contain_text("The parcel is late.")
            expect(found.page.locator("#write-stop")).to_be_enabled()
            assert "Good night" not in found.page.inner_text("#write-text")
            going.set()
            expect(found.page.locator("#write-text")).to_have_text("The parcel is late. It comes tomorrow. Good night.")
            expect(found.page.locator("#write-stop")).to_be_disabled()
            elsewhere.shutdown()


@pytest.mark.parametrize("ending", ["break", "close"])
def test_a_stream_that_breaks_off_says_so_and_keeps_what_came(studio: Opener, ending: str) -> None:
    found = studio("write")
    found.stream("/v1/generate", TOKENS, ending)
    found.page.locator("#write-button").click()
    expect(found.page.locator("#error")).to_contain_text("The answer broke off.")
    expect(found.page.locator("#write-text")).to_have_text("We are sorry. We look into it. Soon")
    expect(found.page.locator("#write-button")).to_be_enabled()


def test_an_error_within_a_stream_is_told_in_the_servers_words(studio: Opener) -> None:
    found = studio("write")
    error = {"error": {"code": "decoder", "message": "the decoder is tired", "hint": "wake it"}}
    found.stream("/v1/generate", [TOKENS[0], ("error", error)])
    found.page.locator("#write-button").click()
    expect(found.page.locator("#error")).to_have_text("the decoder is tired (wake it)")
    expect(found.page.locator("#write-text")).to_have_text("We are ")


def test_sources_and_limits_are_told(studio: Opener) -> None:
    found = studio("write")
    source = {"number": 1, "source": "help.md", "text": "A parcel takes three days."}
    result = {"text": "Three days [1].", "language": "en", "finish_reason": "time", "usage": {"completion_tokens": 5}}
    result |= {"flagged": False, "flags": [], "sources": [source], "dropped_turns": 2, "cut_tokens": 9}
    result |= {"milliseconds": 1200, "milliseconds_first": 80}
    found.stream("/v1/generate", [("token", {"text": "Three days [1]."}), ("result", result)])
    found.page.locator("#write-button").click()
    expect(found.page.locator("#write-status")).to_have_text("5 tokens in 1.2 s, the first after 80 ms")
    expect(found.page.locator("#write-notes .warn")).to_have_count(2)
    expect(found.page.locator("#write-notes .sources")).to_contain_text("A parcel takes three days.")
    assert found.page.locator("#write-said p").all_text_contents() == ["Three days [1]."]


@pytest.mark.parametrize(("view", "button"), [("write", "#write-button"), ("flow", "#flow-button")])
def test_an_empty_text_is_not_sent(studio: Opener, view: str, button: str) -> None:
    found = studio(view)
    found.page.fill("#text", "  ")
    found.page.locator(button).click()
    expect(found.page.locator(f"#{view}-status")).to_have_text("Type or paste a text above.")
    expect(found.page.locator("#text")).to_be_focused()
    assert [each.url for each in found.asked if each.method == "POST" and "/v1/analyze" not in each.url] == []


def test_what_a_pack_cannot_do_is_said_and_not_asked(studio: Opener) -> None:
    found = studio("write")
    found.page.locator("#pack").select_option("plain")
    expect(found.page.locator("#no-writer")).to_be_visible()
    expect(found.page.locator("#write-button")).to_be_disabled()
    found.go("flow").page.locator("#pack").select_option("plain")
    expect(found.page.locator("#flow-about")).to_contain_text("This pack declares no flow")
    expect(found.page.locator("#flow-button")).to_be_disabled()
    expect(found.page.locator("#flow-map .step")).to_have_count(0)


# Flows


def states(found: Studio) -> dict[str, str]:
    place = "#flow-map .step:not([data-step=message])"
    pairs = found.page.eval_on_selector_all(place, "all => all.map(e => [e.dataset.step, e.dataset.state])")
    return dict(pairs)


def test_a_flow_is_drawn_and_the_path_lit(studio: Opener) -> None:
    found = studio("flow")
    drawn = found.live.get("/v1/packs/flowing/flow").json()
    names = [step["name"] for step in drawn["steps"]]
    expect(found.page.locator("#flow-map .step")).to_have_count(len(names) + 1)
    lines = found.page.locator("#flow-map path:not(.head)")
    expect(lines).to_have_count(sum(len(step["after"]) for step in drawn["steps"]))
    assert set(states(found).values()) == {"waiting"}
    found.page.fill("#text", TEXT)
    found.page.locator("#flow-button").click()
    expect(found.page.locator("#flow-status")).to_contain_text(f"of {len(names)} steps ran in")
    told = found.live.post("/v1/flow", {"text": TEXT}).json()
    known = {"ran": "done", "skipped": "skipped", "failed": "failed", "timed out": "failed"}
    assert states(found) == {
        step["name"]: "fallback" if step["fallback"] else known[step["state"]] for step in told["steps"]
    }
    assert {"done", "skipped", "failed"} <= set(states(found).values())
    expect(found.page.locator("#flow-reply")).to_have_text("Thank you.")
    for step in told["steps"]:
        box = found.page.locator(f"[data-step={step['name']}]")
        if step["why"]:
            expect(box.locator(".state")).to_contain_text(step["why"])
        if step["state"] == "ran":
            expect(box.locator(".got li")).to_have_count(len(step["answers"]))
    gone = {"message", *(step["name"] for step in told["steps"] if step["state"] == "ran")}
    both = [step for step in drawn["steps"] for each in step["after"] if {step["name"], each["step"]} <= gone]
    expect(found.page.locator("#flow-map path.lit:not(.head):not(.seen)")).to_have_count(len(both))
    found.picture("flow")


def test_another_text_takes_another_path(studio: Opener) -> None:
    found = studio("flow", locale="zh-CN")
    found.page.fill("#text", "这 谢谢你们")
    found.page.locator("#flow-button").click()
    expect(found.page.locator("#flow-reply")).to_have_text("谢谢。")
    assert (states(found)["chinese"], states(found)["english"]) == ("done", "skipped")
    found.page.locator("#language").select_option("en")
    expect(found.page.locator("[data-step=chinese] .state")).to_contain_text("ran")
    expect(found.page.locator("#flow-reply")).to_have_text("谢谢。")


def test_steps_are_seen_as_they_run_and_stop(studio: Opener) -> None:
    found = studio("flow")
    expect(found.page.locator("#flow-map .step")).to_have_count(len(FLOW["steps"]) + 1)
    said = [("token", {"step": "written", "text": "Dear customer. "})]
    found.stream("/v1/flow", STEPS + said, "hang")
    found.page.locator("#flow-button").click()
    expect(found.page.locator("[data-step=asked]")).to_have_attribute("data-state", "running")
    expect(found.page.locator("[data-step=read] .state")).to_have_text("ran · 2.5 ms")
    expect(found.page.locator("[data-step=read] .got")).to_have_text("sentiment good")
    expect(found.page.locator("#flow-status")).to_have_text("asked runs …")
    expect(found.page.locator("[data-step=written] .said")).to_have_text("Dear customer. ")
    expect(found.page.locator("#flow-reply")).to_have_text("Dear customer. ")
    expect(found.page.locator("#flow-said p")).to_have_text("Dear customer.")
    found.picture("flow-running")
    found.page.locator("#flow-stop").click()
    expect(found.page.locator("#flow-status")).to_have_text("Stopped.")
    expect(found.page.locator("[data-step=asked]")).to_have_attribute("data-state", "waiting")
    assert found.page.evaluate("window.stopped")


def test_a_flow_that_breaks_off_says_so(studio: Opener) -> None:
    found = studio("flow")
    found.stream("/v1/flow", STEPS, "break")
    found.page.locator("#flow-button").click()
    expect(found.page.locator("#error")).to_contain_text("The answer broke off.")
    assert states(found)["read"] == "done"
    assert states(found)["asked"] == "waiting"


def test_rows_follow_what_steps_come_after(studio: Opener) -> None:
    after = {"a": ["message"], "b": ["a"], "c": ["message"], "d": ["a", "b"]}
    given = [{"name": name, "after": [{"step": each} for each in before]} for name, before in after.items()]
    script = "async (steps) => (await import('/studio/drawing.js')).rowsOf(steps).map(r => r.map(s => s.name))"
    assert studio().page.evaluate(script, given) == [["a", "c"], ["b"], ["d"]]


# The report


def test_the_report_is_the_servers(studio: Opener, live: Live, folder: Path) -> None:
    told = live.get("/v1/packs/flowing/report").json()
    assert told == json.loads(json.dumps(report_of(read_pack(folder / "flowing"))))
    found = studio("report")
    expect(found.page.locator("#report-name")).to_have_text("tiny 0.1.0")
    for sentence in told["advice"]:
        expect(found.page.locator("#report-body")).to_contain_text(sentence["en"].replace("`", ""))
    expect(found.page.locator("table.figures").first).to_contain_text("81.3")
    found.picture("report")


def test_a_report_from_a_file_shows_all_its_plots(studio: Opener, tmp_path: Path) -> None:
    found = studio("report")
    example = Path(__file__).parents[2] / "docs" / "examples" / "base-report" / "report.json"
    told = json.loads(example.read_text("utf-8"))
    expect(found.page.locator("#report-name")).to_have_text("tiny 0.1.0")
    found.page.set_input_files("#report-file", example)
    expect(found.page.locator("#report-name")).to_have_text(f"base {told['version']}")
    expect(found.page.locator("#report-body")).to_contain_text(f"{told['worst_change']['change']:.2f}")
    expect(found.page.locator(".heat")).to_have_count(2)
    pairs = found.page.locator(".heat").first.locator("td.gained, td.lost")
    expect(pairs).to_have_count(len(told["interference"]["pairs"]))
    task = found.page.locator("[data-report=news-topic]")
    task.locator("summary").click()
    expect(task.locator("svg.plot")).to_have_count(2)
    expect(task.locator("polyline").nth(1)).to_be_visible()
    expect(task.locator(".heat tbody tr")).to_have_count(len(told["tasks"]["news-topic"]["confusions"]["labels"]))
    assert Axe().run(found.page).violations_count == 0
    found.picture("report-measured")
    (tmp_path / "no.json").write_text("[]")
    found.page.set_input_files("#report-file", tmp_path / "no.json")
    expect(found.page.locator("#error")).to_have_text("This file is no report.")


# What goes wrong


def test_a_full_queue_is_waited_for_and_then_told(studio: Opener) -> None:
    found = studio("write")
    left = [1, 60]

    def full(route: Route) -> None:
        told = {"error": {"message": "the queue is full", "hint": "come again"}}
        route.fulfill(status=429, json=told, headers={"retry-after": str(left.pop(0))})

    found.page.route("**/v1/generate", full)
    found.page.locator("#write-button").click()
    expect(found.page.locator("#busy")).to_have_text("The server is busy. It is asked again in 1 s.")
    expect(found.page.locator("#error")).to_have_text(
        "The server is busy; try again in a moment. the queue is full (come again)"
    )
    expect(found.page.locator("#busy")).to_be_hidden()
    assert left == []
    found.forgive("429")


def test_a_text_that_is_too_long_says_so(studio: Opener, folder: Path, tmp_path: Path) -> None:
    with live_server(tmp_path, folder / "plain", "--workers", "0", "--threads", "1", "--max-body", "32") as small:
        found = studio(server=small)
        found.page.fill("#text", "good " * 100_000)
        expect(found.page.locator("#error")).to_contain_text("The text is too long for this server.")
        found.page.fill("#text", "good")
        expect(found.page.locator("#error")).to_be_hidden()
        expect(found.page.locator("[data-task=sentiment] .headline")).not_to_be_empty()
        found.forgive("413")


def test_a_server_that_is_gone_and_back_is_noticed(studio: Opener, folder: Path, tmp_path: Path) -> None:
    with live_server(tmp_path, folder / "plain", "--workers", "0", "--threads", "1") as gone:
        found = studio("live", server=gone)
        expect(found.page.locator("[data-tile=requests] .big")).not_to_have_text("–")
        found.page.route("**/metrics", lambda route: route.abort())
        expect(found.page.locator("#error")).to_have_text("The server cannot be reached.")
        found.page.unroute("**/metrics")
        expect(found.page.locator("#error")).to_be_hidden()
        found.go("analyse")
        gone.terminate()
        found.page.fill("#text", "good")
        expect(found.page.locator("#error")).to_have_text("The server cannot be reached.")
        found.forgive("Failed to load resource")


def test_a_wrong_key_is_told_where_it_is_asked_for(studio: Opener, folder: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "me")
    arguments = ["--keys", "keys.json", "--workers", "0", "--threads", "1"]
    with live_server(tmp_path, folder / "flowing", *arguments) as keyed:
        found = studio("flow", server=keyed, ready=False)
        found.page.goto(keyed.url)  # without a key, too, the way leads to the page
        expect(found.page.locator("#key-dialog")).to_be_visible()
        expect(found.page.locator("#key-error")).to_be_hidden()
        found.page.fill("#key-input", "wrong")
        found.page.keyboard.press("Enter")
        expect(found.page.locator("#key-error")).to_have_text("A key is needed, and this one is none of the server's.")
        found.page.fill("#key-input", key)
        found.page.keyboard.press("Enter")
        expect(found.page.locator("#pack option")).to_have_count(1)
        found.go("flow").page.locator("#flow-button").click()
        expect(found.page.locator("#flow-status")).to_contain_text("steps ran in")
        stores = "[sessionStorage.getItem('umbel-key'), JSON.stringify(localStorage), document.cookie]"
        kept, elsewhere, cookies = found.page.evaluate(stores)
        assert kept == key
        assert key not in elsewhere + cookies + found.page.url
        found.forgive("401")


# For everyone


def fill(found: Studio, view: str) -> None:
    """Let a view show what it can."""
    if view == "write":
        found.page.fill("#write-most", "60")
        found.page.locator("#write-button").click()
        expect(found.page.locator("#write-notes .warn")).not_to_have_count(0)
    elif view == "flow":
        expect(found.page.locator("#flow-map .step")).not_to_have_count(0)
        found.page.locator("#flow-button").click()
        expect(found.page.locator("[data-step=read]")).to_have_attribute("data-state", "done")
        expect(found.page.locator("#flow-stop")).to_be_disabled()
    else:
        expect(found.page.locator("table.figures").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["desk", "phone"])
def test_no_barriers_in_what_is_shown(studio: Opener, scheme: str, screen: str) -> None:
    phone: dict[str, Any] = {"viewport": PHONE, "is_mobile": True, "has_touch": True}
    found = studio(color_scheme=scheme, locale="zh-CN", **(phone if screen == "phone" else {}))
    found.page.fill("#text", TEXT)
    for view in ("write", "flow", "report"):
        fill(found.go(view), view)
        assert found.width_beyond() <= 0, view
        told = Axe().run(found.page)
        assert told.violations_count == 0, told.generate_report()
        found.picture(f"{screen}-{scheme}-{view}-zh")


def test_no_word_is_left_in_the_markup(studio: Opener) -> None:
    found = studio("live", locale="zh-CN")
    script = """() => {
      const names = /^(Umbel|English|--decoder|NAME|umbel models)$/;
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const left = [];
      for (let node; (node = texts.nextNode()); ) {
        const place = node.parentElement;
        if (place.closest("noscript, #live, #pack, #answers, [data-word]") || !node.textContent.trim()) continue;
        left.push(node.textContent.trim());
      }
      for (const each of document.querySelectorAll("[placeholder], [aria-label], [title], [alt]")) {
        for (const name of ["placeholder", "aria-label", "title", "alt"]) {
          if (each.closest("#samples")) continue;
          if (each.getAttribute(name)) left.push(each.getAttribute(name));
        }
      }
      return left.filter((words) => !names.test(words));
    }"""
    assert [words for words in found.page.evaluate(script) if ENGLISH.search(words)] == []
