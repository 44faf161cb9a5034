"""Jobs run one after the other, each in a process that may fail."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api_harness import Service, running_service, wait_until
from tests.integration.api_scripted_job import GENERATIONS


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path / "home") as started:
        yield started


def test_a_job_runs_to_its_result_and_gives_its_adapter(service: Service) -> None:
    job_id = service.submit()
    job = service.wait_for(job_id, "succeeded", "failed")
    assert job["status"] == "succeeded", job["error"]
    assert job["essa"]["started_at"] >= job["created_at"]
    assert job["finished_at"] >= job["essa"]["started_at"]
    assert job["essa"]["result"]["test"]["aligned"]["mean"] == 0.7
    assert job["essa"]["progress"]["generation"] == GENERATIONS
    assert job["essa"]["progress"]["best_validation"] == pytest.approx(0.4)
    generations = service.client.get(f"/v1/fine_tuning/jobs/{job_id}/generations").json()["data"]
    assert [entry["generation"] for entry in generations] == list(range(1, GENERATIONS + 1))
    archive = service.client.get(
        f"/v1/fine_tuning/jobs/{job_id}/export", params={"format": "adapter"}
    )
    assert archive.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as adapter:
        assert sorted(adapter.namelist()) == [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        assert adapter.read("adapter_model.safetensors") == b"weights"


def test_only_one_job_runs_and_the_others_follow_in_order(service: Service) -> None:
    first = service.submit(name="slow")
    second, third = service.submit(), service.submit()
    service.wait_for(first, "running")
    health = service.client.get("/healthz").json()
    assert (health["running_jobs"], health["queued_jobs"]) == ([first], 2)
    assert service.job(second)["status"] == service.job(third)["status"] == "queued"
    service.allow(first, 1, 2, 3, 4)
    service.wait_for(third, "succeeded")
    started = [service.job(job_id)["essa"]["started_at"] for job_id in (first, second, third)]
    assert started == sorted(started)
    assert service.job(second)["finished_at"] <= service.job(third)["essa"]["started_at"]


def test_there_is_no_adapter_before_the_end(service: Service) -> None:
    job_id = service.submit(name="slow")
    answer = service.client.get(
        f"/v1/fine_tuning/jobs/{job_id}/export", params={"format": "adapter"}
    )
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "job_conflict"
    assert "only a succeeded job has an adapter" in answer.json()["error"]["message"]


def test_a_queued_job_is_cancelled_at_once(service: Service) -> None:
    running = service.submit(name="slow")
    waiting = service.submit()
    answer = service.client.post(f"/v1/fine_tuning/jobs/{waiting}/cancel").json()
    assert answer["status"] == "cancelled"
    assert answer["essa"]["started_at"] is None
    service.allow(running, 1, 2, 3, 4)
    service.wait_for(running, "succeeded")
    assert service.job(waiting)["status"] == "cancelled"


def test_a_running_job_stops_when_cancelled_and_the_next_one_starts(service: Service) -> None:
    job_id = service.submit(name="slow")
    following = service.submit()
    service.wait_for(job_id, "running")
    assert (
        service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel").json()["essa"][
            "cancel_requested"
        ]
        is True
    )
    job = service.wait_for(job_id, "cancelled", "failed", "succeeded")
    assert (job["status"], job["error"], job["essa"]["result"]) == ("cancelled", None, None)
    again = service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    service.wait_for(following, "succeeded")


def test_a_finished_job_cannot_be_cancelled(service: Service) -> None:
    job_id = service.submit()
    service.wait_for(job_id, "succeeded")
    answer = service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    assert answer.status_code == 409
    assert "already succeeded" in answer.json()["error"]["message"]


def test_a_job_that_ignores_cancelling_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = tmp_path / "pids"
    monkeypatch.setenv("ESSA_TEST_PIDS", str(numbers))
    with running_service(tmp_path / "home", cancel_grace_s=0.2) as service:
        job_id = service.submit(name="deaf")
        wait_until(lambda: numbers.exists() and " " in numbers.read_text(), "the deaf job")
        service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
        assert service.wait_for(job_id, "cancelled", "failed")["status"] == "cancelled"
        for number in numbers.read_text().split():
            wait_until(lambda number=number: not _is_running(int(number)), f"{number} to end")


def test_a_crash_of_the_job_process_fails_the_job_with_the_end_of_its_log(
    service: Service,
) -> None:
    crashing, following = service.submit(name="crash"), service.submit()
    job = service.wait_for(crashing, "failed")
    assert job["error"]["code"] == "job_process_ended"
    assert "signal 9" in job["error"]["message"]
    assert "about to crash" in job["error"]["message"]
    events = service.client.get(f"/v1/fine_tuning/jobs/{crashing}/events").json()["data"]
    assert (events[0]["level"], events[0]["data"]["type"]) == ("error", "error")
    service.wait_for(following, "succeeded")


def test_a_known_error_keeps_its_code_and_an_unknown_one_hides_its_traceback(
    service: Service,
) -> None:
    known, unknown = service.submit(name="known-error"), service.submit(name="unknown-error")
    assert service.wait_for(known, "failed")["error"] == {
        "code": "engine_start_failed",
        "message": "the engine did not start",
        "param": None,
    }
    failure = service.wait_for(unknown, "failed")["error"]
    assert failure["code"] == "internal_error"
    assert failure["message"].startswith("ZeroDivisionError: secret detail; the traceback is in")
    log = (service.settings.job_dir(unknown) / "job.log").read_text()
    assert "Traceback" in log


def test_a_job_command_that_cannot_be_started_fails_the_job(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-program")
    with running_service(tmp_path / "home", job_command=(missing,)) as service:
        failure = service.wait_for(service.submit(), "failed")["error"]
    assert failure["code"] == "job_start_failed"
    assert missing in failure["message"]
    assert "ESSA_JOB_COMMAND" in failure["message"]


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{number}/stat")
    return not (stat.exists() and ") Z" in stat.read_text())
