"""What the tests of the studio share: a real browser, and pages that may not complain."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from live import Live
    from playwright.sync_api import Browser
    from studio_page import Opener, Studio


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window, in a new folder of its own."""
    from playwright.sync_api import sync_playwright
    from studio_page import FLAGS

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not path:
        pytest.skip("no chromium: `make browser` installs one where there is apt-get")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def studio(live: Live, browser: Browser) -> Iterator[Opener]:
    """Opens studios; none of them may complain, or ask anything of another server."""
    from playwright.sync_api import expect
    from studio_page import PATIENCE, Studio

    opened: list[Studio] = []

    def start(view: str = "analyse", server: Live = live, ready: bool = True, **more: Any) -> Studio:
        context = browser.new_context(**({"locale": "en-GB", "viewport": {"width": 1200, "height": 850}} | more))
        context.set_default_timeout(PATIENCE)
        found = Studio(context.new_page(), server)
        found.listen()
        opened.append(found)
        return found.go(view, ready)

    expect.set_options(timeout=PATIENCE)
    yield start
    for each in opened:
        assert each.faults == []
        assert [request.url for request in each.asked if not request.url.startswith(each.live.url)] == []
        each.page.context.close()
