"""Jobs in the store: who may move a job from which state to which is decided here."""

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
    """Reads and changes jobs and their states; every change is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, job: NewJob) -> str:
        """Queue a job and return its id."""
        with self._store.change() as connection:
            return add_job(connection, job)

    def get(self, job_id: str, project_id: str | None = None) -> StoredJob:
        """A job.

        Args:
            job_id: the job.
            project_id: whose it must be; None is any.
        Raises:
            JobNotFoundError: no such job, or of another project.
        """
        query = sa.select(jobs).where(jobs.c.id == job_id)
        if project_id is not None:
            query = query.where(jobs.c.project_id == project_id)
        return _one(self._store.read(query), job_id)

    def spec(self, job_id: str) -> AlignmentJobSpec:
        """The specification of a job."""
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
        """Up to `limit` jobs of a project, newest first, older than the job `after`.

        Args:
            limit: most jobs to return.
            after: id of the last job seen.
            project_id: whose jobs.
            statuses: only jobs in one of these states; empty is any.
            name: only jobs whose name or id has this text in it, whatever its case.
            metadata: only jobs whose metadata has these values.
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
        """Jobs in a state."""
        query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.status == status)
        return next(iter(self._store.read(query)[0].values()))

    def running(self) -> list[StoredJob]:
        """The running jobs, oldest first."""
        query = sa.select(jobs).where(jobs.c.status == JobStatus.RUNNING).order_by(jobs.c.number)
        return [StoredJob.of(row) for row in self._store.read(query)]

    def claim_next(self, free_slots: int, all_slots: int | None = None) -> StoredJob | None:
        """Mark the next queued job as running and return it, as it was before.

        The highest priority comes first, then the lowest number, so that one that was interrupted
        is early again. A job that needs more slots than are free holds up those behind it: it would
        never start beside a stream of smaller ones. One that waits for another job is passed over.

        Args:
            free_slots: engines that can be started.
            all_slots: engines that ever can; a job that needs more waits for all of them.
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
        """Put running jobs, whose process is gone, back into the queue; they resume later.

        A job whose cancellation was asked for is cancelled instead, and one that was to pause is
        paused.

        Args:
            message: why, for the jobs' events.
            alive: jobs that have a process.
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
        """Cancel a waiting job at once; ask the process of a running one to stop. Idempotent.

        Raises:
            JobNotFoundError: no such job.
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
        """Pause a queued job at once; ask the process of a running one to stop. Idempotent.

        Raises:
            JobNotFoundError: no such job.
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
        """Queue a paused job again; one that is about to pause goes on. Idempotent.

        So is a job that failed through the machine, which may have been put right since.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: the job has ended.
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
        """Queue a job that has no process again, whatever became of it.

        Args:
            job_id: the job.
            spec: its specification, which may have changed.
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
        """Unix time at which the user asked to cancel or to pause."""
        job = self.get(job_id)
        return job.cancel_requested_at or job.pause_requested_at

    def succeed(self, job_id: str, result: ResultEvent) -> bool:
        """End a running job with its result. False if it was not running any more."""
        with self._store.change() as connection:
            return _end(connection, job_id, JobStatus.SUCCEEDED, result=result.model_dump_json())

    def stop(self, job_id: str) -> bool:
        """Pause or cancel a running job, whichever was asked for. False if it was not running."""
        with self._store.change() as connection:
            job = _locked(connection, job_id)
            if job.status is not JobStatus.RUNNING:
                return False
            if job.cancel_requested_at is None and job.pause_requested_at is not None:
                _pause(connection, job_id)
            elif job.cancel_requested_at is None:
                # Resumed while its process was stopping.
                connection.execute(_change(job_id).values(status=JobStatus.QUEUED))
            else:
                _end(connection, job_id, JobStatus.CANCELLED)
        return True

    def fail(self, job_id: str, code: str, message: str, param: str | None = None) -> bool:
        """End a running job as failed and add its error event. False if it was not running."""
        # The end of a log may hold anything, and a job that cannot fail would be started for ever.
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
    """Jobs that wait for one that will not succeed would wait for ever."""
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
