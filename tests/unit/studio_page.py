"""A page of the studio in a browser, for tests: what it asked for, what it complained of, pictures of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live import Live
from playwright.sync_api import ConsoleMessage, Page, Request, expect

PICTURES = Path(__file__).parents[2] / "runs" / "studio"
PATIENCE = 300_000  # milliseconds, on a busy machine; what goes well is quicker
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWS = ("analyse", "ask", "document", "write", "flow", "teach", "compare", "report", "live")
BARE = "e => { e = e.cloneNode(true); e.querySelectorAll('.tag').forEach(tag => tag.remove()); return e.textContent }"
PHONE = {"width": 360, "height": 740}
STREAM = """([path, events, ending, pause]) => {
  const real = window.fetch;
  window.stopped = false;
  window.fetch = (asked, options) => {
    if (!String(asked).endsWith(path)) return real(asked, options);
    window.wanted = JSON.parse(options.body);
    const left = [...events];
    const bytes = ([name, data]) => new TextEncoder().encode(`event: ${name}\\ndata: ${JSON.stringify(data)}\\n\\n`);
    const body = new ReadableStream({
      start(stream) {
        options.signal.addEventListener("abort", () => {
          window.stopped = true;
          stream.error(options.signal.reason);
        });
      },
      async pull(stream) {
        await new Promise((done) => setTimeout(done, pause));
        if (left.length) return stream.enqueue(bytes(left.shift()));
        if (ending === "close") return stream.close();
        if (ending === "break") return stream.error(new TypeError("network error"));
        return new Promise(() => {});
      },
    });
    return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
  };
}"""


@dataclass
class Studio:
    """A page of the studio, and what it asked for and complained of."""

    page: Page
    live: Live
    asked: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def listen(self) -> None:
        def hear(said: ConsoleMessage) -> None:
            if said.type in ("error", "warning"):
                self.faults.append(said.text)

        self.page.on("request", lambda request: self.asked.append(request))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", hear)

    def go(self, view: str, ready: bool = True) -> Studio:
        self.page.goto(f"{self.live.url}/studio/#{view}")
        if not ready:
            return self
        expect(self.page.locator(f"#{view}")).to_be_visible()
        expect(self.page.locator("#pack option")).not_to_have_count(0)
        return self

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def analyse(self, text: str) -> dict[str, Any]:
        """Type a text, wait for its answers, and return what the server says of it."""
        self.page.fill("#text", text)
        body = {"pack": self.page.input_value("#pack"), "texts": [text]}
        told: dict[str, Any] = self.live.post("/v1/analyze", body).json()["results"][0]
        self.page.wait_for_function(f"text => ({BARE})(document.querySelector('#marked')) === text", arg=text)
        expect(self.page.locator("[data-task=sentiment] .headline")).to_have_text(told["answers"]["sentiment"]["label"])
        return told

    def stream(
        self, path: str, events: Sequence[tuple[str, Any]], ending: str = "close", milliseconds: int = 10
    ) -> None:
        """Let a route answer these events to the page; then it closes, breaks, or hangs."""
        self.page.evaluate(STREAM, [path, list(events), ending, milliseconds])

    def words(self, place: str) -> list[str]:
        return self.page.locator(f"{place} .words").all_text_contents()

    def without_tags(self, place: str) -> str:
        return str(self.page.locator(place).evaluate(BARE))

    def width_beyond(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def forgive(self, pattern: str) -> None:
        """Forget complaints that a test has called for; all must be such."""
        assert [fault for fault in self.faults if not re.search(pattern, fault)] == []
        self.faults.clear()


Opener = Callable[..., Studio]
