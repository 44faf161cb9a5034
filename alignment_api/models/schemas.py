"""Answers of the model endpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class ModelKind(StrEnum):
    """Which of a job's three models this is, or a base that no job has used."""

    BASE = "base"
    WARM_START = "warm_start"
    ALIGNED = "aligned"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ModelDetails(_Model):
    """Fields that OpenAI's model object lacks."""

    kind: ModelKind
    job: str | None = None
    """Id of the job that made the model."""
    job_name: str | None = None
    base: str | None = None
    """Id of the base that the adapter is served on."""
    precision: str
    """Precision of the base's weights."""
    not_served: str | None = None
    """Reason why the model cannot be queried; null if it can."""


class Model(_Model):
    """A model that can be queried."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    essa: ModelDetails


class ModelList(_Model):
    """Models of the caller's project, newest job first, then other bases of the cache."""

    object: Literal["list"] = "list"
    data: list[Model]
    has_more: bool = False


class DeletedModel(_Model):
    """A model that was deleted."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
