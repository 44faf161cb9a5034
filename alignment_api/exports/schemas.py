"""What the export endpoints answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from essa.spec.engine import Precision
from essa.spec.export import ExportFormat, ExportSpec


class ExportStatus(StrEnum):
    """Where an export stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_working(self) -> bool:
        """True while it is being made, or waits for that."""
        return self in (ExportStatus.QUEUED, ExportStatus.RUNNING)


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ExportFailure(_Answer):
    """Why there is no archive."""

    code: str
    message: str


class Export(_Answer):
    """One export of a job; the archive is there once `status` is succeeded."""

    id: str
    object: Literal["fine_tuning.job.export"] = "fine_tuning.job.export"
    format: ExportFormat
    precision: Precision | None
    checkpoint: int | None
    """Generation; null is the one that the job selected."""
    status: ExportStatus
    bytes: int | None = None
    """Size of the archive."""
    error: ExportFailure | None = None
    created_at: int
    """Unix seconds, as all times here."""
    finished_at: int | None = None

    @property
    def spec(self) -> ExportSpec:
        """What was asked for."""
        return ExportSpec(format=self.format, precision=self.precision, checkpoint=self.checkpoint)


class ExportList(_Answer):
    """All exports of a job, oldest first."""

    object: Literal["list"] = "list"
    data: list[Export]
    has_more: Literal[False] = False
    first_id: str | None = None
    last_id: str | None = None
