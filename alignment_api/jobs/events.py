"""The events of jobs in the store."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from alignment_api.jobs.repository import JobRepository, append_event
from alignment_api.jobs.schemas import JobEvent, JobProgress, JobStatus
from alignment_api.store import Store
from alignment_api.store.tables import events
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
        query = _of(job_id).where(events.c.seq > seq).order_by(events.c.seq)
        rows = self._store.read(query.limit(limit + 1))
        return EventBatch([_event(row) for row in rows[:limit]], len(rows) > limit, status)

    def before(self, job_id: str, seq: int | None, limit: int) -> EventBatch:
        """Up to `limit` events with a lower number than `seq`, newest first; None is the end.

        Raises:
            JobNotFoundError: no such job.
        """
        status = JobStatus(self._jobs.get(job_id)["status"])
        query = _of(job_id).order_by(events.c.seq.desc())
        if seq is not None:
            query = query.where(events.c.seq < seq)
        rows = self._store.read(query.limit(limit + 1))
        return EventBatch([_event(row) for row in rows[:limit]], len(rows) > limit, status)

    def of_type(self, job_id: str, kind: str) -> list[JobEvent]:
        """All events of one type, oldest first."""
        query = _of(job_id).where(events.c.type == kind).order_by(events.c.seq)
        return [_event(row) for row in self._store.read(query)]

    def generations(self, job_id: str) -> list[dict[str, Any]]:
        """One entry per finished generation. The last report of a generation counts: after an
        interruption a job may run its last generation again.

        Raises:
            JobNotFoundError: no such job.
        """
        self._jobs.get(job_id)
        entries = (event.data for event in self.of_type(job_id, "generation"))
        found = {entry["generation"]: entry for entry in entries}
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

    def mean_fitness(self, job_id: str) -> list[float]:
        """Mean fitness of every generation that has one, in order."""
        query = sa.select(events.c.score).where(
            events.c.job_id == job_id, events.c.type == "generation", events.c.score.is_not(None)
        )
        return [row["score"] for row in self._store.read(query.order_by(events.c.seq))]

    def _last(self, job_id: str, kind: str) -> dict[str, Any]:
        query = _of(job_id).where(events.c.type == kind).order_by(events.c.seq.desc()).limit(1)
        rows = self._store.read(query)
        return json.loads(rows[0]["data"]) if rows else {}

    def _best_validation(self, job_id: str) -> float | None:
        query = sa.select(sa.func.max(events.c.score).label("best")).where(
            events.c.job_id == job_id, events.c.type == "validation"
        )
        return self._store.read(query)[0]["best"]


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
        """True once the user has asked to cancel or to pause: one indexed read."""
        return self._jobs.stop_requested_at(self._job_id) is not None


def _of(job_id: str) -> sa.Select[Any]:
    return sa.select(events).where(events.c.job_id == job_id)


def _event(row: RowMapping) -> JobEvent:
    return JobEvent(
        id=row["seq"],
        job_id=row["job_id"],
        type=row["type"],
        created_at=row["created_at"],
        data=json.loads(row["data"]),
    )
