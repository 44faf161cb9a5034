"""Jobs in the store; decides which transitions between job states are allowed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from alignment_api.jobs.insertion import NewJob, add_job, append_event
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from alignment_api.store.tables import jobs
from alignment_api.store.text import storable
from essa.errors import JobConflictError, JobNotFoundError, MachineError, StorageError
from essa.events import ErrorEvent, ResultEvent, WarningEvent
from essa.spec import AlignmentJobSpec

RESUMED = "job_resumed"
AWAITED_ENDED = "awaited_job_ended"

_ENDED = {JobStatus.FAILED: "failed", JobStatus.CANCELLED: "been cancelled"}
_MENDABLE = (MachineError.code, StorageError.code)
_UNENDED = dict.fromkeys(("finished_at", "error_code", "error_message", "error_param"))
_TERMINAL = tuple(str(status) for status in JobStatus if status.is_terminal)


class JobRepository:
    """Reads and changes jobs and their states; each change is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, job: NewJob) -> str:
        """Queue a job and return its id."""
        with self._store.change() as connection:
            return add_job(connection, job)

    def get(self, job_id: str, project_id: str | None = None) -> StoredJob:
        """Return a job.

        Args:
            job_id: the job.
            project_id: project that must own the job; None allows any.
        Raises:
            JobNotFoundError: no such job, or it belongs to another project.
        """
        query = sa.select(jobs).where(jobs.c.id == job_id)
        if project_id is not None:
            query = query.where(jobs.c.project_id == project_id)
        return _one(self._store.read(query), job_id)

    def spec(self, job_id: str) -> AlignmentJobSpec:
        """Return the specification of a job."""
        return self.get(job_id).spec

    def page(
        self,
        limit: int,
        after: str | None,
        project_id: str,
        *,
        statuses: Collection[str] = (),
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> list[StoredJob]:
        """Return up to `limit` of a project's jobs, newest first, older than the job `after`.

        Args:
            limit: maximum number of jobs.
            after: id of the last job seen.
            project_id: the project.
            statuses: states to include; empty includes all.
            name: text to find in a job's name or id, ignoring case.
            metadata: values that a job's metadata must have.
        """
        query = sa.select(jobs).where(jobs.c.project_id == project_id)
        if after is not None:
            query = query.where(jobs.c.number < self.get(after, project_id).number)
        if statuses:
            query = query.where(jobs.c.status.in_(list(statuses)))
        if name:
            found = jobs.c.name.icontains(name, autoescape=True)
            query = query.where(found | jobs.c.id.icontains(name, autoescape=True))
        for key, value in (metadata or {}).items():
            found = self._store.as_json(jobs.c.request)["metadata", key].as_string()
            query = query.where(found == value)
        found = self._store.read(query.order_by(jobs.c.number.desc()).limit(limit))
        return [StoredJob.of(row) for row in found]

    def count(self, status: JobStatus) -> int:
        """Count the jobs in a state."""
        query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.status == status)
        return next(iter(self._store.read(query)[0].values()))

    def running(self) -> list[StoredJob]:
        """Return the running jobs, oldest first."""
        query = sa.select(jobs).where(jobs.c.status == JobStatus.RUNNING).order_by(jobs.c.number)
        return [StoredJob.of(row) for row in self._store.read(query)]

    def claim_next(self, free_slots: int, all_slots: int | None = None) -> StoredJob | None:
        """Mark the next queued job as running and return it as it was before; None if none fits.

        The highest priority comes first, then the lowest number, so interrupted jobs come early. A
        job that needs more slots than are free blocks those behind it, because a stream of smaller
        jobs could keep it from ever starting. A job that waits for another one is skipped.

        Args:
            free_slots: number of free engine slots.
            all_slots: total number of slots; a job that needs more than that waits for all of them.
        """
        awaited = jobs.alias("awaited")
        is_ready = jobs.c.waits_for.is_(None) | sa.exists().where(
            awaited.c.id == jobs.c.waits_for, awaited.c.status == JobStatus.SUCCEEDED
        )
        with self._store.change() as connection:
            row = (
                connection.execute(
                    sa.select(jobs)
                    .where(jobs.c.status == JobStatus.QUEUED, is_ready)
                    .order_by(jobs.c.priority.desc(), jobs.c.number)
                    .limit(1)
                    .with_for_update()
                )
                .mappings()
                .first()
            )
            if row is None:
                return None
            job = StoredJob.of(row)
            if min(job.slots, all_slots or job.slots) > free_slots:
                return None
            connection.execute(
                _change(job.id).values(
                    status=JobStatus.RUNNING, started_at=time.time(), starts=jobs.c.starts + 1
                )
            )
        return job

    def requeue_running(self, message: str, alive: Collection[str] = ()) -> list[str]:
        """Queue running jobs whose process is gone; they resume later.

        A job with a pending cancellation is cancelled instead, and one with a pending pause is
        paused.

        Args:
            message: reason, for the jobs' events.
            alive: ids of jobs that have a process.
        """
        requeued = []
        with self._store.change() as connection:
            running = sa.select(jobs).where(
                jobs.c.status == JobStatus.RUNNING, jobs.c.id.not_in(list(alive))
            )
            for row in connection.execute(running.with_for_update()).mappings().all():
                job = StoredJob.of(row)
                if job.cancel_requested_at is not None:
                    _end(connection, job.id, JobStatus.CANCELLED)
                elif job.pause_requested_at is not None:
                    _pause(connection, job.id)
                else:
                    connection.execute(_change(job.id).values(status=JobStatus.QUEUED))
                    append_event(connection, job.id, WarningEvent(code=RESUMED, message=message))
                    requeued.append(job.id)
        return requeued

    def request_cancel(self, job_id: str) -> None:
        """Cancel a waiting job at once, or ask a running job's process to stop. Idempotent.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: the job has succeeded or failed.
        """
        with self._store.change() as connection:
            status = _locked(connection, job_id).status
            if status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
                raise JobConflictError(f"job {job_id} has already {status}; nothing to cancel")
            asked = sa.func.coalesce(jobs.c.cancel_requested_at, time.time())
            connection.execute(_change(job_id).values(cancel_requested_at=asked))
            if status in (JobStatus.QUEUED, JobStatus.PAUSED):
                _end(connection, job_id, JobStatus.CANCELLED)

    def request_pause(self, job_id: str) -> None:
        """Pause a queued job at once, or ask a running job's process to stop. Idempotent.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: the job has ended.
        """
        with self._store.change() as connection:
            status = _locked(connection, job_id).status
            if status.is_terminal:
                raise JobConflictError(f"job {job_id} has already {status}; nothing to pause")
            if status is JobStatus.RUNNING:
                asked = sa.func.coalesce(jobs.c.pause_requested_at, time.time())
                connection.execute(_change(job_id).values(pause_requested_at=asked))
            else:
                _pause(connection, job_id)

    def resume(self, job_id: str) -> None:
        """Queue a paused job again, or withdraw a pending pause. Idempotent.

        A job that failed because of the machine is queued too, as the machine may have been fixed.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: the job has ended in another way.
        """
        with self._store.change() as connection:
            job = _locked(connection, job_id)
            if job.status is JobStatus.FAILED and job.error_code in _MENDABLE:
                connection.execute(_change(job_id).values(status=JobStatus.QUEUED, **_UNENDED))
                message = f"it had failed: {job.error_message}; it resumes from its checkpoint"
                append_event(connection, job_id, WarningEvent(code=RESUMED, message=message))
                return
            if job.status.is_terminal:
                raise JobConflictError(
                    f"job {job_id} has already {job.status}; clone it to run it again"
                )
            if job.status is JobStatus.PAUSED:
                connection.execute(_change(job_id).values(status=JobStatus.QUEUED))
            connection.execute(_change(job_id).values(pause_requested_at=None))

    def restart(self, job_id: str, spec: AlignmentJobSpec) -> None:
        """Queue a job that has no process again, whatever its state.

        Args:
            job_id: the job.
            spec: the job's specification, which may differ from the stored one.
        """
        with self._store.change() as connection:
            connection.execute(
                _change(job_id).values(
                    status=JobStatus.QUEUED,
                    name=spec.name,
                    spec=spec.model_dump_json(),
                    result=None,
                    cancel_requested_at=None,
                    pause_requested_at=None,
                    **_UNENDED,
                )
            )

    def stop_requested_at(self, job_id: str) -> float | None:
        """Return the Unix time at which the user asked to cancel or pause; None if not asked."""
        job = self.get(job_id)
        return job.cancel_requested_at or job.pause_requested_at

    def succeed(self, job_id: str, result: ResultEvent) -> bool:
        """End a running job with its result. Returns False if the job was not running."""
        with self._store.change() as connection:
            return _end(connection, job_id, JobStatus.SUCCEEDED, result=result.model_dump_json())

    def stop(self, job_id: str) -> bool:
        """Pause or cancel a running job as requested. Returns False if the job was not running."""
        with self._store.change() as connection:
            job = _locked(connection, job_id)
            if job.status is not JobStatus.RUNNING:
                return False
            if job.cancel_requested_at is None and job.pause_requested_at is not None:
                _pause(connection, job_id)
            elif job.cancel_requested_at is None:
                # The job was resumed while its process was stopping.
                connection.execute(_change(job_id).values(status=JobStatus.QUEUED))
            else:
                _end(connection, job_id, JobStatus.CANCELLED)
        return True

    def fail(self, job_id: str, code: str, message: str, param: str | None = None) -> bool:
        """End a running job as failed, with an error event. Returns False if it was not running."""
        # A log may hold any bytes, and a job whose failure cannot be stored would restart for ever.
        message = storable(message)
        with self._store.change() as connection:
            is_ended = _end(
                connection,
                job_id,
                JobStatus.FAILED,
                error_code=code,
                error_message=message,
                error_param=param,
            )
            if is_ended:
                append_event(connection, job_id, ErrorEvent(code=code, message=message))
        return is_ended


