"""The log of real processes: every request and job can be found, and no secret is in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.integration.api_harness import SCRIPTED_JOB, answers, job_spec, wait_until

SECRET = "correct-horse-battery"
FAILING_SERVICE = """
import os, uvicorn
from alignment_api.app import create_app
from alignment_api.observability.logs import configure_logging
from alignment_api.settings import Settings

def fail():
    raise ZeroDivisionError(f"because of {os.environ['ESSA_REWARD_SECRET_JUDGE']}")

settings = Settings.from_environment(os.environ)
configure_logging(settings)
app = create_app(settings)
app.add_api_route("/v1/fail/{what}", fail)
uvicorn.run(app, port=settings.port, log_config=None, access_log=False)
"""


@contextmanager
def logging_service(home: Path, *command: str, **changes: str) -> Iterator[httpx.Client]:
    """A service whose standard error goes to `service.log` in its home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {
        "ESSA_HOME": str(home),
        "ESSA_PORT": port,
        "ESSA_POLL_S": "0.05",
        "ESSA_JOB_COMMAND": " ".join(SCRIPTED_JOB),
        "ESSA_REWARD_SECRET_JUDGE": SECRET,
        **changes,
    }
    home.mkdir(exist_ok=True)
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *command], env=environment, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until(lambda: process.poll() is not None or answers(client), "the service")
            yield client
    finally:
        process.terminate()
        process.wait()


UNWRITTEN = ("--- start", "engine chatter")
"""Starts of lines of a job's log that no logger writes."""


def entries(log: Path) -> list[dict[str, Any]]:
    """What loggers wrote: all lines of the service's log, and of a job's but for `UNWRITTEN`."""
    lines = log.read_text().splitlines()
    return [json.loads(line) for line in lines if not line.startswith(UNWRITTEN)]


def of_request(log: Path, request_id: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(log) if entry.get("request_id") == request_id]


def add_key(home: Path) -> str:
    command = [sys.executable, "-m", "alignment_api.cli.main", "keys", "add", "me", "--home"]
    ended = subprocess.run([*command, str(home)], capture_output=True, text=True, check=True)
    return next(word for word in ended.stdout.split() if word.startswith("essa-"))


def test_requests_and_jobs_are_found_by_their_ids_and_no_secret_is_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    key = add_key(home)
    wrong = "essa-" + "w" * 43
    with logging_service(home, "-m", "alignment_api.cli.main", "serve") as client:
        client.headers["Authorization"] = f"Bearer {key}"
        mine = {"X-Request-Id": "from-me.1"}
        spec = job_spec(home, name="unknown-error")
        made = client.post("/v1/fine_tuning/jobs", json=spec, headers=mine)
        assert (made.status_code, made.headers["x-request-id"]) == (200, "from-me.1")
        path = f"/v1/fine_tuning/jobs/{made.json()['id']}"
        wait_until(lambda: client.get(path).json()["status"] == "failed", "the job to fail")
        refused = client.get(path, headers={"Authorization": f"Bearer {wrong}"})
        missing = client.get(f"/nowhere?key={SECRET}", headers={"X-Request-Id": "not sane"})
        shown = client.get(path)
    job_id = made.json()["id"]
    log, job_log = home / "service.log", home / "jobs" / job_id / "job.log"

    (created,) = of_request(log, "from-me.1")
    assert created["ms"] > 0
    key_id = created["key_id"]
    assert (created["logger"], created["level"]) == ("alignment_api.access", "INFO")
    assert (created["method"], created["route"]) == ("POST", "/v1/fine_tuning/jobs")
    assert key_id.startswith("key_")

    (line,) = of_request(log, shown.headers["x-request-id"])
    assert line["route"] == "/v1/fine_tuning/jobs/{job_id}"
    assert (line["status"], line["job_id"], line["key_id"]) == (200, job_id, key_id)
    (line,) = of_request(log, refused.headers["x-request-id"])
    assert (line["status"], line["error"], "key_id" in line) == (401, "invalid_api_key", False)
    (line,) = of_request(log, missing.headers["x-request-id"])
    assert (line["status"], line["route"]) == (404, "unmatched")

    queue = [
        entry for entry in entries(log) if entry["logger"] == "alignment_api.execution.job_watch"
    ]
    assert {entry["job_id"] for entry in queue} == {job_id}
    assert any(entry["logger"].startswith("uvicorn") for entry in entries(log))
    assert not any(entry["logger"] == "uvicorn.access" for entry in entries(log))

    failure = entries(job_log)
    assert {entry["job_id"] for entry in failure} == {job_id}
    assert any("ZeroDivisionError" in entry.get("traceback", "") for entry in failure)
    for text in (log.read_text(), job_log.read_text()):
        for secret in (key, key[8:40], wrong, SECRET):
            assert secret not in text


def test_an_unexpected_failure_is_found_by_the_id_that_the_client_was_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with logging_service(home, "-c", FAILING_SERVICE, ESSA_AUTH="off") as client:
        answer = client.get("/v1/fail/now")
    request_id = answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal_error")
    assert request_id in error["message"]
    assert "because" not in error["message"]
    access, failure = of_request(home / "service.log", request_id)
    assert (access["status"], access["route"]) == (500, "/v1/fail/{what}")
    assert failure["level"] == "ERROR"
    assert "ZeroDivisionError: because of [hidden]" in failure["traceback"]
    assert SECRET not in (home / "service.log").read_text()
