"""A service with models to ask, for tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from alignment_api.jobs.repository import JobRepository
from tests.integration.api_finished_jobs import add_finished_job, base_folder
from tests.integration.api_harness import Service, running_service

CHAT = "/v1/chat/completions"
SERVER = (sys.executable, str(Path(__file__).with_name("api_scripted_model_server.py")))


@dataclass
class Bench:
    """A service, a finished job and the client."""

    service: Service
    client: openai.OpenAI
    base: Path
    job_id: str
    aligned: str
    warm_start: str

    def add_job(self, base: Path, **changes: Any) -> str:
        """One more finished job; answers the name of what it made."""
        return _add_job(self.service, base, **changes)[1]

    def ask(self, text: str, model: str | None = None, **changes: Any) -> Any:
        """One chat completion."""
        return self.client.chat.completions.create(
            model=model or self.aligned, messages=[{"role": "user", "content": text}], **changes
        )

    def said(self, text: str, model: str | None = None, **changes: Any) -> str:
        """What it answers."""
        return self.ask(text, model, **changes).choices[0].message.content

    def log(self, kind: str, base: Path | None = None) -> list[Any]:
        """What the server of a base noted under a name."""
        path = (base or self.base) / "log.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line[kind] for line in lines if kind in line]


def pids(base: Path) -> list[list[int]]:
    """Processes of every start of a base's server."""
    path = base / "pids"
    lines = path.read_text().splitlines() if path.exists() else []
    return [[int(number) for number in line.split()] for line in lines]


def is_gone(processes: list[int]) -> bool:
    """Whether none of them runs."""

    def runs(number: int) -> bool:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z"

    return not any(runs(number) for number in processes)


def _add_job(service: Service, base: Path, **changes: Any) -> tuple[str, str]:
    """Id of the job and name of its model."""
    state, settings = service.app.state, service.settings
    project_id = state.keys.ensure_project()
    job_id = add_finished_job(state.store, settings, base, project_id=project_id, **changes)
    return job_id, JobRepository(state.store).get(job_id).model_name


@contextmanager
def bench(folder: Path, **changes: Any) -> Iterator[Bench]:
    """A running service with one finished job."""
    base = base_folder(folder)
    given = {"inference_command": SERVER, **changes}
    with running_service(folder / "home", **given) as service:
        job_id, aligned = _add_job(service, base, suffix="polite")
        client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
        with client:
            yield Bench(service, client, base, job_id, aligned, f"{aligned}:warm_start")
