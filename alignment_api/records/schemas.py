"""Answers of the record endpoints."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Rollout(_Answer):
    """One completion with its scores."""

    n: int
    """Position among all recorded completions of the job."""
    set: Literal["train", "validation", "test"]
    generation: int | None
    """Generation; null in the test."""
    candidate: int | None
    """Row of the population; null for the mean vector and in the test."""
    model: Literal["base", "warm_start", "aligned"] | None
    """Model that wrote the completion; only in the test."""
    prompt_index: int
    """Line number in the data set, from 0."""
    prompt: str
    completion: str
    score: float | None
    """Score; null if it is missing."""
    components: dict[str, float | None] = {}


class RolloutPage(_Answer):
    """Completions, oldest first."""

    object: Literal["list"] = "list"
    data: list[Rollout]
    has_more: bool
    total: int | None
    """Number of all matches; null if counting them would read too much."""


class SingularValues(_Answer):
    """How far the mean vector of a generation moved the warm start's singular values."""

    object: Literal["fine_tuning.job.singular_values"] = "fine_tuning.job.singular_values"
    generation: int
    generations: list[int]
    """Generations for which singular values are recorded."""
    modules: list[str]
    rank: int
    parts: list[str]
    """Names of the parts: `A` and `B`, or `product`."""
    relative_change: dict[str, list[list[float | None]]]
    """Relative change by part, module and index: (now - start) / start; null if the start is 0."""


class TimelineItem(_Answer):
    """One work item. An engine processes several at once, so its items overlap."""

    n: int
    engine: int
    kind: Literal["ladder", "train", "validation", "test"]
    generation: int | None
    """Generation; null in the test, 0 before the first generation."""
    started_s: float
    """Seconds from the job's start."""
    ended_s: float
    candidates: list[int]
    """Rows of the population; empty for the base model."""
    tokens: int
    """Number of generated tokens."""


class Timeline(_Answer):
    """Work items in order of their evaluations, then of their end times."""

    object: Literal["list"] = "list"
    engines: list[int]
    items: list[TimelineItem]
    has_more: bool


class MetricPoint(_Answer):
    """Scores of a generation, with the job's costs up to then; null if unknown."""

    generation: int
    wall_s: float | None = None
    device_s: float | None = None
    tokens: int | None = None
    samples: int | None = None
    best: float | None = None
    mean: float | None = None
    worst: float | None = None
    validation: float | None = None
    validation_low: float | None = None
    validation_high: float | None = None


class Metrics(_Answer):
    """One point per generation; generation 0 is the warm start."""

    object: Literal["fine_tuning.job.metrics"] = "fine_tuning.job.metrics"
    points: list[MetricPoint]


class ComparedIdentity(_Answer):
    """Identity of a compared job."""

    id: str
    name: str
    status: str
    method: str
    seed: int


class ComparedJob(_Answer):
    """One job of a comparison. Jobs of one `group` differ only in name and seed."""

    job: ComparedIdentity
    group: str
    points: list[MetricPoint]
    test: dict[str, Any] | None
    """Final scores of base, warm start and aligned model; null before the end."""


class Comparison(_Answer):
    """Jobs in the order in which they were requested."""

    object: Literal["list"] = "list"
    data: list[ComparedJob]
