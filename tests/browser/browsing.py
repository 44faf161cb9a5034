"""A real browser for tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE_WIDTH = 375
PATIENCE_MS = 30_000
"""How long an expectation may take to come true: machines are loaded."""
SETTLING_MS = 5_000
"""A page that was made narrower lays itself out anew."""
AXE = Path(__file__).with_name("axe-core") / "axe.min.js"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, closed at the end."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class BrowserPage:
    """A page of the dashboard that remembers what went wrong in it."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        width: int = 1200,
    ) -> None:
        self.url = url.rstrip("/")
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)

    def open(self, path: str) -> Page:
        """Show a path of the dashboard, such as `/jobs`."""
        self.page.goto(f"{self.url}/#{path}")
        return self.page

    def close(self) -> None:
        """Close the page and forget its session."""
        self.context.close()

    def serious_violations(self, *rules: str) -> list[str]:
        """What axe-core calls serious or critical: rule and place. `rules` are all by default."""
        self.page.evaluate(AXE.read_text())
        options = {"runOnly": list(rules)} if rules else {}
        found: dict[str, Any] = self.page.evaluate("(options) => axe.run(options)", options)
        return [
            f"{rule['id']}: {node['target']}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    def fits_the_screen(self) -> bool:
        """Whether nobody has to scroll sideways, once charts have found their new width."""
        root = "document.documentElement"
        try:
            self.page.wait_for_function(
                f"{root}.scrollWidth <= {root}.clientWidth", timeout=SETTLING_MS
            )
        except PlaywrightTimeoutError:
            return False
        return True

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)
