"""The models' only access to the jobs that made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alignment_api.jobs.repository import JobRepository
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from essa.errors import JobNotFoundError

_PAGE = 100


class FinishedJob(NamedTuple):
    """A job that succeeded, and the folder of its run."""

    stored: StoredJob
    run_dir: Path


class FinishedJobs:
    """The jobs of a project that succeeded. Blocking."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._jobs = JobRepository(store)
        self._settings = settings

    def newest_first(self, project_id: str) -> Iterator[FinishedJob]:
        """Yield all finished jobs of a project, newest first."""
        after = None
        while True:
            jobs = self._jobs.page(_PAGE, after, project_id, statuses=[JobStatus.SUCCEEDED])
            yield from map(self._finished, jobs)
            if len(jobs) < _PAGE:
                return
            after = jobs[-1].id

    def find(self, job_id: str, project_id: str) -> FinishedJob | None:
        """Return one finished job; None if there is no such job, or it did not succeed."""
        try:
            job = self._jobs.get(job_id, project_id)
        except JobNotFoundError:
            return None
        return self._finished(job) if job.status is JobStatus.SUCCEEDED else None

    def _finished(self, job: StoredJob) -> FinishedJob:
        return FinishedJob(job, self._settings.run_dir(job.id))
