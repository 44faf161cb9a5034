"""The events of jobs in the store."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from alignment_api.jobs.repository import JobRepository, append_event
from alignment_api.jobs.schemas import JobEvent, JobProgress, JobStatus
from alignment_api.store import Store
from essa.events import Event
from essa.ports import EventSink, RunControl


class EventBatch(NamedTuple):
    """Events after a number, and the job's state read before them."""

    events: list[JobEvent]
    has_more: bool
    status: JobStatus


class EventRepository:
    """Reads and adds events."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs = JobRepository(store)

    def append(self, job_id: str, event: Event) -> int:
        """Add an event and return its number in the job."""
        with self._store.change() as connection:
            return append_event(connection, job_id, event)

    def after(self, job_id: str, seq: int, limit: int) -> EventBatch:
        """Up to `limit` events with a higher number than `seq`, oldest first.

        Raises:
            JobNotFoundError: no such job.
        """
        # The state comes first: if it is terminal, no event can follow those read below.
        status = JobStatus(self._jobs.get(job_id)["status"])
        rows = self._store.read(
            "SELECT * FROM events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            (job_id, seq, limit + 1),
        )
        return EventBatch([_event(row) for row in rows[:limit]], len(rows) > limit, status)

    def generations(self, job_id: str) -> list[dict[str, Any]]:
        """One entry per finished generation. The last report of a generation counts: after an
        interruption a job may run its last generation again.

        Raises:
            JobNotFoundError: no such job.
        """
        self._jobs.get(job_id)
        rows = self._store.read(
            "SELECT data FROM events WHERE job_id = ? AND type = 'generation' ORDER BY seq",
            (job_id,),
        )
        found = {entry["generation"]: entry for entry in (json.loads(row["data"]) for row in rows)}
        return [found[generation] for generation in sorted(found)]

    def progress(self, job_id: str) -> JobProgress:
        """The newest news of a job."""
        stage = self._last(job_id, "stage")
        generation = self._last(job_id, "generation")
        validation = self._last(job_id, "validation")
        return JobProgress(
            **{name: stage.get(name) for name in ("stage", "message", "done", "total")},
            **{name: generation.get(name) for name in ("generation", "best", "mean", "eta_s")},
            validation=validation.get("score"),
            best_validation=self._best_validation(job_id),
        )

    def _last(self, job_id: str, kind: str) -> dict[str, Any]:
        rows = self._store.read(
            "SELECT data FROM events WHERE job_id = ? AND type = ? ORDER BY seq DESC LIMIT 1",
            (job_id, kind),
        )
        return json.loads(rows[0]["data"]) if rows else {}

    def _best_validation(self, job_id: str) -> float | None:
        rows = self._store.read(
            "SELECT MAX(json_extract(data, '$.score')) FROM events "
            "WHERE job_id = ? AND type = 'validation' "
            "AND json_type(data, '$.score') IN ('real', 'integer')",  # NaN is text
            (job_id,),
        )
        return rows[0][0]


class StoreSink(EventSink):
    """Writes a running job's events to the store, where the API finds them."""

    def __init__(self, events: EventRepository, job_id: str) -> None:
        self._events = events
        self._job_id = job_id

    def emit(self, event: Event) -> None:
        """Record one event."""
        self._events.append(self._job_id, event)


class StoreControl(RunControl):
    """Reads from the store what the user wants of a running job."""

    def __init__(self, jobs: JobRepository, job_id: str) -> None:
        self._jobs = jobs
        self._job_id = job_id

    def is_cancelled(self) -> bool:
        """True once the user has asked to cancel: one indexed read."""
        return self._jobs.cancel_requested_at(self._job_id) is not None


def _event(row: sqlite3.Row) -> JobEvent:
    return JobEvent(
        id=row["seq"],
        job_id=row["job_id"],
        type=row["type"],
        created_at=row["created_at"],
        data=json.loads(row["data"]),
    )
