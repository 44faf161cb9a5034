"""A home and a run folder that an earlier version has written open, and go on, with this one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.api_harness import Service, running_service, wait_until

ROOT = Path(__file__).parents[2]
WRITTEN = ROOT / "tests" / "data" / "home_31b3476"
EXAMPLE = ROOT / "examples" / "arithmetic"
PLACE = "/srv/arithmetic"
"""Where it was written: its job files name data and model there."""
ROWS = {"sft": 2000, "train": 64, "validation": 16, "test": 24}
JOB_PROCESS = (sys.executable, "-m", "alignment_api.execution.job_process")
STARTED_S = 240.0


@pytest.fixture
def place(tmp_path) -> Path:
    """Home, data and model, with the paths of this machine."""
    shutil.copytree(EXAMPLE / "model", tmp_path / "model")
    (tmp_path / "data").mkdir()
    for name, count in ROWS.items():
        lines = (EXAMPLE / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(lines[:count]))
    shutil.copytree(WRITTEN / "home", tmp_path / "home")
    shutil.copytree(WRITTEN / "run", tmp_path / "run")
    job = (WRITTEN / "run.json").read_text().replace(PLACE, str(tmp_path))
    (tmp_path / "run.json").write_text(job)
    with sqlite3.connect(tmp_path / "home" / "store.sqlite3") as store:
        for table in ("jobs", "comparisons"):
            change = f"UPDATE {table} SET spec = replace(spec, ?, ?)"
            store.execute(change, (PLACE, str(tmp_path)))
    store.close()
    return tmp_path


@pytest.fixture
def service(place) -> Iterator[Service]:
    with running_service(place / "home", job_command=JOB_PROCESS) as running:
        yield running


def get(client: httpx.Client, path: str) -> dict:
    return client.get(path).raise_for_status().json()


def by_name(service: Service) -> dict[str, dict]:
    return {job["essa"]["name"]: job for job in get(service.client, "/v1/fine_tuning/jobs")["data"]}


def test_jobs_of_every_state_are_listed_as_they_were(service) -> None:
    jobs = by_name(service)
    assert {name: jobs[name]["status"] for name in ("finished", "paused", "failed")} == {
        "finished": "succeeded",
        "paused": "paused",
        "failed": "failed",
    }
    assert jobs["failed"]["error"]["code"] == "invalid_data"
    assert jobs["finished"]["essa"]["progress"]["generation"] == 3


def test_what_a_finished_job_left_can_be_read(service) -> None:
    job = by_name(service)["finished"]
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    client = service.client
    types = {event["data"]["type"] for event in get(client, f"{path}/events?limit=100")["data"]}
    assert {"stage", "generation", "validation", "result"} <= types
    assert len(get(client, f"{path}/checkpoints")["data"]) >= 3
    assert get(client, f"{path}/rollouts?generation=1")["data"]
    assert get(client, f"{path}/timeline")
    assert get(client, f"{path}/singular_values")
    assert get(client, f"/v1/fine_tuning/compare?jobs={job['id']}")
    names = {model["id"] for model in get(client, "/v1/models")["data"]}
    assert job["fine_tuned_model"] in names


def test_a_comparison_still_has_its_tables(service) -> None:
    [comparison] = get(service.client, "/v1/comparisons")["data"]
    assert comparison["status"] == "succeeded"
    details = get(service.client, f"/v1/comparisons/{comparison['id']}")
    assert {run["arm"] for run in details["runs"]} == {"essa", "random"}
    assert details["tables"]


@pytest.mark.engine
def test_a_paused_job_goes_on_where_it_was(service) -> None:
    job = by_name(service)["paused"]
    before = job["essa"]["progress"]["generation"]
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    service.client.post(f"{path}/resume").raise_for_status()

    def progress() -> int:
        now = service.job(job["id"])
        assert now["status"] != "failed", now["error"]
        return now["essa"]["progress"]["generation"]

    wait_until(lambda: progress() >= before + 2, "two more generations", STARTED_S)
    service.client.post(f"{path}/cancel").raise_for_status()
    service.wait_for(job["id"], "cancelled")
    events = get(service.client, f"{path}/events?limit=100")["data"]
    generations = [
        event["data"]["generation"]
        for event in reversed(events)
        if event["data"]["type"] == "generation"
    ]
    assert generations == list(range(1, len(generations) + 1))


def test_a_run_folder_can_be_exported(place) -> None:
    out = place / "adapter"
    ended = essa("export", str(place / "run"), "--out", str(out), home=place / "home")
    assert ended.returncode == 0, ended.stderr
    assert (out / "adapter_model.safetensors").is_file()


@pytest.mark.engine
def test_a_finished_run_folder_keeps_its_generations_and_is_tested_again(place) -> None:
    before = json.loads((place / "run" / "result.json").read_text())
    run = ["run", str(place / "run.json"), "--run-dir", str(place / "run")]
    ended = essa(*run, home=place / "home")
    assert ended.returncode == 0, ended.stderr
    lines = (place / "run" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [it["generation"] for it in events if it["type"] == "generation"] == [1, 2]
    assert json.loads((place / "run" / "result.json").read_text())["test"] == before["test"]


def essa(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alignment_api.cli.main", *arguments]
    environment = os.environ | {"ESSA_HOME": str(home)}
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
