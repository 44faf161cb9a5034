"""The events of jobs in the store."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.engine import RowMapping

from alignment_api.jobs.insertion import append_event
from alignment_api.jobs.repository import JobRepository
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import events
from essa.events import Event, RoundEvent, ValidationEvent, read_event, type_of
from essa.ports import Clock, EventSink, MonotonicClock, RunControl

CONTROL_INTERVAL_S = 0.25
"""Minimum seconds between two reads of the store: runs ask after every work item."""


Kind = TypeVar("Kind", bound=BaseModel, covariant=True)
"""A class of events."""
Numbered = TypeVar("Numbered", RoundEvent, ValidationEvent)
"""A class of events that belong to a generation."""


@dataclass(frozen=True)
class JobEvent(Generic[Kind]):
    """One event of a job.

    Attributes:
        id: number of the event, counted from 1 in each job.
        created_at: time in Unix seconds.
        data: the event as stored, which clients get. Must not be modified.
    """

    id: int
    job_id: str
    created_at: float
    event: Kind
    data: dict[str, Any]


class EventBatch(NamedTuple):
    """Events after a number, and the job's state read before them."""

    events: list[JobEvent[Event]]
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
        """Return up to `limit` events with a number above `seq`, oldest first.

        Raises:
            JobNotFoundError: there is no such job.
        """
        # The state is read first: if it is terminal, no event can follow those read below.
        status = self._jobs.get(job_id).status
        query = _of(job_id).where(events.c.seq > seq).order_by(events.c.seq)
        rows = self._store.read(query.limit(limit + 1))
        return EventBatch([_event(row) for row in rows[:limit]], len(rows) > limit, status)

    def before(self, job_id: str, seq: int | None, limit: int) -> EventBatch:
        """Return up to `limit` events with a number below `seq`, newest first; None means no bound.

        Raises:
            JobNotFoundError: there is no such job.
        """
        status = self._jobs.get(job_id).status
        query = _of(job_id).order_by(events.c.seq.desc())
        if seq is not None:
            query = query.where(events.c.seq < seq)
        rows = self._store.read(query.limit(limit + 1))
        return EventBatch([_event(row) for row in rows[:limit]], len(rows) > limit, status)

    def of_kind(self, job_id: str, kind: type[Kind]) -> list[JobEvent[Kind]]:
        """Return all events of a class, oldest first."""
        query = _of(job_id).where(events.c.type == type_of(kind)).order_by(events.c.seq)
        return _only(kind, self._store.read(query))

    def of_kinds(self, job_id: str, kinds: Sequence[type[BaseModel]]) -> list[Event]:
        """Return the content of all events of some classes, oldest first."""
        query = _of(job_id).where(events.c.type.in_([type_of(kind) for kind in kinds]))
        return [_event(row).event for row in self._store.read(query.order_by(events.c.seq))]

    def by_generation(self, job_id: str, kind: type[Numbered]) -> dict[int, JobEvent[Numbered]]:
        """Return the events of a class by generation, in order.

        The last event of a generation counts: an interrupted job may repeat it.
        """
        found = {one.event.generation: one for one in self.of_kind(job_id, kind)}
        return {generation: found[generation] for generation in sorted(found)}

    def newest(self, job_ids: Sequence[str], kind: type[Kind]) -> dict[str, JobEvent[Kind]]:
        """Return each job's last event of a class; jobs without one are left out."""
        last = (
            sa.select(events.c.job_id, sa.func.max(events.c.seq).label("seq"))
            .where(events.c.job_id.in_(job_ids), events.c.type == type_of(kind))
            .group_by(events.c.job_id)
            .subquery()
        )
        is_last = (events.c.job_id == last.c.job_id) & (events.c.seq == last.c.seq)
        rows = self._store.read(sa.select(events).join(last, is_last))
        return {one.job_id: one for one in _only(kind, rows)}

    def scores(self, job_ids: Sequence[str], kind: type[BaseModel]) -> dict[str, list[float]]:
        """Return, by job, the scores of all events of a class that have one, in order.

        For a generation or step the score is its mean fitness, for a validation its score.
        """
        query = sa.select(events.c.job_id, events.c.score).where(
            events.c.job_id.in_(job_ids),
            events.c.type == type_of(kind),
            events.c.score.is_not(None),
        )
        found: dict[str, list[float]] = {job_id: [] for job_id in job_ids}
        for row in self._store.read(query.order_by(events.c.job_id, events.c.seq)):
            found[row["job_id"]].append(row["score"])
        return found


class StoreSink(EventSink):
    """Writes a running job's events to the store, from which the API reads them."""

    def __init__(self, events: EventRepository, job_id: str) -> None:
        self._events = events
        self._job_id = job_id

    def emit(self, event: Event) -> None:
        """Record one event."""
        self._events.append(self._job_id, event)


class StoreControl(RunControl):
    """Reads from the store whether a job shall stop, a few times a second at most."""

    def __init__(self, jobs: JobRepository, job_id: str, clock: Clock | None = None) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._clock = clock or MonotonicClock()
        self._is_cancelled = False
        self._read_at = -math.inf

    def is_cancelled(self) -> bool:
        """Return whether the user has asked to cancel or pause the job."""
        now_s = self._clock.now_s()
        if not self._is_cancelled and now_s - self._read_at >= CONTROL_INTERVAL_S:
            self._read_at = now_s
            self._is_cancelled = self._jobs.stop_requested_at(self._job_id) is not None
        return self._is_cancelled


def _of(job_id: str) -> sa.Select[Any]:
    return sa.select(events).where(events.c.job_id == job_id)


def _event(row: RowMapping) -> JobEvent[Event]:
    data = json.loads(row["data"])
    return JobEvent(row["seq"], row["job_id"], row["created_at"], read_event(data), data)


def _only(kind: type[Kind], rows: Sequence[RowMapping]) -> list[JobEvent[Kind]]:
    """Return the events of the class, skipping unreadable ones."""
    found = map(_event, rows)
    return [cast(JobEvent[Kind], one) for one in found if isinstance(one.event, kind)]
