"""`/healthz`: whether the service works, and its current load."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from alignment_api.errors import ERROR_RESPONSES, StoreError
from alignment_api.jobs.repository import JobRepository
from alignment_api.store.job_status import JobStatus
from essa.versions import installed_versions

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """State of the service."""

    status: Literal["ok"] = "ok"
    queued_jobs: int
    running_jobs: list[str]
    versions: dict[str, str]


@router.get("/healthz", responses={503: ERROR_RESPONSES[503]})
def get_health(request: Request) -> Health:
    """Answers 200 while the store can be read and the queue runs, else 503."""
    if not request.app.state.queue.is_alive():
        raise StoreError("the job queue has stopped; restart the service")
    jobs = JobRepository(request.app.state.store)
    return Health(
        queued_jobs=jobs.count(JobStatus.QUEUED),
        running_jobs=[job.id for job in jobs.running()],
        versions=installed_versions(),
    )
