"""Answers of the comparison endpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from alignment_api.store.job_status import JobStatus


class ComparisonStatus(StrEnum):
    """State of a comparison, derived from its jobs."""

    QUEUED = "queued"
    """No job has started."""
    RUNNING = "running"
    """At least one job has not ended."""
    SUCCEEDED = "succeeded"
    """Every job has succeeded."""
    FAILED = "failed"
    """All jobs have ended, and at least one has failed."""
    CANCELLED = "cancelled"
    """All jobs have ended, none has failed, and at least one was cancelled."""


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ComparisonRun(_Answer):
    """One job of a comparison."""

    arm: str
    seed: int
    job_id: str
    status: JobStatus


class ComparisonTable(_Answer):
    """A table for people; an empty cell means the value is unknown."""

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
    """Validation score to reach; null means the best of the reference arm, separately per seed."""
    runs: list[ComparisonRun]
    """Jobs in the order in which they run."""


class ComparisonDetails(Comparison):
    """One comparison with its jobs' results so far."""

    spec: dict[str, Any]
    """Specification as it was sent."""
    results: dict[str, Any] | None
    """`curves` by arm and axis, `time_to_target`, `test` and `costs`, the last three also over
    all seeds; null before the first validation. docs/COMPARING.md explains the fields."""
    tables: list[ComparisonTable]
    """Results as tables for people."""


class ComparisonList(_Answer):
    """A page of comparisons, newest first."""

    object: Literal["list"] = "list"
    data: list[Comparison]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None
