"""Answers of the job endpoints, in the shapes of OpenAI's fine-tuning API.

Fields that OpenAI's job object lacks are in a job's `essa`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from alignment_api.store.job_status import JobStatus


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class JobProgress(_Answer):
    """Latest progress of a job; fields are null until they are known."""

    stage: str | None = None
    message: str | None = None
    done: int | None = None
    total: int | None = None
    generation: int | None = None
    generations: int | None = None
    """Maximum number of generations in the budget."""
    best: float | None = None
    """Best fitness of the last generation."""
    mean: float | None = None
    """Mean fitness of the last generation."""
    eta_s: float | None = None
    validation: float | None = None
    """Last validation score of the mean vector."""
    best_validation: float | None = None


class JobFailure(_Answer):
    """Reason why a job failed."""

    code: str
    message: str
    param: str | None = None


class EssaDetails(_Answer):
    """The fields of a job that OpenAI's API lacks."""

    name: str
    priority: int
    slots: int
    """Engine slots that the job holds while it runs."""
    started_at: int | None
    """Time of the last start; a job that was paused or interrupted is started again."""
    starts: int
    waits_for: str | None = None
    """Id of a job that has to succeed before this one starts."""
    cancel_requested: bool
    pause_requested: bool
    progress: JobProgress
    fitness: list[float]
    """Mean fitness by generation, thinned to at most 60 points."""
    spec: dict[str, Any]
    """Resolved specification."""
    result: dict[str, Any] | None
    """Data of the result event, once the job has succeeded."""


class FineTuningJob(_Answer):
    """One alignment job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    """Time of creation in Unix seconds, the unit of all times here."""
    finished_at: int | None
    status: JobStatus
    model: str
    fine_tuned_model: str | None
    """Name of the aligned model, once the job has succeeded."""
    organization_id: str
    """Id of the project that owns the job."""
    training_file: str
    """Id of an uploaded file, or a path on the server."""
    validation_file: str | None
    result_files: list[str] = []
    trained_tokens: int | None
    """Prompt and generated tokens of the whole job, once it has succeeded."""
    seed: int
    hyperparameters: dict[str, Any] = {}
    """Always empty; settings are in `essa.spec`."""
    error: JobFailure | None
    estimated_finish: int | None
    method: dict[str, Any]
    """`type` and, under that type's name, the settings that the request gave for it."""
    metadata: dict[str, str] | None
    integrations: list[dict[str, Any]] = []
    user_provided_suffix: str | None
    essa: EssaDetails


class _List(_Answer):
    object: Literal["list"] = "list"
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


class FineTuningJobList(_List):
    """A page of jobs, newest first."""

    data: list[FineTuningJob]


class FineTuningEvent(_Answer):
    """One event of a job. `data` is the event as in `essa/events.py`, plus its number as `seq`."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class FineTuningEventList(_List):
    """A page of events, newest first unless asked otherwise."""

    data: list[FineTuningEvent]


class Checkpoint(_Answer):
    """The mean vector after a validated generation."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float | None]
    """`step`, `full_valid_mean_reward` with the bounds of its 95 % interval, and
    `train_mean_reward`."""


class CheckpointList(_List):
    """Checkpoints, newest first."""

    data: list[Checkpoint]


class GenerationList(_List):
    """Finished generations in order: for each, the data of its generation event.

    Its `validation` is the data of the generation's validation event, or null.
    """

    data: list[dict[str, Any]]


class Estimate(_Answer):
    """Rough estimate of a job's needs; null where it cannot be known before the job runs."""

    memory_bytes: int | None = None
    """Memory of one engine: base, adapter, population and KV cache."""
    memory: dict[str, int] = {}
    """Memory of one engine, by purpose."""
    trainer_memory: dict[str, int] = {}
    """Memory of the process that trains by gradients, by purpose, without activations."""
    sequences: int
    """Number of completions in one generation; 0 for methods without generations."""
    generation_s: float | None = None
    total_s: float | None = None
    based_on: str | None = None
    """Id of the earlier job whose speed the times are based on."""


class Validation(_Answer):
    """The job that the request would create."""

    object: Literal["fine_tuning.job.validation"] = "fine_tuning.job.validation"
    is_valid: Literal[True] = True
    spec: dict[str, Any]
    dimension: int | None
    """Number of values that would be searched or trained."""
    slots: int
    estimate: Estimate
    warnings: list[str]
