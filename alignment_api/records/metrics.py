"""Curves of a job over what it cost, from its events."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from alignment_api.records.access import RecordedJob
from alignment_api.records.schemas import ComparedIdentity, ComparedJob, MetricPoint
from essa.events import finite
from essa.spec import AlignmentJobSpec

_GROUP_DIGITS = 16


def points(job: RecordedJob) -> list[MetricPoint]:
    """One point a generation, in order.

    A generation that ran twice, after an interruption, counts with its last report.
    """
    found: dict[int, dict[str, Any]] = {}
    for event in job.events("validation"):
        low, high = event["ci95"]
        own = {"validation": event["score"], "validation_low": low, "validation_high": high}
        found[event["generation"]] = own | _spent(event)
    for event in job.events("generation"):
        own = {name: event[name] for name in ("best", "mean", "worst")}
        point = found.setdefault(event["generation"], {})
        point.update(own | _spent(event))
    return [
        MetricPoint.model_validate(
            {"generation": generation, **{name: finite(value) for name, value in values.items()}}
        )
        for generation, values in sorted(found.items())
    ]


def compared(job: RecordedJob) -> ComparedJob:
    """A job as one curve among others."""
    return ComparedJob(
        job=ComparedIdentity(
            id=job.id,
            name=job.name,
            status=job.status,
            method=job.spec.method.type,
            seed=job.spec.seed,
        ),
        group=group_of(job.spec),
        points=points(job),
        test=job.result["test"] if job.result else None,
    )


def group_of(spec: AlignmentJobSpec) -> str:
    """The same for jobs that differ in nothing but name and seed."""
    content = spec.model_dump(mode="json", exclude={"name", "seed"})
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_GROUP_DIGITS]


def _spent(event: dict[str, Any]) -> dict[str, Any]:
    names = {
        "wall_s": "elapsed_s",
        "device_s": "device_s",
        "tokens": "tokens",
        "samples": "samples",
    }
    return {name: event.get(source) for name, source in names.items()}
