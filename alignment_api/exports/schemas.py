"""Answers of the export endpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from essa.spec.engine import Precision
from essa.spec.export import ExportFormat, ExportSpec


class ExportStatus(StrEnum):
    """State of an export."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_working(self) -> bool:
        """Whether the export is waiting or being made."""
        return self in (ExportStatus.QUEUED, ExportStatus.RUNNING)


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ExportFailure(_Answer):
    """Reason why an export has no archive."""

    code: str
    message: str


class Export(_Answer):
    """One export of a job; its archive exists once `status` is succeeded."""

    id: str
    object: Literal["fine_tuning.job.export"] = "fine_tuning.job.export"
    format: ExportFormat
    precision: Precision | None
    checkpoint: int | None
    """Generation to export; null means the one that the job selected."""
    status: ExportStatus
    bytes: int | None = None
    """Size of the archive in bytes."""
    error: ExportFailure | None = None
    created_at: int
    """Time of creation in Unix seconds, the unit of all times here."""
    finished_at: int | None = None

    @property
    def spec(self) -> ExportSpec:
        """The requested export."""
        return ExportSpec(format=self.format, precision=self.precision, checkpoint=self.checkpoint)


class ExportList(_Answer):
    """All exports of a job, oldest first."""

    object: Literal["list"] = "list"
    data: list[Export]
    has_more: Literal[False] = False
    first_id: str | None = None
    last_id: str | None = None
