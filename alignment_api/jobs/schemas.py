"""What the job endpoints answer."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """True once the job will not change any more."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED)


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class JobFailure(_Answer):
    """Why a job failed."""

    code: str
    message: str


class JobProgress(_Answer):
    """The newest news of a job; None where there is none yet."""

    stage: str | None = None
    message: str | None = None
    done: int | None = None
    total: int | None = None
    generation: int | None = None
    best: float | None = None
    """Best fitness of the last generation."""
    mean: float | None = None
    """Mean fitness of the last generation."""
    eta_s: float | None = None
    validation: float | None = None
    """Last validation score of the mean vector."""
    best_validation: float | None = None

    @field_validator("best", "mean", "eta_s", "validation")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        # A generation without any score reports NaN, which JSON does not have.
        return value if value is not None and math.isfinite(value) else None


class Job(_Answer):
    """One alignment job."""

    id: str
    object: Literal["alignment.job"] = "alignment.job"
    name: str
    status: JobStatus
    created_at: int
    """Unix seconds, as all times here."""
    started_at: int | None
    """Last start; a job that was interrupted starts again."""
    finished_at: int | None
    cancel_requested: bool
    error: JobFailure | None
    spec: dict[str, Any]
    progress: JobProgress
    result: dict[str, Any] | None
    """The data of the result event, once succeeded."""


class JobList(_Answer):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool


class JobEvent(_Answer):
    """One event. `id` counts from 1 in each job and is the id on the event stream."""

    id: int
    object: Literal["alignment.job.event"] = "alignment.job.event"
    job_id: str
    type: str
    created_at: float
    data: dict[str, Any]


class JobEventList(_Answer):
    """A page of events, oldest first."""

    object: Literal["list"] = "list"
    data: list[JobEvent]
    has_more: bool


class GenerationList(_Answer):
    """The data of one event per finished generation, in order."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
