"""Add jobs and events within the caller's transaction."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from alignment_api.openai.identifiers import JOB_PREFIX
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import events, jobs
from essa.events import Event, RoundEvent, ValidationEvent, finite
from essa.spec import AlignmentJobSpec


@dataclass(frozen=True)
class NewJob:
    """A job to queue.

    Attributes:
        project_id: project that owns the job.
        priority: of two queued jobs, the one with the higher priority starts first.
        slots: engine slots that the job holds while it runs; None means one per engine.
        request: fields of the request that the specification lacks, such as `suffix`.
        waits_for: id of a job that has to succeed before this one starts; if it ends otherwise,
            this one fails.
        id: id of the job; None makes one.
    """

    spec: AlignmentJobSpec
    project_id: str
    priority: int = 0
    slots: int | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    waits_for: str | None = None
    id: str | None = None


def add_job(connection: Connection, job: NewJob) -> str:
    """Queue a job within a transaction and return its id."""
    job_id = job.id or JOB_PREFIX + secrets.token_hex(8)
    connection.execute(
        sa.insert(jobs).values(
            id=job_id,
            project_id=job.project_id,
            name=job.spec.name,
            status=JobStatus.QUEUED,
            priority=job.priority,
            slots=job.spec.engine.workers if job.slots is None else job.slots,
            created_at=time.time(),
            spec=job.spec.model_dump_json(),
            request=json.dumps(job.request),
            waits_for=job.waits_for,
        )
    )
    return job_id


def append_event(connection: Connection, job_id: str, event: Event) -> int:
    """Add an event to a job within a transaction and return its number."""
    # Locking the job's row makes the numbering of its events safe.
    connection.execute(sa.select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
    highest = sa.select(sa.func.coalesce(sa.func.max(events.c.seq), 0))
    number = connection.execute(highest.where(events.c.job_id == job_id)).scalar_one() + 1
    connection.execute(
        sa.insert(events).values(
            job_id=job_id,
            seq=number,
            type=event.type,
            created_at=time.time(),
            score=_score(event),
            data=event.model_dump_json(),
        )
    )
    return number


def _score(event: Event) -> float | None:
    if isinstance(event, ValidationEvent):
        return finite(event.score)
    return finite(event.mean) if isinstance(event, RoundEvent) else None
