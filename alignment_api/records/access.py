"""Dependencies of the record endpoints: a job, its run folder, and events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from alignment_api.auth.access import Reader
from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.repository import JobRepository
from alignment_api.store.stored_job import StoredJob


def find_job(request: Request, job_id: str, project_id: str) -> StoredJob:
    """Return a project's job.

    Raises:
        JobNotFoundError: the project has no such job.
    """
    return JobRepository(request.app.state.store).get(job_id, project_id)


def _job_of_caller(request: Request, job_id: str, caller: Reader) -> StoredJob:
    return find_job(request, job_id, caller.project_id)


Job = Annotated[StoredJob, Depends(_job_of_caller)]
"""The job named in the path, which belongs to the caller's project."""


def _run_dir(request: Request, job: Job) -> Path:
    return request.app.state.settings.run_dir(job.id)


RunDir = Annotated[Path, Depends(_run_dir)]
"""The run folder of that job."""


def _events(request: Request) -> EventRepository:
    return EventRepository(request.app.state.store)


Events = Annotated[EventRepository, Depends(_events)]
"""The events of all jobs."""
