"""Events, configuration and export of a job, in a real browser on a real service."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.integration.api_harness import Service
from tests.integration.api_scripted_job import ODD_TEXT


@pytest.fixture(scope="module")
def done(open_service: Service) -> str:
    job_id = open_service.submit(name="exported", seed=7)
    open_service.wait_for(job_id, "succeeded")
    return job_id


def test_a_job_is_watched_live_to_its_end(dashboard, open_service):
    job_id = open_service.submit(name="slow")
    page = dashboard.open(f"/jobs/{job_id}/events")
    expect(page.locator(".job-head .status")).to_have_text("running", timeout=15_000)
    open_service.allow(job_id, 1)
    expect(page.locator(".event", has_text="generation 1: best")).to_be_visible(timeout=15_000)
    expect(page.get_by_text("Live.")).to_be_visible()
    open_service.allow(job_id, 2, 3, 4)
    expect(page.locator(".job-head .status")).to_have_text("succeeded", timeout=15_000)
    expect(page.locator(".event").first).to_contain_text("finished: 0.700 on the test set")
    expect(page.get_by_text("The job is over.")).to_be_visible()


def test_a_lost_connection_is_told_and_taken_up_where_it_broke(dashboard, open_service):
    job_id = open_service.submit(name="slow")
    open_service.wait_for(job_id, "running")
    page = dashboard.page
    asked: list[str] = []
    page.on(
        "request",
        lambda request: (
            asked.append(request.headers["last-event-id"])
            if "last-event-id" in request.headers
            else None
        ),
    )
    dashboard.open(f"/jobs/{job_id}/events")
    open_service.allow(job_id, 1)
    expect(page.locator(".event", has_text="generation 1: best")).to_be_visible(timeout=15_000)
    # Every open stream ends, as when the service is started again.
    open_service.app.state.closing.set()
    open_service.allow(job_id, 2)
    expect(page.get_by_text("The connection is lost; trying again.")).to_be_visible(timeout=15_000)
    open_service.app.state.closing.clear()
    expect(page.locator(".event", has_text="generation 2: best")).to_be_visible(timeout=20_000)
    expect(page.locator(".event", has_text="generation 1: best")).to_have_count(1)
    assert asked[0] == "0"
    assert int(asked[-1]) > 0
    open_service.allow(job_id, 3, 4)
    open_service.wait_for(job_id, "succeeded")


def test_events_are_filtered_by_level_and_text(dashboard, open_service):
    job_id = open_service.submit(name="known-error")
    open_service.wait_for(job_id, "failed")
    page = dashboard.open(f"/jobs/{job_id}/events")
    expect(page.locator(".event")).to_have_count(2)
    page.get_by_label("Level").select_option("error")
    expect(page.locator(".event")).to_have_count(1)
    expect(page.locator(".event")).to_contain_text("the engine did not start")
    expect(page.locator(".job-head .problem")).to_contain_text("the engine did not start")
    page.get_by_label("Level").select_option("info")
    page.get_by_label("Message contains").fill("search")
    expect(page.locator(".event")).to_have_count(1)
    page.locator(".event summary").click()
    expect(page.locator(".event pre")).to_contain_text(ODD_TEXT.split("\u2028")[0])


def test_the_specification_is_shown_and_saved_whole(dashboard, open_service, done, tmp_path):
    page = dashboard.open(f"/jobs/{done}/config")
    expect(page.locator(".json-leaf", has_text="seed").last).to_contain_text("7")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download JSON").click()
    path = tmp_path / "spec.json"
    waiting.value.save_as(path)
    assert json.loads(path.read_text()) == open_service.job(done)["essa"]["spec"]
    assert waiting.value.suggested_filename == "exported.json"


def test_the_adapter_is_downloaded_whole(dashboard, done, tmp_path: Path):
    page = dashboard.open(f"/jobs/{done}/export")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download: Adapter").click()
    path = tmp_path / "adapter.zip"
    waiting.value.save_as(path)
    assert waiting.value.suggested_filename.endswith(".zip")
    with zipfile.ZipFile(path) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    expect(page.get_by_text("saved.")).to_be_visible()


def test_the_model_card_and_the_serving_command_are_shown_as_text(dashboard, open_service, done):
    page = dashboard.open(f"/jobs/{done}/export")
    card = open_service.client.get(f"/v1/fine_tuning/jobs/{done}/model_card").text
    shown = page.get_by_role("region", name="Model card")
    expect(shown).to_contain_text(card.splitlines()[0])
    assert shown.text_content() == card
    expect(page.get_by_role("region", name="Base with the adapter")).to_contain_text(
        "--lora-modules exported=./adapter"
    )


def test_a_job_without_a_result_has_nothing_to_export(dashboard, open_service):
    job_id = open_service.submit(name="known-error")
    open_service.wait_for(job_id, "failed")
    page = dashboard.open(f"/jobs/{job_id}/export")
    expect(page.get_by_text("it left nothing to export")).to_be_visible()


def test_tabs_share_one_connection(dashboard, done):
    streams: list[str] = []
    dashboard.page.on(
        "request",
        lambda request: streams.append(request.url) if "last-event-id" in request.headers else None,
    )
    page = dashboard.open(f"/jobs/{done}")
    bar = page.get_by_role("navigation", name="Parts of the job")
    for name in ("Events", "Config", "Fitness", "Events"):
        bar.get_by_role("link", name=name).click()
        expect(bar.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
    expect(page.locator(".event").first).to_be_visible()
    assert len(streams) == 1
    page.go_back()
    expect(bar.get_by_role("link", name="Fitness")).to_have_attribute("aria-current", "page")
