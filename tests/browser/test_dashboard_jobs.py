"""The list of jobs and the head of a job, in a real browser on a real service."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.integration.api_harness import Service


@pytest.fixture(scope="module")
def done(open_service: Service) -> str:
    """A job that has succeeded."""
    job_id = open_service.submit(name="first of all")
    open_service.wait_for(job_id, "succeeded")
    return job_id


@pytest.fixture
def slow(open_service: Service):
    """A running job that waits to be told how far it goes."""
    job_id = open_service.submit(name="slow")
    open_service.wait_for(job_id, "running")
    yield job_id
    open_service.allow(job_id, 1, 2, 3, 4)
    open_service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    open_service.wait_for(job_id, "cancelled", "succeeded")


def row(page: Page, job_id: str) -> Locator:
    return page.locator(f'tr[data-job="{job_id}"]')


def test_a_job_is_listed_with_its_numbers(dashboard, done):
    page = dashboard.open("/jobs")
    shown = row(page, done)
    expect(shown.locator(".status")).to_have_text("succeeded")
    expect(shown.get_by_role("img")).to_have_attribute(
        "aria-label", "Mean fitness from 0.05 to 0.2"
    )
    expect(shown.locator(".best")).to_have_text("0.4")
    shown.get_by_role("link").click()
    expect(page.get_by_role("heading", name="first of all")).to_be_visible()
    assert page.url.endswith(f"#/jobs/{done}")


def test_the_list_follows_a_running_job_without_a_reload(dashboard, open_service, slow):
    page = dashboard.open("/jobs")
    expect(row(page, slow).locator(".status")).to_have_text("running")
    open_service.allow(slow, 1, 2)
    expect(row(page, slow)).to_contain_text("2 of 50", timeout=15_000)


def test_text_and_status_filter_the_list_and_stand_in_the_address(dashboard, done, slow):
    page = dashboard.open("/jobs")
    page.get_by_label("Name contains").fill("first")
    expect(row(page, slow)).to_have_count(0)
    expect(row(page, done)).to_be_visible()
    page.get_by_label("Name contains").fill("")
    page.get_by_label("Status").select_option("running")
    expect(row(page, done)).to_have_count(0)
    expect(row(page, slow)).to_be_visible()
    page.reload()
    expect(page.get_by_label("Status")).to_have_value("running")
    expect(row(page, done)).to_have_count(0)
    page.get_by_label("Name contains").fill("no such job")
    expect(page.get_by_text("No job fits these filters.")).to_be_visible()


def test_older_jobs_are_a_page_away(dashboard, open_service, slow):
    # Behind the slow one they wait, and so take no time.
    jobs = [open_service.submit(name=f"paged {n}") for n in range(30)]
    page = dashboard.open("/jobs?q=paged")
    expect(page.locator("tr[data-job]")).to_have_count(25)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("tr[data-job]")).to_have_count(5)
    expect(row(page, jobs[0])).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(row(page, jobs[-1])).to_be_visible()
    for job_id in jobs:
        open_service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")


def test_a_job_is_cancelled_after_a_second_question(dashboard, open_service, slow):
    page = dashboard.open("/jobs")
    row(page, slow).get_by_role("button", name="Cancel").click()
    expect(row(page, slow).get_by_text("Cancel for good?")).to_be_visible()
    row(page, slow).get_by_role("button", name="No").click()
    assert open_service.job(slow)["status"] == "running"
    row(page, slow).get_by_role("button", name="Cancel").click()
    row(page, slow).get_by_role("button", name="Yes").click()
    expect(row(page, slow).locator(".status")).to_have_text("cancelled", timeout=15_000)
    assert open_service.job(slow)["status"] == "cancelled"


def test_a_job_is_paused_and_resumed_from_its_own_page(dashboard, open_service, slow):
    page = dashboard.open(f"/jobs/{slow}/events")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".job-head .status")).to_have_text("paused", timeout=15_000)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".job-head .status")).to_have_text("running", timeout=15_000)


def test_a_clone_starts_from_what_its_job_says_beyond_the_defaults(dashboard, open_service, done):
    page = dashboard.open(f"/jobs/{done}")
    page.get_by_role("button", name="Clone").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("first of all")
    written = page.get_by_label("The job as JSON").input_value()
    assert '"sentiment"' in written
    assert "validation_fraction" not in written
    page.get_by_label("Name", exact=True).fill("second of all")
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("heading", name="second of all")).to_be_visible()
    (made,) = open_service.client.get("/v1/fine_tuning/jobs?q=second").json()["data"]
    assert made["essa"]["spec"] == open_service.job(done)["essa"]["spec"] | {
        "name": "second of all"
    }


def test_focus_stays_on_a_row_that_is_refreshed(dashboard, open_service, slow):
    page = dashboard.open("/jobs")
    row(page, slow).get_by_role("link").focus()
    open_service.allow(slow, 1)
    expect(row(page, slow)).to_contain_text("1 of 50", timeout=15_000)
    assert page.evaluate("document.activeElement.closest('tr')?.dataset.job") == slow


def test_ticked_jobs_are_compared(dashboard, done):
    page = dashboard.open("/jobs?q=first")
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    row(page, done).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare 1").click()
    expect(page.get_by_role("heading", name="Compare jobs")).to_be_visible()


def test_a_job_that_is_not_there_is_told(dashboard):
    page = dashboard.open("/jobs/ftjob-0000")
    expect(page.get_by_role("alert")).to_contain_text("ftjob-0000")


def test_an_address_that_is_no_page_is_told(dashboard):
    page = dashboard.open("/no/such/page")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
