"""What the endpoints of comparisons answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from alignment_api.store.job_status import JobStatus


class ComparisonStatus(StrEnum):
    """Where a comparison stands, by its jobs."""

    QUEUED = "queued"
    """No job has begun."""
    RUNNING = "running"
    """Some job has not ended."""
    SUCCEEDED = "succeeded"
    """Every job has."""
    FAILED = "failed"
    """All have ended, and one has failed."""
    CANCELLED = "cancelled"
    """All have ended, none has failed, and one was cancelled."""


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ComparisonRun(_Answer):
    """One job of a comparison."""

    arm: str
    seed: int
    job_id: str
    status: JobStatus


class ComparisonTable(_Answer):
    """A table as people read it; an empty cell is not known."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


class Comparison(_Answer):
    """Several methods on one task."""

    id: str
    object: Literal["comparison"] = "comparison"
    created_at: int
    name: str
    status: ComparisonStatus
    arms: list[str]
    reference: str
    seeds: list[int]
    target: float | None
    """Validation score to reach; null is the best of the reference arm, for each seed its own."""
    runs: list[ComparisonRun]
    """In the order in which they run."""


class ComparisonDetails(Comparison):
    """One comparison with what its jobs say so far."""

    spec: dict[str, Any]
    """As it was sent."""
    results: dict[str, Any] | None
    """`curves` by arm and axis, `time_to_target`, `test` and `costs`, the last three also over
    seeds; null before the first validation. docs/COMPARING.md explains the fields."""
    tables: list[ComparisonTable]
    """The same for people."""


class ComparisonList(_Answer):
    """A page of comparisons, newest first."""

    object: Literal["list"] = "list"
    data: list[Comparison]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None
