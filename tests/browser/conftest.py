"""What the browser tests share: a Chromium for each module, and services to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import CHROMIUM, BrowserPage, chromium
from tests.integration.api_harness import Service, running_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Of a module, not of the session: while Playwright runs, the thread has a running event loop,
    # and tests of other folders start loops of their own.
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no browser at {CHROMIUM}; install Debian's package chromium")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for no keys and runs scripted jobs."""
    with running_service(tmp_path_factory.mktemp("home"), requests_per_minute=60_000) as running:
        yield running


@pytest.fixture
def dashboard(open_service: Service, browser: Browser) -> Iterator[BrowserPage]:
    """Its dashboard; nothing may go wrong in the page."""
    page = BrowserPage(browser, open_service.url)
    yield page
    problems = [problem for problem in page.problems if not is_refusal(problem)]
    page.close()
    assert problems == []


def is_refusal(problem: str) -> bool:
    """Whether the console only notes that the service refused something, which pages show."""
    return "server responded with a status of 4" in problem
