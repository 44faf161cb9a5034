"""A stop or a crash of the service loses no job, and two services never share a home."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignment_api.cli.client import ApiClient
from alignment_api.cli.main import main
from tests.integration.api_harness import (
    Service,
    free_port,
    job_processes,
    serve_process,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run_until_generation_two(service: Service) -> tuple[str, str]:
    """A slow job that has finished two generations, and one that waits behind it."""
    slow, waiting = service.submit(name="slow"), service.submit()
    service.allow(slow, 1, 2)
    wait_until(lambda: service.job(slow)["essa"]["progress"]["generation"] == 2, "two generations")
    return slow, waiting


def check_resumed(service: Service, slow: str, waiting: str) -> None:
    """Both jobs finish, the interrupted one first and without repeating a generation."""
    service.allow(slow, 3, 4)
    last = service.wait_for(waiting, "succeeded", "failed")
    first = service.job(slow)
    assert (first["status"], last["status"]) == ("succeeded", "succeeded"), (first, last)
    assert first["finished_at"] <= last["essa"]["started_at"]
    events = service.client.get(f"/v1/fine_tuning/jobs/{slow}/events?order=asc").json()
    said = [event["data"] for event in events["data"]]
    generations = [one["generation"] for one in said if one["type"] == "generation"]
    assert generations == [1, 2, 3, 4]
    assert [one["code"] for one in said if one["type"] == "warning"] == ["job_resumed"]
    assert [one["seq"] for one in said] == list(range(1, len(said) + 1))


def test_after_a_crash_the_orphan_ends_and_the_job_resumes_first(tmp_path: Path) -> None:
    port = free_port()
    with serve_process(tmp_path, port) as (process, service):
        slow, waiting = run_until_generation_two(service)
        assert len(job_processes(slow)) == 1
        process.kill()
        wait_until(lambda: not job_processes(slow), "the orphaned job process to end")
    with serve_process(tmp_path, port) as (_, service):
        check_resumed(service, slow, waiting)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_the_running_job_resumable(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with serve_process(tmp_path, port) as (process, service):
        slow, waiting = run_until_generation_two(service)
        process.send_signal(number)
        process.wait(30)
        assert not job_processes(slow)
    with serve_process(tmp_path, port) as (_, service):
        check_resumed(service, slow, waiting)


def test_a_watcher_survives_a_restart_of_the_service(tmp_path: Path) -> None:
    port = free_port()
    with serve_process(tmp_path, port) as (process, service):
        slow, _ = run_until_generation_two(service)
        watcher = ApiClient(f"http://127.0.0.1:{port}").watch(slow)
        seen = [next(watcher).number for _ in range(5)]
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert time.monotonic() - started < 10, "the open stream held the service up"
    with serve_process(tmp_path, port) as (_, service):
        service.allow(slow, 3, 4)
        seen += [entry.number for entry in watcher]
        assert seen == list(range(1, len(seen) + 1))
        assert service.job(slow)["status"] == "succeeded"


def test_a_second_service_on_the_same_home_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serve_process(tmp_path, free_port()) as (process, _):
        assert main(["serve", "--home", str(tmp_path), "--port", "0"]) == 1
        message = capfd.readouterr().err
        assert re.search(rf"{tmp_path} is in use by process {process.pid}; .*ESSA_HOME", message)


def test_a_port_in_use_ends_the_service_before_it_starts_a_job(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "alignment_api.cli.main", "serve", "--port", port]
        ended = subprocess.run(
            command,
            env=os.environ | {"ESSA_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode != 0
    assert "Address already in use" in ended.stderr
    assert not (tmp_path / "store.sqlite3").exists()
