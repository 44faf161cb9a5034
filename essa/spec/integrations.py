"""Trackers that also receive a job's progress, in the form of OpenAI's `integrations`.

Addresses and keys are not part of a job: the operator of the service sets them (docs/OPERATE.md).
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
    """Name of the run; by default the job's name."""
    entity: Name | None = None
    """Team or user; None takes the owner of the service's key."""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()


class WandbIntegrationSpec(SpecModel):
    """Send a job's progress to Weights & Biases."""

    type: Literal["wandb"]
    wandb: WandbRunSpec


class MlflowRunSpec(SpecModel):
    """A run in MLflow."""

    experiment: Name = "essa"
    """Name of the experiment, which is created if it does not exist."""
    name: Name | None = None
    """Name of the run; by default the job's name."""
    tags: dict[Name, Annotated[str, Field(max_length=512)]] = Field(default_factory=dict)


class MlflowIntegrationSpec(SpecModel):
    """Send a job's progress to an MLflow server."""

    type: Literal["mlflow"]
    mlflow: MlflowRunSpec = MlflowRunSpec()


class TensorboardRunSpec(SpecModel):
    """Event files in the folder `tensorboard` of the run. There are no settings."""


class TensorboardIntegrationSpec(SpecModel):
    """Write event files for TensorBoard."""

    type: Literal["tensorboard"]
    tensorboard: TensorboardRunSpec = TensorboardRunSpec()


IntegrationSpec = Annotated[
    WandbIntegrationSpec | MlflowIntegrationSpec | TensorboardIntegrationSpec,
    Field(discriminator="type"),
]
