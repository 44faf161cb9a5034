"""Every error the project raises on purpose.

EssaError
├── SpecError                    what the user asked for cannot be done as written
├── DataError                    a data set or one of its rows is unusable
├── SearchError
│   ├── NonFiniteFitnessError    too few candidates have a score to update the search
│   └── StateMismatchError       a saved search state does not fit this search
├── AdapterError                 an adapter cannot be decomposed or rebuilt
├── EvaluationError
│   └── EngineError
│       ├── EngineStartError
│       ├── EngineGateError      an engine runs the base or an adapter wrongly
│       ├── EngineStoppedError
│       └── EngineTimeoutError
├── ClusterError
│   ├── WorkerLostError
│   ├── TrainerError             the process of a gradient method failed
│   └── PackageShadowedError
├── MachineError                 this machine or its network cannot do what was asked for
│   └── StorageError             a folder cannot be written, or its disk is full
├── CheckpointError
│   ├── CheckpointCorruptError
│   └── CheckpointIncompatibleError
└── JobError
    ├── JobNotFoundError
    ├── JobConflictError
    ├── JobCancelledError
    └── BudgetExceededError

Each class takes one message and keyword details, so the default pickling works across Ray.
A message says what happened, the offending value and the setting that changes it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class EssaError(Exception):
    """Base of all errors raised on purpose."""

    code: ClassVar[str] = "essa_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return self.message


def error_of(code: str | None, message: str | None) -> EssaError:
    """Rebuild an error from its stored code and message; `EssaError` if no class has the code.

    Only classes in modules that this process has imported are found.
    """
    kinds = [EssaError]
    for kind in kinds:
        if kind.code == code:
            return kind(message or "")
        kinds += kind.__subclasses__()
    return EssaError(message or "")


class SpecError(EssaError):
    """The job as written cannot be run. `field` in the detail names the setting."""

    code = "invalid_spec"


class DataError(EssaError):
    """A data set is missing, empty or has an unusable row."""

    code = "invalid_data"


class SearchError(EssaError):
    """The search strategy was used or configured wrongly."""

    code = "search_error"


class NonFiniteFitnessError(SearchError):
    """Fewer than two candidates have a finite fitness."""

    code = "non_finite_fitness"


class StateMismatchError(SearchError):
    """A saved search state belongs to another strategy or dimension."""

    code = "search_state_mismatch"


class AdapterError(EssaError):
    """An adapter has the wrong shape, is zero, or does not fit the base model."""

    code = "invalid_adapter"


class EvaluationError(EssaError):
    """A population could not be evaluated."""

    code = "evaluation_failed"


class EngineError(EvaluationError):
    """An inference engine failed."""

    code = "engine_error"
    retryable = True


class EngineStartError(EngineError):
    """An inference engine did not start."""

    code = "engine_start_failed"
    retryable = False


class EngineGateError(EngineError):
    """An engine's log-probabilities are not those of plain transformers."""

    code = "engine_gate"
    retryable = False


class EngineStoppedError(EngineError):
    """An engine failed permanently or was closed; a new engine is needed to continue."""

    code = "engine_stopped"


class EngineTimeoutError(EngineError):
    """A work item ran past engine.item_timeout_s."""

    code = "engine_timeout"


class ClusterError(EssaError):
    """The Ray cluster is unusable."""

    code = "cluster_error"


class WorkerLostError(ClusterError):
    """A worker died more often than engine.max_restarts allows."""

    code = "worker_lost"


class TrainerError(ClusterError):
    """The process that trains by gradients failed."""

    code = "trainer_failed"


class PackageShadowedError(ClusterError):
    """Another distribution owns one of our top-level packages."""

    code = "package_shadowed"


class MachineError(EssaError):
    """The machine or its network cannot do what was asked for; its owner must change it."""

    code = "unfit_machine"


class StorageError(MachineError):
    """A folder cannot be written, or its disk is full."""

    code = "storage"


class CheckpointError(EssaError):
    """A checkpoint cannot be used."""

    code = "checkpoint_error"


class CheckpointCorruptError(CheckpointError):
    """A checkpoint file is unreadable or fails its checksum."""

    code = "checkpoint_corrupt"


class CheckpointIncompatibleError(CheckpointError):
    """A checkpoint was written for other bases or another specification."""

    code = "checkpoint_incompatible"


class JobError(EssaError):
    """A request about a job cannot be met."""

    code = "job_error"


class JobNotFoundError(JobError):
    """No such job."""

    code = "job_not_found"


class JobConflictError(JobError):
    """The job is not in a state that allows this."""

    code = "job_conflict"


class JobCancelledError(JobError):
    """The user cancelled the job."""

    code = "job_cancelled"


class BudgetExceededError(JobError):
    """The budget ran out before the job had a result."""

    code = "budget_exceeded"
