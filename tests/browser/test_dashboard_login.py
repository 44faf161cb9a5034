"""Logging in, in a real browser on a service that asks for keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from alignment_api.auth.keys import KeyRepository, Scope
from tests.browser.browsing import BrowserPage
from tests.integration.api_harness import Service, job_spec, running_service
from tests.narrowing import present

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("home"), auth="on") as running:
        yield running


def new_key(service: Service, *scopes: Scope) -> str:
    keys: KeyRepository = service.app.state.keys
    return keys.add("browser", list(scopes or Scope), keys.ensure_project()).secret


@pytest.fixture
def visitor(guarded: Service, browser: Browser) -> Iterator[BrowserPage]:
    page = BrowserPage(browser, guarded.url)
    yield page
    page.close()


def log_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


def test_a_wrong_key_is_refused_in_words_and_is_not_kept(visitor):
    page = visitor.open("/jobs")
    log_in(page, "essa-this-is-not-a-key")
    expect(page.get_by_role("alert")).to_contain_text("not valid here")
    expect(page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    assert page.evaluate("sessionStorage.length") == 0
    expect(page.get_by_role("navigation", name="Pages", exact=True)).to_have_count(0)


def test_an_empty_key_is_not_sent(visitor):
    page = visitor.open("/login")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Type or paste a key")


def test_login_leads_back_to_the_page_that_was_asked_for(visitor, guarded):
    key = new_key(guarded)
    answer = guarded.client.post(
        JOBS, json=job_spec(guarded.settings.home), headers={"Authorization": f"Bearer {key}"}
    )
    page = visitor.open(f"/jobs/{answer.json()['id']}/events")
    log_in(page, key)
    expect(page.get_by_role("heading", name="quick")).to_be_visible()
    expect(page.get_by_role("link", name="Events")).to_have_attribute("aria-current", "page")
    expect(page.locator(".event").first).to_be_visible()


def test_the_key_outlives_a_reload_but_not_a_log_out(visitor, guarded):
    page = visitor.open("/jobs")
    log_in(page, new_key(guarded))
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_a_key_that_is_revoked_meanwhile_leads_to_the_login(visitor, guarded):
    page = visitor.open("/jobs")
    key = new_key(guarded)
    log_in(page, key)
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    keys: KeyRepository = guarded.app.state.keys
    keys.revoke(present(keys.find(key))["id"])
    guarded.app.state.access.forget()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible(timeout=10_000)


def test_a_key_without_submit_sees_jobs_but_cannot_change_them(visitor, guarded):
    page = visitor.open("/jobs/new?template=blank")
    log_in(page, new_key(guarded, Scope.READ))
    expect(page.get_by_text("Your key lacks the scope submit")).to_be_visible()
    expect(page.get_by_role("button", name="Create job")).to_be_disabled()


def test_nobody_logs_in_where_no_key_is_asked_for(dashboard):
    page = dashboard.open("/")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_have_count(0)


def test_the_page_works_without_any_other_host(guarded, browser: Browser):
    page = BrowserPage(browser, guarded.url)
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    log_in(page.open("/jobs"), new_key(guarded))
    expect(page.page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert asked
    assert [url for url in asked if not url.startswith(guarded.url)] == []
    page.close()
