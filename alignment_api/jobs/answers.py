"""What the job endpoints answer, in the shapes of OpenAI's fine-tuning API.

What OpenAI has no place for stands in a job's `essa`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from alignment_api.store.job_status import JobStatus


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class JobProgress(_Answer):
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


class JobFailure(_Answer):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class EssaDetails(_Answer):
    """The part of a job that is ours."""

    name: str
    priority: int
    slots: int
    """Engine slots that it holds while it runs."""
    started_at: int | None
    """Last start; a job that was paused or interrupted starts again."""
    starts: int
    waits_for: str | None = None
    """A job that must have succeeded before this one starts."""
    cancel_requested: bool
    pause_requested: bool
    progress: JobProgress
    fitness: list[float]
    """Mean fitness over generations, thinned out to at most 60 points."""
    spec: dict[str, Any]
    """The resolved specification."""
    result: dict[str, Any] | None
    """The data of the result event, once succeeded."""


class FineTuningJob(_Answer):
    """One alignment job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    """Unix seconds, as all times here."""
    finished_at: int | None
    status: JobStatus
    model: str
    fine_tuned_model: str | None
    """Name of the aligned model, once succeeded."""
    organization_id: str
    """The project it belongs to."""
    training_file: str
    """Id of the uploaded file, or a path on the server."""
    validation_file: str | None
    result_files: list[str] = []
    trained_tokens: int | None
    """Prompt and generated tokens of the whole job, once succeeded."""
    seed: int
    hyperparameters: dict[str, Any] = {}
    """Always empty: see `essa.spec`."""
    error: JobFailure | None
    estimated_finish: int | None
    method: dict[str, Any]
    """`type` and, under its name, what the request said about it."""
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
    """One event of a job. `data` is our event (see `essa/events.py`) with its number as `seq`."""

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
    """The mean vector after a generation that was validated."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float | None]
    """`step`, `full_valid_mean_reward` with the ends of its 95 % interval, and
    `train_mean_reward`."""


class CheckpointList(_List):
    """Checkpoints, newest first."""

    data: list[Checkpoint]


class GenerationList(_List):
    """The data of one event per finished generation, in order.

    `validation` in it is the data of the generation's validation event, or null.
    """

    data: list[dict[str, Any]]


class Estimate(_Answer):
    """What a job will need, roughly; null where it cannot be told before it runs."""

    memory_bytes: int | None = None
    """Of one engine: base, adapter, population and KV cache."""
    memory: dict[str, int] = {}
    """The same by what it is for."""
    trainer_memory: dict[str, int] = {}
    """Of the process that trains by gradients, by what it is for; activations are not in it."""
    sequences: int
    """Completions of one generation; 0 where the method has none."""
    generation_s: float | None = None
    total_s: float | None = None
    based_on: str | None = None
    """The earlier job whose speed the times are reckoned from."""


class Validation(_Answer):
    """What a job would be, had it been created."""

    object: Literal["fine_tuning.job.validation"] = "fine_tuning.job.validation"
    is_valid: Literal[True] = True
    spec: dict[str, Any]
    dimension: int | None
    """Numbers that would be searched, or trained."""
    slots: int
    estimate: Estimate
    warnings: list[str]
