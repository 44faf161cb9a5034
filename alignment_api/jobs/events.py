"""The events of jobs in the store."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.engine import RowMapping

from alignment_api.jobs.insertion import append_event
from alignment_api.jobs.repository import JobRepository
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import events
from essa.events import Event
from essa.ports import Clock, EventSink, MonotonicClock, RunControl

CONTROL_INTERVAL_S = 0.25
"""Runs ask after every work item; the store is read this often at most."""


class JobEvent(BaseModel):
    """One event as it is stored. `id` counts from 1 in each job."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: int
    job_id: str
    type: str
    created_at: float
    data: dict[str, Any]


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
        status = self._jobs.get(job_id).status
        query = _of(job_id).where(events.c.seq > seq).order_by(events.c.seq)
        rows = self._store.read(query.limit(limit + 1))
        return EventBatch([_event(row) for row in rows[:limit]], len(rows) > limit, status)

    def before(self, job_id: str, seq: int | None, limit: int) -> EventBatch:
        """Up to `limit` events with a lower number than `seq`, newest first; None is the end.

        Raises:
            JobNotFoundError: no such job.
        """
        status = self._jobs.get(job_id).status
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

    def newest(
        self, job_ids: Sequence[str], kinds: Sequence[str]
    ) -> dict[tuple[str, str], JobEvent]:
        """The last event of each of some types, of several jobs, by job and type."""
        last = (
            sa.select(events.c.job_id, sa.func.max(events.c.seq).label("seq"))
            .where(events.c.job_id.in_(job_ids), events.c.type.in_(kinds))
            .group_by(events.c.job_id, events.c.type)
            .subquery()
        )
        is_last = (events.c.job_id == last.c.job_id) & (events.c.seq == last.c.seq)
        rows = self._store.read(sa.select(events).join(last, is_last))
        return {(row["job_id"], row["type"]): _event(row) for row in rows}

    def scores(self, job_ids: Sequence[str], kind: str) -> dict[str, list[float]]:
        """By job, the scores of all events of one type that have one, in order.

        Of generations they are mean fitness, of validations the score of the mean vector.
        """
        query = sa.select(events.c.job_id, events.c.score).where(
            events.c.job_id.in_(job_ids), events.c.type == kind, events.c.score.is_not(None)
        )
        found: dict[str, list[float]] = {job_id: [] for job_id in job_ids}
        for row in self._store.read(query.order_by(events.c.job_id, events.c.seq)):
            found[row["job_id"]].append(row["score"])
        return found


class StoreSink(EventSink):
    """Writes a running job's events to the store, where the API finds them."""

    def __init__(self, events: EventRepository, job_id: str) -> None:
        self._events = events
        self._job_id = job_id

    def emit(self, event: Event) -> None:
        """Record one event."""
        self._events.append(self._job_id, event)


class StoreControl(RunControl):
    """Reads from the store what the user wants of a running job, a few times a second at most."""

    def __init__(self, jobs: JobRepository, job_id: str, clock: Clock | None = None) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._clock = clock or MonotonicClock()
        self._is_cancelled = False
        self._read_at = -math.inf

    def is_cancelled(self) -> bool:
        """True once the user has asked to cancel or to pause."""
        now_s = self._clock.now_s()
        if not self._is_cancelled and now_s - self._read_at >= CONTROL_INTERVAL_S:
            self._read_at = now_s
            self._is_cancelled = self._jobs.stop_requested_at(self._job_id) is not None
        return self._is_cancelled


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
