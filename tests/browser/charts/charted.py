"""Charted jobs, and where their charts are on a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.browsing import BrowserPage
from tests.integration.api_harness import Service, job_spec, wait_until

JOB_COMMAND = (sys.executable, str(Path(__file__).with_name("charted_job.py")))
CONSTRAINED = {
    "reward": {
        "type": "composite",
        "components": [
            {"name": "sentiment", "weight": 1.0, "reward": {"type": "sentiment"}},
            {"name": "length", "weight": 0.5, "reward": {"type": "length", "max": 30}},
        ],
    },
    "method": {
        "type": "constrained_evolution",
        "objective": "sentiment",
        "constraints": [{"component": "length", "direction": "<=", "threshold": 0.5}],
    },
}


def submit(service: Service, **changes: Any) -> str:
    """Queue a job and return its id."""
    answer = service.client.post(
        "/v1/fine_tuning/jobs", json=job_spec(service.settings.home, **changes)
    )
    assert answer.is_success, answer.text
    return answer.json()["id"]


def finished(service: Service, **changes: Any) -> str:
    """Run a job to its end and return its id."""
    job_id = submit(service, **changes)
    wait_until(lambda: status(service, job_id) == "succeeded", f"{job_id} to succeed")
    return job_id


def status(service: Service, job_id: str) -> str:
    """The state of a job."""
    return service.client.get(f"/v1/fine_tuning/jobs/{job_id}").json()["status"]


def record(service: Service, job_id: str, name: str, **query: Any) -> dict[str, Any]:
    """What a job recorded, over HTTP."""
    return service.client.get(f"/v1/fine_tuning/jobs/{job_id}/{name}", params=query).json()


def chart(dashboard: BrowserPage, title: str) -> Locator:
    """The figure with a title."""
    return dashboard.page.locator("figure.chart").filter(
        has=dashboard.page.get_by_role("heading", name=title, exact=True)
    )


def table_rows(figure: Locator) -> list[list[str]]:
    """Open the table below a chart and read it."""
    figure.get_by_text("Data table").click()
    expect(figure.locator("tbody tr").first).to_be_visible()
    rows = figure.locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def let_go(service: Service, job_id: str) -> None:
    """Let a job that waits go on."""
    run_dir = service.settings.job_dir(job_id) / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "go").touch()
