"""Every page for everybody: themes, phones, keyboards; and no way in for scripts."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from alignment_api.http.dashboard import STATIC
from tests.browser.browsing import PHONE_WIDTH, BrowserPage
from tests.browser.conftest import is_refusal
from tests.integration.api_harness import Service, running_service

SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    r"|setAttribute\(\"style\"|createContextualFragment|https?://(?!www\.w3\.org/)"
)


@pytest.fixture(scope="module")
def pages(open_service: Service) -> dict[str, str]:
    """Every page by its path, and what is there once it is drawn."""
    job_id = open_service.submit(name="looked at")
    open_service.wait_for(job_id, "succeeded")
    return {
        "/jobs": "tr[data-job] .sparkline",
        "/jobs/new": ".gallery",
        "/jobs/new?template=constrained": ".problems li",
        f"/jobs/{job_id}/events": ".event",
        f"/jobs/{job_id}/config": ".json-leaf",
        f"/jobs/{job_id}/export": ".export-row",
        f"/compare?jobs={job_id}": "figure.chart",
        "/playground": "h1",
        "/nowhere": "h1",
    }


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", PHONE_WIDTH)]
)
def test_pages_are_accessible_and_fit(open_service, browser: Browser, pages, scheme, width):
    page = BrowserPage(browser, open_service.url, scheme=scheme, width=width)
    for path, drawn in pages.items():
        shown = page.open(path)
        expect(shown.locator(drawn).first).to_be_visible()
        shown.evaluate("document.querySelectorAll('.part').forEach((part) => (part.open = true))")
        assert page.serious_violations() == [], path
        assert page.fits_the_screen(), path
        expect(shown.locator("h1")).to_have_count(1)
    # The console would name every breach of the security policy.
    assert [problem for problem in page.problems if not is_refusal(problem)] == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_is_accessible(browser, tmp_path_factory, scheme):
    with running_service(tmp_path_factory.mktemp("home"), auth="on") as guarded:
        page = BrowserPage(browser, guarded.url, scheme=scheme, width=PHONE_WIDTH)
        page.open("/jobs")
        page.page.get_by_label("API key").fill("essa-wrong")
        page.page.get_by_role("button", name="Log in").click()
        expect(page.page.get_by_role("alert")).to_contain_text("not valid")
        assert page.serious_violations() == []
        assert page.fits_the_screen()
        page.close()


def test_the_keyboard_reaches_the_content_past_the_bar(dashboard):
    page = dashboard.open("/jobs")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('#main').contains(document.activeElement)")
    assert page.url.endswith("#/jobs")


def test_focus_moves_to_a_new_page_and_the_bar_says_where_one_is(dashboard):
    page = dashboard.open("/jobs")
    bar = page.get_by_role("navigation", name="Pages", exact=True)
    bar.get_by_role("link", name="Playground").press("Enter")
    expect(bar.get_by_role("link", name="Playground")).to_have_attribute("aria-current", "page")
    expect(page.locator("#main")).to_be_focused()
    expect(page).to_have_title(re.compile("^Playground"))


def test_the_theme_is_chosen_and_kept(dashboard):
    page = dashboard.open("/jobs")
    button = page.get_by_role("button", name="Theme")
    colours = [background(page)]
    for wanted in ("light", "dark"):
        button.click()
        expect(button).to_contain_text(wanted)
        colours.append(background(page))
    assert colours[0] == colours[1] != colours[2]
    page.reload()
    expect(button).to_contain_text("dark")
    assert background(page) == colours[2]


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_html_in_a_name_is_shown_as_text(dashboard, open_service):
    name = "<img src=x onerror=alert(1)>"
    job_id = open_service.submit(name=name)
    for path in ("/jobs", f"/jobs/{job_id}/config", f"/jobs/{job_id}/events"):
        page = dashboard.open(path)
        expect(page.get_by_text(name).first).to_be_visible()
        assert page.locator("img").count() == 0
    open_service.wait_for(job_id, "succeeded")


def test_the_browser_refuses_html_from_text_and_foreign_scripts(dashboard):
    page = dashboard.open("/jobs")
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
    )
    assert refused
    dashboard.problems.clear()


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/css/base.css"])
def test_files_carry_a_strict_policy(open_service, path):
    headers = open_service.client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"


def test_files_that_have_not_changed_are_not_sent_again(open_service):
    client: httpx.Client = open_service.client
    tag = client.get("/static/app.js").headers["etag"]
    assert client.get("/static/app.js", headers={"If-None-Match": tag}).status_code == 304


def test_nothing_outside_the_folder_is_served(open_service):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/nothing.js"):
        answer = open_service.client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "unknown_route"


@pytest.mark.parametrize(
    "path",
    sorted(
        path.relative_to(STATIC).as_posix()
        for path in STATIC.rglob("*")
        if path.suffix in {".js", ".html", ".css"} and "vendor" not in path.parts
    ),
)
def test_no_file_builds_html_from_text_or_asks_another_host(path):
    text = (STATIC / path).read_text(encoding="utf-8")
    assert SINKS.findall(text) == []
    if Path(path).suffix == ".html":
        assert "<style" not in text
        assert " style=" not in text
        assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
