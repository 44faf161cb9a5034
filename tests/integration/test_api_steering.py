"""Jobs are paused, resumed, cloned, put first, and run side by side."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignment_api.processes.devices import find_devices
from tests.integration.api_harness import (
    SEARCHING_JOB,
    Service,
    free_port,
    job_processes,
    running_service,
    serve_process,
    wait_until,
)

SEARCH = {
    "search": {"type": "sep_cma_es", "population": 8, "sigma_init": 0.4},
    "batch_size": 6,
    "budget": {"generations": 6},
    "evaluation": {"every": 2},
    "seed": 3,
}
GENERATION_S = 8 * 0.03


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path / "home") as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, list[Any]]:
    """Vector and news of a search that nobody touched."""
    home = tmp_path_factory.mktemp("undisturbed")
    with running_service(home, job_command=SEARCHING_JOB) as service:
        return found_by(service, service.submit(**SEARCH))


def found_by(service: Service, job_id: str) -> tuple[np.ndarray, list[Any]]:
    """Vector of a finished job, and of its generations all that does not depend on time."""
    job = service.wait_for(job_id, "succeeded", "failed", "cancelled")
    assert job["status"] == "succeeded", job["error"]
    path = f"/v1/fine_tuning/jobs/{job_id}/generations"
    entries = service.client.get(path).json()["data"]
    assert [entry["generation"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    names = ("fitness", "sigma", "step_norm", "distance", "reliability", "axis_ratio")
    told = [
        [*(entry[name] for name in names), (entry["validation"] or {}).get("score")]
        for entry in entries
    ]
    return np.load(service.settings.job_dir(job_id) / "run" / "vector.npy"), told


def steer(service: Service, job_id: str, what: str, status: int = 200) -> dict[str, Any]:
    answer = service.client.post(f"/v1/fine_tuning/jobs/{job_id}/{what}")
    assert answer.status_code == status, answer.text
    return answer.json()


def wait_for_generation(service: Service, job_id: str, generation: int) -> None:
    def is_there() -> bool:
        return (service.job(job_id)["essa"]["progress"]["generation"] or 0) >= generation

    wait_until(is_there, f"generation {generation} of {job_id}")


def test_a_search_that_was_paused_twice_finds_what_it_would_have_found(
    tmp_path: Path, undisturbed: tuple[np.ndarray, list[Any]]
) -> None:
    with running_service(tmp_path, job_command=SEARCHING_JOB) as service:
        job_id = service.submit(**SEARCH)
        for generation in (1, 3):
            wait_for_generation(service, job_id, generation)
            steer(service, job_id, "pause")
            paused = service.wait_for(job_id, "paused", "succeeded", "failed")
            assert paused["status"] == "paused", paused["error"]
            assert paused["finished_at"] is None
            steer(service, job_id, "resume")
        vector, told = found_by(service, job_id)
        assert service.job(job_id)["essa"]["starts"] == 3
    np.testing.assert_array_equal(vector, undisturbed[0])
    assert told == undisturbed[1]


def test_a_search_survives_kill_9_of_the_service_and_of_its_process(
    tmp_path: Path, undisturbed: tuple[np.ndarray, list[Any]]
) -> None:
    port = free_port()
    with serve_process(tmp_path, port, ESSA_JOB_COMMAND=" ".join(SEARCHING_JOB)) as (
        process,
        service,
    ):
        job_id = service.submit(**SEARCH)
        wait_for_generation(service, job_id, 2)
        process.kill()
        for number in job_processes(job_id, SEARCHING_JOB):
            os.kill(number, signal.SIGKILL)
    with serve_process(tmp_path, port, ESSA_JOB_COMMAND=" ".join(SEARCHING_JOB)) as (_, service):
        vector, told = found_by(service, job_id)
    np.testing.assert_array_equal(vector, undisturbed[0])
    assert told == undisturbed[1]


@pytest.mark.parametrize(("what", "status"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_search_stops_within_a_work_item(tmp_path: Path, what: str, status: str) -> None:
    with running_service(tmp_path, job_command=SEARCHING_JOB) as service:
        job_id = service.submit(**SEARCH | {"search": SEARCH["search"] | {"population": 800}})
        service.wait_for(job_id, "running")
        path = f"/v1/fine_tuning/jobs/{job_id}/events"
        wait_until(lambda: service.client.get(path).json()["data"], "the search to begin")
        began = time.monotonic()
        steer(service, job_id, what)
        job = service.wait_for(job_id, status, "failed", "succeeded")
        assert job["status"] == status
        # One of its generations would take 24 s.
        assert time.monotonic() - began < 10


def test_a_queued_job_is_paused_at_once_and_the_next_one_runs(service: Service) -> None:
    first = service.submit(name="slow")
    second, third = service.submit(), service.submit()
    assert steer(service, second, "pause")["status"] == "paused"
    assert steer(service, second, "pause")["status"] == "paused"
    service.allow(first, 1, 2, 3, 4)
    service.wait_for(third, "succeeded")
    assert service.job(second)["status"] == "paused"
    steer(service, second, "resume")
    service.wait_for(second, "succeeded")
    assert "already succeeded" in steer(service, second, "pause", 409)["error"]["message"]
    assert "clone it" in steer(service, second, "resume", 409)["error"]["message"]


def test_a_paused_job_frees_its_engines_for_others(service: Service) -> None:
    first = service.submit(name="slow")
    service.wait_for(first, "running")
    second = service.submit()
    shown = steer(service, first, "pause")
    assert shown["essa"]["pause_requested"] is True
    service.wait_for(second, "succeeded")
    assert service.job(first)["status"] == "paused"
    assert steer(service, first, "cancel")["status"] == "cancelled"


def test_a_higher_priority_starts_first(service: Service) -> None:
    running = service.submit(name="slow")
    service.wait_for(running, "running")
    usual, urgent = service.submit(), service.submit(priority=9)
    service.allow(running, 1, 2, 3, 4)
    service.wait_for(usual, "succeeded")
    assert service.job(urgent)["essa"]["priority"] == 9
    started = [service.job(one)["essa"]["started_at"] for one in (urgent, usual)]
    finished = service.job(urgent)["finished_at"]
    assert started[0] <= finished <= started[1]


def test_jobs_run_side_by_side_on_cores_of_their_own(tmp_path: Path) -> None:
    devices = find_devices(None, {"CUDA_VISIBLE_DEVICES": ""})
    if len(devices.cores) < 2:
        pytest.skip("this machine has one core")
    with running_service(tmp_path, engine_slots=2) as service:
        ids = [service.submit(name="slow") for _ in range(3)]
        wait_until(lambda: all(job_processes(job_id) for job_id in ids[:2]), "two jobs")
        health = service.client.get("/healthz").json()
        assert (health["running_jobs"], health["queued_jobs"]) == (ids[:2], 1)
        shares = [os.sched_getaffinity(job_processes(job_id)[0]) for job_id in ids[:2]]
        assert all(shares)
        assert not shares[0] & shares[1]
        assert shares[0] | shares[1] == set(devices.cores)
        service.allow(ids[1], 1, 2, 3, 4)
        service.wait_for(ids[2], "running")
        assert service.job(ids[0])["status"] == "running"
        for job_id in (ids[0], ids[2]):
            service.allow(job_id, 1, 2, 3, 4)
            service.wait_for(job_id, "succeeded")


def test_a_job_larger_than_the_machine_is_refused_when_it_is_sent(service: Service) -> None:
    path = "/v1/fine_tuning/jobs"
    whole = service.job(service.submit())["essa"]["spec"]
    body = whole | {"engine": {"kind": "vllm", "workers": 2}}
    answer = service.client.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], "ESSA_ENGINE_SLOTS" in error["message"]) == ("engine.workers", True)


def test_a_clone_is_the_same_job_but_for_its_changes(service: Service) -> None:
    job_id = service.submit(suffix="kind", metadata={"team": "a"}, priority=2)
    path = f"/v1/fine_tuning/jobs/{job_id}/clone"
    changes = {"seed": 9, "search": {"type": "openai_es"}, "rollout": {"max_tokens": 7}}
    clone = service.client.post(path, json={"changes": changes}).json()
    assert clone["id"] != job_id
    assert (clone["seed"], clone["user_provided_suffix"]) == (9, "kind")
    assert (clone["metadata"], clone["essa"]["priority"]) == ({"team": "a"}, 2)
    spec, old = clone["essa"]["spec"], service.job(job_id)["essa"]["spec"]
    assert (spec["search"]["type"], spec["rollout"]["max_tokens"]) == ("openai_es", 7)
    assert (spec["data"], spec["reward"]) == (old["data"], old["reward"])
    answer = service.client.post(path, json={"changes": {"serach": {}}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "serach")
