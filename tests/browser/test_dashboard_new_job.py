"""Writing a job: the form, the JSON beside it, uploads, and what the service says meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.integration.api_harness import Service


def written(page: Page) -> dict[str, Any]:
    """The job as the JSON view shows it."""
    return json.loads(page.get_by_label("The job as JSON").input_value())


def field(page: Page, setting: str) -> Any:
    return page.locator(f"#job-{setting.replace('.', '-')}")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{n}"}) + "\n" for n in range(16)))
    return path


def test_a_job_is_submitted_from_the_form_and_watched_to_its_end(dashboard, rows, open_service):
    page = dashboard.open("/jobs/new")
    page.get_by_role("button", name="Blank").click()
    page.get_by_label("Name", exact=True).fill("from the form")
    field(page, "model.path").fill("org/model")
    page.get_by_label("Upload a file for train").set_input_files(rows)
    expect(page.get_by_text("rows.jsonl: 16 rows, every line read.")).to_be_visible()
    field(page, "reward.type").select_option("sentiment")
    expect(page.get_by_text("This job can run.")).to_be_visible()
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    expect(page.locator(".job-head .status")).to_have_text("succeeded", timeout=20_000)
    (job,) = open_service.client.get("/v1/fine_tuning/jobs?q=from the form").json()["data"]
    assert job["training_file"].startswith("file-")


def test_a_template_fills_the_form_and_brings_its_data(dashboard, open_service):
    page = dashboard.open("/jobs/new")
    page.get_by_role("button", name="Upbeat voice Cheerful").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("upbeat")
    page.get_by_role("button", name="Use the example's data").click()
    expect(page.get_by_text("3 files are uploaded.")).to_be_visible()
    files = open_service.client.get("/v1/files").json()["data"]
    known = {file["filename"]: file["id"] for file in files}
    sets = written(page)["data"]
    assert {name: sets[name]["file_id"] for name in ("train", "validation", "test")} == {
        name: known[f"upbeat-{name}.jsonl"] for name in ("train", "validation", "test")
    }
    # The example asks for two engines, and this service has one.
    page.locator(".problems").get_by_role("button", name="engine.workers").click()
    expect(field(page, "engine.workers")).to_be_focused()
    page.keyboard.type("1")
    expect(page.get_by_text("This job can run.")).to_be_visible()
    expect(page.get_by_text("Completions a generation")).to_be_visible()
    # Chosen again, the files are not uploaded again.
    page.get_by_role("button", name="Constrained").click()
    page.get_by_role("button", name="Use the example's data").click()
    expect(page.get_by_text("3 files are uploaded.")).to_be_visible()
    assert len(open_service.client.get("/v1/files").json()["data"]) == len(files)


@pytest.mark.parametrize("name", ["Constrained", "Instruction following", "School mathematics"])
def test_every_template_lacks_only_its_data(dashboard, name):
    page = dashboard.open("/jobs/new")
    page.get_by_role("button", name=name).click()
    expect(page.locator(".problems li").first).to_be_visible()
    missing = page.locator(".problems li button").all_inner_texts()
    assert set(missing) <= {"data.train", "warm_start.path"}


def test_only_what_differs_from_the_defaults_is_sent(dashboard):
    page = dashboard.open("/jobs/new?template=blank")
    page.get_by_role("heading", name="Search").click()
    field(page, "search.population").fill("40")
    assert written(page) == {"search": {"type": "sep_cma_es", "population": 40}}
    field(page, "search.population").fill("16")
    assert written(page) == {}
    expect(field(page, "search.alpha")).to_have_attribute("placeholder", "1")


def test_a_variant_shows_its_own_settings_and_keeps_shared_ones(dashboard):
    page = dashboard.open("/jobs/new?template=blank")
    page.get_by_role("heading", name="Search").click()
    field(page, "search.population").fill("40")
    field(page, "search.type").select_option("openai_es")
    expect(field(page, "search.learning_rate")).to_be_visible()
    expect(field(page, "search.sigma_min")).to_have_count(0)
    assert written(page) == {"search": {"type": "openai_es", "population": 40}}


def test_components_are_added_and_removed(dashboard):
    page = dashboard.open("/jobs/new?template=blank")
    field(page, "reward.type").select_option("composite")
    for _ in range(2):
        page.get_by_role("button", name="Add component").click()
    field(page, "reward.components.0.name").fill("tone")
    field(page, "reward.components.1.name").fill("size")
    field(page, "reward.components.1.reward.type").select_option("length")
    field(page, "reward.components.1.reward.max").fill("30")
    page.get_by_role("button", name="Remove component 1").click()
    assert written(page)["reward"]["components"] == [
        {"name": "size", "reward": {"type": "length", "max": 30}}
    ]


def test_json_changes_the_form_and_a_slip_in_it_is_told(dashboard):
    page = dashboard.open("/jobs/new?template=blank")
    editor = page.get_by_label("The job as JSON")
    editor.fill('{"name": "from JSON", "search": {"type": "snes", "population": 8}}')
    expect(page.get_by_label("Name", exact=True)).to_have_value("from JSON")
    page.get_by_role("heading", name="Search").click()
    expect(field(page, "search.type")).to_have_value("snes")
    expect(field(page, "search.population")).to_have_value("8")
    editor.fill('{"name": ')
    expect(page.get_by_text("Not JSON yet")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("from JSON")


def test_a_wrong_value_is_told_at_its_field(dashboard):
    page = dashboard.open("/jobs/new?template=upbeat")
    page.get_by_role("heading", name="Search").click()
    field(page, "search.population").fill("1")
    expect(page.locator("#job-search-population-error")).to_contain_text("or more")
    expect(field(page, "search.population")).to_have_attribute("aria-invalid", "true")
    field(page, "search.population").fill("many")
    expect(page.locator("#job-search-population-error")).to_contain_text("whole number")
    field(page, "search.population").fill("8")
    expect(field(page, "search.population")).not_to_have_attribute("aria-invalid", "true")


def test_what_is_missing_is_focused_when_the_job_is_created(dashboard):
    page = dashboard.open("/jobs/new?template=upbeat")
    page.get_by_role("button", name="Create job").click()
    expect(page.locator("#job-data-train-error")).to_contain_text("missing")
    expect(field(page, "data.train")).to_be_focused()


def test_faults_of_an_uploaded_file_are_told_by_line(dashboard, tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"prompt": "a"}\nnot json\n[1]\n')
    page = dashboard.open("/jobs/new?template=blank")
    page.get_by_label("Upload a file for train").set_input_files(path)
    note = page.locator(".upload-note").first
    expect(note).to_contain_text("line 2 is not JSON")
    expect(note).to_contain_text("line 3 holds list")


def test_a_job_that_is_sent_twice_is_made_once(dashboard, open_service: Service, rows):
    page = dashboard.open("/jobs/new?template=blank")
    page.get_by_label("Name", exact=True).fill("once only")
    field(page, "model.path").fill("org/model")
    page.get_by_label("Upload a file for train").set_input_files(rows)
    field(page, "reward.type").select_option("sentiment")
    expect(page.get_by_text("This job can run.")).to_be_visible()
    # The first answer is lost on its way: the page cannot know that the job was made.
    lost: list[str] = []

    def lose_one(route: Any) -> None:
        if route.request.method != "POST" or "validate_only" in route.request.url or lost:
            return route.continue_()
        lost.append(route.fetch().text())
        return route.abort()

    page.route("**/v1/fine_tuning/jobs*", lose_one)
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_text("The service does not answer.")).to_be_visible()
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("heading", name="once only")).to_be_visible()
    made = open_service.client.get("/v1/fine_tuning/jobs?q=once only").json()["data"]
    assert [job["id"] for job in made] == [json.loads(lost[0])["id"]]
    dashboard.problems[:] = [one for one in dashboard.problems if "ERR_FAILED" not in one]
