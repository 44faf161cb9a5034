"""The one door from the records of a run to its job in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from alignment_api.auth.access import Reader
from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.repository import JobRepository
from essa.spec import AlignmentJobSpec


class RecordedJob(NamedTuple):
    """A job as its records need it. `events` gives the data of all events of a type, in order."""

    id: str
    name: str
    status: str
    spec: AlignmentJobSpec
    result: dict[str, Any] | None
    run_dir: Path
    events: Callable[[str], list[dict[str, Any]]]


def find_job(request: Request, job_id: str, project_id: str) -> RecordedJob:
    """A job of a project.

    Raises:
        JobNotFoundError: no such job there.
    """
    state = request.app.state
    job = JobRepository(state.store).get(job_id, project_id)
    events = EventRepository(state.store)
    return RecordedJob(
        id=job.id,
        name=job.name,
        status=job.status,
        spec=job.spec,
        result=job.result,
        run_dir=state.settings.run_dir(job_id),
        events=lambda kind: [event.data for event in events.of_type(job_id, kind)],
    )


def _job_of_caller(request: Request, job_id: str, caller: Reader) -> RecordedJob:
    return find_job(request, job_id, caller.project_id)


Job = Annotated[RecordedJob, Depends(_job_of_caller)]
"""The job named in the path, of the caller's project."""
