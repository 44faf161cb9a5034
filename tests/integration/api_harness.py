"""Start the service for tests, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import uvicorn
from fastapi import FastAPI

from alignment_api.app import create_app
from alignment_api.settings import Settings

SCRIPTED_JOB = (sys.executable, str(Path(__file__).with_name("api_scripted_job.py")))
SEARCHING_JOB = (sys.executable, str(Path(__file__).with_name("api_searching_job.py")))
TIMEOUT_S = 120.0


class Answer(Protocol):
    """An HTTP answer: of httpx, or of the copy of it that `TestClient` has."""

    @property
    def status_code(self) -> int: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


@dataclass
class Service:
    """A service that answers."""

    app: FastAPI
    settings: Settings
    client: httpx.Client

    @property
    def url(self) -> str:
        """Its address."""
        return str(self.client.base_url)

    def submit(self, **changes: Any) -> str:
        """Queue a job and return its id."""
        answer = self.client.post(
            "/v1/fine_tuning/jobs", json=job_spec(self.settings.home, **changes)
        )
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        return answer.json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        """One job."""
        return self.client.get(f"/v1/fine_tuning/jobs/{job_id}").json()

    def wait_for(self, job_id: str, *states: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The job once it is in one of the states."""
        what = f"{job_id} to be {states}"
        wait_until(lambda: self.job(job_id)["status"] in states, what, timeout_s)
        return self.job(job_id)

    def allow(self, job_id: str, *generations: int) -> None:
        """Let a `slow` job run these generations."""
        run_dir = self.settings.job_dir(job_id) / "run"
        run_dir.mkdir(parents=True, exist_ok=True)
        for generation in generations:
            (run_dir / f"go{generation}").touch()


def wait_until(is_reached: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for a state of another process."""
    give_up_at = time.monotonic() + timeout_s
    while not is_reached():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.03)


def job_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """A valid job whose data lies in `folder`."""
    data = folder / "prompts.jsonl"
    if not data.exists():
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text("".join(json.dumps({"prompt": f"p{n}"}) + "\n" for n in range(16)))
    return {
        "name": "quick",
        "model": {"path": "org/model"},
        "data": {"train": {"path": str(data)}},
        "reward": {"type": "sentiment"},
        **changes,
    }


@contextmanager
def running_service(home: Path, **changes: Any) -> Iterator[Service]:
    """The service in a thread of this process, on a free loopback port."""
    usual = {"poll_s": 0.05, "job_command": SCRIPTED_JOB, "auth": "off", "engine_slots": 1}
    given = usual | changes
    settings = Settings(home=home, port=0, **given)
    app = create_app(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the service to start")
        if not server.started:
            raise RuntimeError("the service did not start")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield Service(app, settings, client)
    finally:
        app.state.closing.set()
        server.should_exit = True
        thread.join()


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def job_processes(job_id: str, command: tuple[str, str] = SCRIPTED_JOB) -> list[int]:
    """Processes whose command line names the job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if job_id in arguments and command[1] in arguments:
            found.append(int(path.parent.name))
    return found


@contextmanager
def serve_process(
    home: Path, port: int, **changes: str
) -> Iterator[tuple[subprocess.Popen[bytes], Service]]:
    """`essa serve` in a process of its own; killed at the end if it is still there.

    Args:
        changes: environment variables that differ from the usual ones.
    """
    environment = os.environ | {
        "ESSA_HOME": str(home),
        "ESSA_PORT": str(port),
        "ESSA_POLL_S": "0.05",
        "ESSA_AUTH": "off",
        "ESSA_ENGINE_SLOTS": "1",
        "ESSA_JOB_COMMAND": " ".join(SCRIPTED_JOB),
        **changes,
    }
    command = [sys.executable, "-m", "alignment_api.cli.main", "serve"]
    process = subprocess.Popen(command, env=environment)
    settings = Settings(home=home, port=port)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
    try:
        wait_until(lambda: process.poll() is not None or answers(client), "the service to answer")
        yield process, Service(FastAPI(), settings, client)
    finally:
        client.close()
        if process.poll() is None:
            process.kill()
        process.wait()


def answers(client: httpx.Client) -> bool:
    """Whether the service is healthy."""
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