def _one(rows: Sequence[RowMapping], job_id: str) -> StoredJob:
    if not rows:
        raise JobNotFoundError(f"there is no job {job_id}")
    return StoredJob.of(rows[0])


def _locked(connection: Connection, job_id: str) -> StoredJob:
    query = sa.select(jobs).where(jobs.c.id == job_id).with_for_update()
    return _one(connection.execute(query).mappings().all(), job_id)


def _change(job_id: str) -> sa.Update:
    return sa.update(jobs).where(jobs.c.id == job_id)


def _pause(connection: Connection, job_id: str) -> None:
    connection.execute(_change(job_id).values(status=JobStatus.PAUSED, pause_requested_at=None))


def _end(connection: Connection, job_id: str, status: JobStatus, **values: Any) -> bool:
    ended = connection.execute(
        _change(job_id)
        .where(jobs.c.status.not_in(_TERMINAL))
        .values(status=status, finished_at=time.time(), pause_requested_at=None, **values)
    )
    if ended.rowcount == 1 and status is not JobStatus.SUCCEEDED:
        _fail_waiting(connection, job_id, status)
    return ended.rowcount == 1


def _fail_waiting(connection: Connection, job_id: str, status: JobStatus) -> None:
    """Fail the jobs that wait for one that ended without success; they would wait for ever."""
    waiting = sa.select(jobs.c.id).where(
        jobs.c.waits_for == job_id, jobs.c.status.not_in(_TERMINAL)
    )
    message = (
        f"job {job_id}, which makes the warm start that this one starts from, has "
        f"{_ENDED[status]}; create the comparison again"
    )
    for other in connection.execute(waiting.order_by(jobs.c.number)).scalars().all():
        error = {"error_code": AWAITED_ENDED, "error_message": message}
        if _end(connection, other, JobStatus.FAILED, **error):
            append_event(connection, other, ErrorEvent(code=AWAITED_ENDED, message=message))
