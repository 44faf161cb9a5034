"""The one door from models to the jobs that made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from sqlalchemy.engine import RowMapping

from alignment_api.jobs.repository import JobRepository, stored_spec
from alignment_api.openai.identifiers import aligned_model
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
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
            rows = self._jobs.page(_PAGE, after, project_id, statuses=[JobStatus.SUCCEEDED])
            yield from map(self._finished, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1]["id"]

    def find(self, job_id: str, project_id: str) -> FinishedJob | None:
        """See `FinishedJobs`."""
        try:
            row = self._jobs.get(job_id, project_id)
        except JobNotFoundError:
            return None
        return self._finished(row) if row["status"] == JobStatus.SUCCEEDED else None

    def _finished(self, row: RowMapping) -> FinishedJob:
        return FinishedJob(
            id=row["id"],
            name=row["name"],
            model=aligned_model(row),
            finished_at=int(row["finished_at"]),
            spec=stored_spec(row),
            run_dir=self._settings.run_dir(row["id"]),
        )
