"""Convert stored jobs to the API's jobs, reading the events of a whole page at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from alignment_api.jobs.answers import EssaDetails, FineTuningJob, JobFailure, JobProgress
from alignment_api.jobs.events import EventRepository, JobEvent
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from essa.events import RoundEvent, StageEvent, ValidationEvent, finite

SPARKLINE_POINTS = 60


class JobObjects:
    """Converts stored jobs to the API's job objects.

    Args:
        events: events of the store that has the jobs.
    """

    def __init__(self, events: EventRepository) -> None:
        self._events = events

    def of(self, jobs: Sequence[StoredJob]) -> list[FineTuningJob]:
        """Return the jobs as objects, in the same order."""
        ids = [job.id for job in jobs]
        if not ids:
            return []
        stages = self._events.newest(ids, StageEvent)
        rounds = self._events.newest(ids, RoundEvent)
        validations = self._events.newest(ids, ValidationEvent)
        fitness = self._events.scores(ids, RoundEvent)
        scores = self._events.scores(ids, ValidationEvent)
        return [
            _job(
                job,
                _News(stages.get(job.id), rounds.get(job.id), validations.get(job.id)),
                thinned(fitness[job.id]),
                max(scores[job.id], default=None),
            )
            for job in jobs
        ]


class _News(NamedTuple):
    """The newest events of a job."""

    stage: JobEvent[StageEvent] | None
    round: JobEvent[RoundEvent] | None
    validation: JobEvent[ValidationEvent] | None


def thinned(values: Sequence[float], most: int = SPARKLINE_POINTS) -> list[float]:
    """Return at most `most` evenly spaced values, always with the first and the last."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(place * step)] for place in range(most)]


def _job(
    job: StoredJob,
    news: _News,
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
        fine_tuned_model=job.model_name if has_model else None,
        organization_id=job.project_id,
        training_file=_file(data["train"]) or "",
        validation_file=_file(data.get("validation")),
        integrations=spec.get("integrations", []),
        trained_tokens=result["tokens"] if result else None,
        seed=spec["seed"],
        error=_failure(job),
        estimated_finish=_estimated_finish(job, news.round),
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
            progress=_progress(spec, news, best_validation),
            fitness=fitness,
            spec=spec,
            result=result,
        ),
    )


def _progress(spec: dict[str, Any], news: _News, best_validation: float | None) -> JobProgress:
    progress = JobProgress(
        generations=spec["budget"]["generations"], best_validation=best_validation
    )
    if news.stage is not None:
        stage = news.stage.event
        progress.stage, progress.message = stage.stage, stage.message
        progress.done, progress.total = stage.done, stage.total
    if news.round is not None:
        last = news.round.event
        progress.generation, progress.eta_s = last.generation, finite(last.eta_s)
        progress.best, progress.mean = finite(last.best), finite(last.mean)
    if news.validation is not None:
        progress.validation = finite(news.validation.event.score)
    return progress


def _estimated_finish(job: StoredJob, last: JobEvent[RoundEvent] | None) -> int | None:
    if job.status is not JobStatus.RUNNING or last is None:
        return None
    eta_s = finite(last.event.eta_s)
    return None if eta_s is None else int(last.created_at + eta_s)


def _failure(job: StoredJob) -> JobFailure | None:
    if job.error_code is None:
        return None
    return JobFailure(code=job.error_code, message=job.error_message or "", param=job.error_param)


def _file(dataset: dict[str, Any] | None) -> str | None:
    return (dataset.get("file_id") or dataset.get("path")) if dataset else None


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
