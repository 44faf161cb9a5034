"""What the API does with jobs."""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import RowMapping

from alignment_api.jobs.checks import find_problems
from alignment_api.jobs.events import EventBatch, EventRepository
from alignment_api.jobs.repository import JobRepository
from alignment_api.jobs.schemas import Job, JobFailure, JobList, JobStatus
from alignment_api.settings import Settings
from alignment_api.store import Store
from essa.errors import JobConflictError
from essa.spec import AlignmentJobSpec
from essa.spec.file import problem_error


class JobService:
    """Creates, shows and cancels jobs. Blocking; call it from a thread."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        resolve_file: Callable[[str], Path],
        on_queued: Callable[[], None],
    ) -> None:
        self._jobs = JobRepository(store)
        self._events = EventRepository(store)
        self._settings = settings
        self._resolve_file = resolve_file
        self._on_queued = on_queued

    def create(self, spec: AlignmentJobSpec, project_id: str) -> Job:
        """Check a job's files and reward, and queue it.

        Raises:
            SpecError: something is wrong with the job; the message has a line for each fault.
        """
        problems = find_problems(spec, self._resolve_file, self._settings.reward_policy)
        if problems:
            raise problem_error(problems)
        job_id = self._jobs.add(spec, project_id)
        self._on_queued()
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """One job."""
        return self._show(self._jobs.get(job_id))

    def page(self, limit: int, after: str | None, project_id: str) -> JobList:
        """A page of jobs, newest first."""
        rows = self._jobs.page(limit + 1, after, project_id)
        return JobList(data=[self._show(row) for row in rows[:limit]], has_more=len(rows) > limit)

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job, or ask a running one to stop."""
        self._jobs.request_cancel(job_id)
        return self.get(job_id)

    def events(self, job_id: str, after: int, limit: int) -> EventBatch:
        """Events after a number."""
        return self._events.after(job_id, after, limit)

    def generations(self, job_id: str) -> list[dict[str, Any]]:
        """The finished generations."""
        return self._events.generations(job_id)

    def adapter_archive(self, job_id: str) -> Path:
        """A zip of the adapter's files, made on first use.

        Raises:
            JobConflictError: the job has no adapter, or not yet.
        """
        row = self._jobs.get(job_id)
        if row["status"] != JobStatus.SUCCEEDED:
            raise JobConflictError(
                f"job {job_id} is {row['status']}; only a succeeded job has an adapter"
            )
        archive = self._settings.job_dir(job_id) / "adapter.zip"
        if not archive.is_file():
            _pack(Path(json.loads(row["result"])["adapter"]), archive, job_id)
        return archive

    def _show(self, row: RowMapping) -> Job:
        failure = None
        if row["error_code"] is not None:
            failure = JobFailure(code=row["error_code"], message=row["error_message"])
        return Job(
            id=row["id"],
            name=row["name"],
            status=row["status"],
            created_at=int(row["created_at"]),
            started_at=_seconds(row["started_at"]),
            finished_at=_seconds(row["finished_at"]),
            cancel_requested=row["cancel_requested_at"] is not None,
            error=failure,
            spec=json.loads(row["spec"]),
            progress=self._events.progress(row["id"]),
            result=json.loads(row["result"]) if row["result"] else None,
        )


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def _pack(folder: Path, archive: Path, job_id: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise JobConflictError(f"the adapter of job {job_id} is gone from {folder}; run it again")
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f".adapter-{uuid.uuid4().hex}.part")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as target:
            for path in files:
                target.write(path, path.relative_to(folder))
        os.replace(partial, archive)
    finally:
        partial.unlink(missing_ok=True)
