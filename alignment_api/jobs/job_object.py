"""Stored jobs as jobs of the API. Reads the events of a whole page at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignment_api.jobs.answers import EssaDetails, FineTuningJob, JobFailure, JobProgress
from alignment_api.jobs.events import EventRepository, JobEvent
from alignment_api.openai.identifiers import aligned_model
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from essa.events import finite

SPARKLINE_POINTS = 60

_KINDS = ("stage", "generation", "validation")


class JobObjects:
    """Shows jobs.

    Args:
        events: of the same store.
    """

    def __init__(self, events: EventRepository) -> None:
        self._events = events

    def of(self, jobs: Sequence[StoredJob]) -> list[FineTuningJob]:
        """Them, in this order."""
        ids = [job.id for job in jobs]
        if not ids:
            return []
        newest = self._events.newest(ids, _KINDS)
        fitness = self._events.scores(ids, "generation")
        validation = self._events.scores(ids, "validation")
        return [
            _job(
                job,
                {kind: newest[job.id, kind] for kind in _KINDS if (job.id, kind) in newest},
                thinned(fitness[job.id]),
                max(validation[job.id], default=None),
            )
            for job in jobs
        ]


def model_name(job: StoredJob) -> str:
    """Name of the model that a job makes."""
    return aligned_model(
        job.id, job.spec_content["model"]["path"], job.project_id, job.request.get("suffix")
    )


def thinned(values: Sequence[float], most: int = SPARKLINE_POINTS) -> list[float]:
    """Evenly spread values, the first and the last among them; all where there are few."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(place * step)] for place in range(most)]


def _job(
    job: StoredJob,
    newest: dict[str, JobEvent],
    fitness: list[float],
    best_validation: float | None,
) -> FineTuningJob:
    spec, kept, result = job.spec_content, job.request, job.result
    has_model = job.status is JobStatus.SUCCEEDED
    data = spec["data"]
    return FineTuningJob(
        id=job.id,
        created_at=int(job.created_at),
        finished_at=_seconds(job.finished_at),
        status=job.status,
        model=spec["model"]["path"],
        fine_tuned_model=model_name(job) if has_model else None,
        organization_id=job.project_id,
        training_file=_file(data["train"]) or "",
        validation_file=_file(data.get("validation")),
        integrations=spec.get("integrations", []),
        trained_tokens=result["tokens"] if result else None,
        seed=spec["seed"],
        error=_failure(job),
        estimated_finish=_estimated_finish(job, newest.get("generation")),
        method=kept.get("method") or {"type": spec["method"]["type"]},
        metadata=kept.get("metadata"),
        user_provided_suffix=kept.get("suffix"),
        essa=EssaDetails(
            name=job.name,
            priority=job.priority,
            slots=job.slots,
            starts=job.starts,
            waits_for=job.waits_for,
            started_at=_seconds(job.started_at),
            cancel_requested=job.cancel_requested_at is not None,
            pause_requested=job.pause_requested_at is not None,
            progress=_progress(spec, newest, best_validation),
            fitness=fitness,
            spec=spec,
            result=result,
        ),
    )


def _progress(
    spec: dict[str, Any], newest: dict[str, JobEvent], best_validation: float | None
) -> JobProgress:
    stage, generation, validation = (newest[kind].data if kind in newest else {} for kind in _KINDS)
    return JobProgress(
        **{name: stage.get(name) for name in ("stage", "message", "done", "total")},
        **{name: generation.get(name) for name in ("generation", "best", "mean", "eta_s")},
        generations=spec["budget"]["generations"],
        validation=validation.get("score"),
        best_validation=best_validation,
    )


def _estimated_finish(job: StoredJob, generation: JobEvent | None) -> int | None:
    if job.status is not JobStatus.RUNNING or generation is None:
        return None
    eta_s = finite(generation.data.get("eta_s"))
    return None if eta_s is None else int(generation.created_at + eta_s)


def _failure(job: StoredJob) -> JobFailure | None:
    if job.error_code is None:
        return None
    return JobFailure(code=job.error_code, message=job.error_message or "", param=job.error_param)


def _file(dataset: dict[str, Any] | None) -> str | None:
    return (dataset.get("file_id") or dataset.get("path")) if dataset else None


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
