"""Jobs in the store: who may move a job from which state to which is decided here."""

from __future__ import annotations

import secrets
import sqlite3
import time

from alignment_api.jobs.schemas import JobStatus
from alignment_api.store import Store
from essa.errors import JobConflictError, JobNotFoundError
from essa.events import ErrorEvent, Event, ResultEvent, WarningEvent
from essa.spec import AlignmentJobSpec

RESUMED = "job_resumed"

_TERMINAL = tuple(str(status) for status in JobStatus if status.is_terminal)


class JobRepository:
    """Reads and changes jobs and their states; every change is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, spec: AlignmentJobSpec) -> str:
        """Queue a job and return its id."""
        job_id = f"job-{secrets.token_hex(8)}"
        with self._store.change() as connection:
            connection.execute(
                "INSERT INTO jobs (id, name, status, created_at, spec) VALUES (?, ?, ?, ?, ?)",
                (job_id, spec.name, JobStatus.QUEUED, time.time(), spec.model_dump_json()),
            )
        return job_id

    def get(self, job_id: str) -> sqlite3.Row:
        """The row of a job.

        Raises:
            JobNotFoundError: no such job.
        """
        return _one(self._store.read("SELECT * FROM jobs WHERE id = ?", (job_id,)), job_id)

    def spec(self, job_id: str) -> AlignmentJobSpec:
        """The specification of a job. Fields that this version does not know are left out."""
        return AlignmentJobSpec.model_validate_json(self.get(job_id)["spec"], extra="ignore")

    def page(self, limit: int, after: str | None) -> list[sqlite3.Row]:
        """Up to `limit` jobs, newest first, older than the job `after`."""
        if after is None:
            return self._store.read("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (limit,))
        number = self.get(after)["number"]
        return self._store.read(
            "SELECT * FROM jobs WHERE number < ? ORDER BY number DESC LIMIT ?", (number, limit)
        )

    def count(self, status: JobStatus) -> int:
        """Jobs in a state."""
        query = "SELECT COUNT(*) FROM jobs WHERE status = ?"
        return self._store.read(query, (status,))[0][0]

    def running_id(self) -> str | None:
        """Id of the running job."""
        query = "SELECT id FROM jobs WHERE status = ? ORDER BY number"
        rows = self._store.read(query, (JobStatus.RUNNING,))
        return rows[0]["id"] if rows else None

    def claim_next(self) -> str | None:
        """Mark the oldest queued job as running and return its id.

        Jobs start in the order of their numbers, so one that was interrupted comes first again.
        """
        with self._store.change() as connection:
            row = connection.execute(
                "SELECT id FROM jobs WHERE status = ? ORDER BY number LIMIT 1", (JobStatus.QUEUED,)
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE jobs SET status = ?, started_at = ?, starts = starts + 1 WHERE id = ?",
                (JobStatus.RUNNING, time.time(), row["id"]),
            )
        return row["id"]

    def requeue_running(self, message: str) -> list[str]:
        """Put running jobs, whose process is gone, back into the queue; they resume later.

        A job whose cancellation was asked for is cancelled instead.
        """
        with self._store.change() as connection:
            rows = connection.execute(
                "SELECT id, cancel_requested_at FROM jobs WHERE status = ?", (JobStatus.RUNNING,)
            ).fetchall()
            for row in rows:
                if row["cancel_requested_at"] is not None:
                    _end(connection, row["id"], JobStatus.CANCELLED)
                    continue
                connection.execute(
                    "UPDATE jobs SET status = ? WHERE id = ?", (JobStatus.QUEUED, row["id"])
                )
                append_event(connection, row["id"], WarningEvent(code=RESUMED, message=message))
        return [row["id"] for row in rows if row["cancel_requested_at"] is None]

    def request_cancel(self, job_id: str) -> None:
        """Cancel a queued job at once; ask the process of a running one to stop. Idempotent.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: the job has succeeded or failed.
        """
        with self._store.change() as connection:
            rows = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchall()
            status = JobStatus(_one(rows, job_id)["status"])
            if status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
                raise JobConflictError(f"job {job_id} has already {status}; nothing to cancel")
            connection.execute(
                "UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, ?) "
                "WHERE id = ?",
                (time.time(), job_id),
            )
            if status is JobStatus.QUEUED:
                _end(connection, job_id, JobStatus.CANCELLED)

    def cancel_requested_at(self, job_id: str) -> float | None:
        """Unix time at which the user asked to cancel."""
        query = "SELECT cancel_requested_at FROM jobs WHERE id = ?"
        return _one(self._store.read(query, (job_id,)), job_id)["cancel_requested_at"]

    def succeed(self, job_id: str, result: ResultEvent) -> bool:
        """End a running job with its result. False if it was not running any more."""
        with self._store.change() as connection:
            return _end(connection, job_id, JobStatus.SUCCEEDED, result=result.model_dump_json())

    def cancel(self, job_id: str) -> bool:
        """End a running job as cancelled. False if it was not running any more."""
        with self._store.change() as connection:
            return _end(connection, job_id, JobStatus.CANCELLED)

    def fail(self, job_id: str, code: str, message: str) -> bool:
        """End a running job as failed and add its error event. False if it was not running."""
        with self._store.change() as connection:
            is_ended = _end(connection, job_id, JobStatus.FAILED, code=code, message=message)
            if is_ended:
                append_event(connection, job_id, ErrorEvent(code=code, message=message))
        return is_ended


def append_event(connection: sqlite3.Connection, job_id: str, event: Event) -> int:
    """Add an event to a job inside a transaction and return its number."""
    row = connection.execute(
        "SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE job_id = ?", (job_id,)
    ).fetchone()
    connection.execute(
        "INSERT INTO events (job_id, seq, type, created_at, data) VALUES (?, ?, ?, ?, ?)",
        (job_id, row[0], event.type, time.time(), event.model_dump_json()),
    )
    return row[0]


def _one(rows: list[sqlite3.Row], job_id: str) -> sqlite3.Row:
    if not rows:
        raise JobNotFoundError(f"there is no job {job_id}")
    return rows[0]


def _end(
    connection: sqlite3.Connection,
    job_id: str,
    status: JobStatus,
    *,
    result: str | None = None,
    code: str | None = None,
    message: str | None = None,
) -> bool:
    marks = ", ".join("?" * len(_TERMINAL))
    cursor = connection.execute(
        "UPDATE jobs SET status = ?, finished_at = ?, result = ?, error_code = ?, "
        f"error_message = ? WHERE id = ? AND status NOT IN ({marks})",
        (status, time.time(), result, code, message, job_id, *_TERMINAL),
    )
    return cursor.rowcount == 1
