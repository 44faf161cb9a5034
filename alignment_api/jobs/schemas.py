"""What the store knows about a job, in the words of the service."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from alignment_api.finite import finite


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


class _Model(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class JobProgress(_Model):
    """The newest news of a job; None where there is none yet."""

    stage: str | None = None
    message: str | None = None
    done: int | None = None
    total: int | None = None
    generation: int | None = None
    generations: int | None = None
    """Most that the budget allows."""
    best: float | None = None
    """Best fitness of the last generation."""
    mean: float | None = None
    """Mean fitness of the last generation."""
    eta_s: float | None = None
    validation: float | None = None
    """Last validation score of the mean vector."""
    best_validation: float | None = None

    @field_validator("best", "mean", "eta_s", "validation", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> float | None:
        # A generation without any score reports NaN, which JSON does not have.
        return finite(value)


class JobEvent(_Model):
    """One event as it is stored. `id` counts from 1 in each job."""

    id: int
    job_id: str
    type: str
    created_at: float
    data: dict[str, Any]
