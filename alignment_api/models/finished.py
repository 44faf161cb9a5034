"""The one door from models to the jobs that made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from alignment_api.jobs.job_object import model_name
from alignment_api.jobs.repository import JobRepository
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from essa.errors import JobNotFoundError
from essa.spec import AlignmentJobSpec

_PAGE = 100


class FinishedJob(NamedTuple):
    """A job that succeeded. `model` is the name of what it made, `ft:…`."""

    id: str
    name: str
    model: str
    finished_at: int
    spec: AlignmentJobSpec
    run_dir: Path


class FinishedJobs(Protocol):
    """Jobs of a project that succeeded. Blocking."""

    def newest_first(self, project_id: str) -> Iterator[FinishedJob]:
        """All of them."""
        ...

    def find(self, job_id: str, project_id: str) -> FinishedJob | None:
        """One of them; None where there is no such job, or it did not succeed."""
        ...


class StoredJobs:
    """`FinishedJobs` of the store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._jobs = JobRepository(store)
        self._settings = settings

    def newest_first(self, project_id: str) -> Iterator[FinishedJob]:
        """See `FinishedJobs`."""
        after = None
        while True:
            jobs = self._jobs.page(_PAGE, after, project_id, statuses=[JobStatus.SUCCEEDED])
            yield from map(self._finished, jobs)
            if len(jobs) < _PAGE:
                return
            after = jobs[-1].id

    def find(self, job_id: str, project_id: str) -> FinishedJob | None:
        """See `FinishedJobs`."""
        try:
            job = self._jobs.get(job_id, project_id)
        except JobNotFoundError:
            return None
        return self._finished(job) if job.status is JobStatus.SUCCEEDED else None

    def _finished(self, job: StoredJob) -> FinishedJob:
        return FinishedJob(
            id=job.id,
            name=job.name,
            model=model_name(job),
            finished_at=int(job.finished_at or 0),
            spec=job.spec,
            run_dir=self._settings.run_dir(job.id),
        )
