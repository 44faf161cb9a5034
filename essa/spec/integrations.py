"""Where the progress of a job is sent too, in the shape of OpenAI's `integrations`.

Addresses and keys are no part of a job: whoever runs the service sets them (docs/OPERATE.md).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from essa.spec.base import SpecModel

Name = Annotated[str, Field(min_length=1, max_length=128)]


class WandbRunSpec(SpecModel):
    """A run in Weights & Biases."""

    project: Name
    name: Name | None = None
    """Of the run; the job's name where it is left out."""
    entity: Name | None = None
    """Team or user; None is that of the service's key."""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()


class WandbIntegrationSpec(SpecModel):
    """Send the progress to Weights & Biases."""

    type: Literal["wandb"]
    wandb: WandbRunSpec


class MlflowRunSpec(SpecModel):
    """A run in MLflow."""

    experiment: Name = "essa"
    """Made where there is none of this name."""
    name: Name | None = None
    """Of the run; the job's name where it is left out."""
    tags: dict[Name, Annotated[str, Field(max_length=512)]] = Field(default_factory=dict)


class MlflowIntegrationSpec(SpecModel):
    """Send the progress to an MLflow server."""

    type: Literal["mlflow"]
    mlflow: MlflowRunSpec = MlflowRunSpec()


class TensorboardRunSpec(SpecModel):
    """Event files in `tensorboard` of the run's folder. Nothing to set."""


class TensorboardIntegrationSpec(SpecModel):
    """Write event files for TensorBoard."""

    type: Literal["tensorboard"]
    tensorboard: TensorboardRunSpec = TensorboardRunSpec()


IntegrationSpec = Annotated[
    WandbIntegrationSpec | MlflowIntegrationSpec | TensorboardIntegrationSpec,
    Field(discriminator="type"),
]
