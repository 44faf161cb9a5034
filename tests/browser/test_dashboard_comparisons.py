"""The pages of comparisons: started, looked at, followed to the jobs and the report."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import PHONE_WIDTH, BrowserPage
from tests.integration.api_harness import Service, job_spec, running_service, wait_until

SCRIPT = (sys.executable, str(Path(__file__).parents[1] / "comparison_job.py"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    with running_service(home, job_command=SCRIPT, requests_per_minute=60_000) as running:
        yield running


@pytest.fixture(scope="module")
def compared(service: Service) -> str:
    """A comparison that has ended."""
    made = service.client.post("/v1/comparisons", json=specification(service)).json()
    path = f"/v1/comparisons/{made['id']}"
    wait_until(lambda: service.client.get(path).json()["status"] == "succeeded", "both arms")
    return made["id"]


def specification(service: Service) -> dict:
    job = {name: value for name, value in job_spec(service.settings.home).items() if name != "name"}
    arms = {"essa": {}, "grpo": {"method": {"type": "grpo"}}}
    return {"name": "two ways", "job": job, "arms": arms, "reference": "grpo", "seeds": [0]}


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", PHONE_WIDTH)]
)
def test_both_pages_are_accessible_and_fit(service, compared, browser: Browser, scheme, width):
    page = BrowserPage(browser, service.url, scheme=scheme, width=width)
    for path in ("/comparisons", f"/comparisons/{compared}"):
        shown = page.open(path)
        expect(shown.get_by_role("region").first).to_be_visible()
        assert page.serious_violations() == [], path
        assert page.fits_the_screen(), path
        expect(shown.locator("h1")).to_have_count(1)
    assert page.problems == []
    page.close()


def test_one_comparison_shows_bands_tables_and_the_way_to_its_jobs(service, compared, browser):
    page = BrowserPage(browser, service.url)
    shown = page.open(f"/comparisons/{compared}")
    figure = shown.locator("figure.chart")
    expect(figure).to_contain_text("essa reaches 0.7 in 15 s. grpo reaches 0.7 in 45 s.")
    shown.get_by_role("combobox", name="Over").select_option(label="tokens")
    expect(figure.get_by_role("heading")).to_contain_text("over tokens")
    assert "x=tokens" in shown.url
    target = shown.get_by_role("region", name="Time to target", exact=True)
    expect(target).to_contain_text("15.0 s; 3×")
    expect(shown.get_by_role("region", name="Test scores")).to_contain_text("0.650")
    with shown.expect_download() as saved:
        shown.get_by_role("button", name="Report, HTML").click()
    assert saved.value.suggested_filename == "two-ways.html"
    assert "<svg" in Path(saved.value.path()).read_text()
    shown.get_by_role("link", name="Job of grpo, seed 0").click()
    expect(shown).to_have_url(re.compile(r"#/jobs/ftjob-"))
    assert page.problems == []
    page.close()


def test_a_comparison_is_started_from_the_page_and_a_wrong_one_is_explained(service, browser):
    page = BrowserPage(browser, service.url)
    shown = page.open("/comparisons")
    shown.get_by_text("New comparison").click()
    text = shown.get_by_label("Specification, JSON")
    wrong = specification(service) | {"reference": "sft"}
    for sent, words in (("{", "not valid JSON"), (json.dumps(wrong), "use one of essa, grpo")):
        text.fill(sent)
        shown.get_by_role("button", name="Start comparison").click()
        expect(shown.get_by_role("alert")).to_contain_text(words)
    text.fill(json.dumps(specification(service) | {"name": "from the page"}))
    shown.get_by_role("button", name="Start comparison").click()
    expect(shown.get_by_role("heading", name="from the page")).to_be_visible()
    expect(shown.get_by_role("region", name="Jobs")).to_contain_text("essa")
    page.close()
