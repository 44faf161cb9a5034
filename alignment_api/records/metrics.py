"""Curves of a job against its costs, from its events."""

from __future__ import annotations

import hashlib
import json

from alignment_api.jobs.events import EventRepository
from alignment_api.records.schemas import ComparedIdentity, ComparedJob, MetricPoint
from alignment_api.store.stored_job import StoredJob
from essa.events import RoundEvent, ValidationEvent, finite
from essa.spec import AlignmentJobSpec

_GROUP_DIGITS = 16


def points(job_id: str, events: EventRepository) -> list[MetricPoint]:
    """Return one point per generation, in order.

    For a generation that an interruption made run twice, the last event counts.
    """
    found: dict[int, dict[str, float | None]] = {}
    for generation, one in events.by_generation(job_id, ValidationEvent).items():
        low, high = one.event.ci95
        own = {"validation": one.event.score, "validation_low": low, "validation_high": high}
        found[generation] = _spent(one.event) | own
    for generation, one in events.by_generation(job_id, RoundEvent).items():
        own = {"best": one.event.best, "mean": one.event.mean, "worst": one.event.worst}
        found.setdefault(generation, {}).update(_spent(one.event) | own)
    return [
        MetricPoint.model_validate(
            {"generation": generation, **{name: finite(value) for name, value in values.items()}}
        )
        for generation, values in sorted(found.items())
    ]


def compared(job: StoredJob, events: EventRepository) -> ComparedJob:
    """Return a job as one curve of a comparison."""
    return ComparedJob(
        job=ComparedIdentity(
            id=job.id,
            name=job.name,
            status=job.status,
            method=job.spec.method.type,
            seed=job.spec.seed,
        ),
        group=group_of(job.spec),
        points=points(job.id, events),
        test=job.result["test"] if job.result else None,
    )


def group_of(spec: AlignmentJobSpec) -> str:
    """Return a key that is equal for jobs that differ only in name and seed."""
    content = spec.model_dump(mode="json", exclude={"name", "seed"})
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_GROUP_DIGITS]


def _spent(event: RoundEvent | ValidationEvent) -> dict[str, float | None]:
    return {
        "wall_s": event.elapsed_s,
        "device_s": event.device_s,
        "tokens": event.tokens,
        "samples": event.samples,
    }
