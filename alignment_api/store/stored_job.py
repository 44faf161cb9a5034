"""A job as the store has it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from sqlalchemy.engine import RowMapping

from alignment_api.openai.identifiers import aligned_model
from alignment_api.store.job_status import JobStatus
from essa.spec import AlignmentJobSpec


@dataclass(frozen=True)
class StoredJob:
    """One row of the table of jobs, typed. Times are Unix seconds.

    Attributes:
        number: counts jobs in the order of their creation.
        slots: engines that it needs at once.
        starts: how often it was started; a job that was interrupted starts again.
        waits_for: a job that must have succeeded before this one starts.
        written_spec, written_request, written_result: JSON, as it is stored.
    """

    number: int
    id: str
    project_id: str
    name: str
    status: JobStatus
    priority: int
    slots: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    starts: int
    cancel_requested_at: float | None
    pause_requested_at: float | None
    error_code: str | None
    error_message: str | None
    error_param: str | None
    waits_for: str | None
    written_spec: str
    written_request: str
    written_result: str | None

    @classmethod
    def of(cls, row: RowMapping) -> StoredJob:
        """The job of a whole row."""
        values: dict[str, Any] = {
            it.name: row[it.name.removeprefix("written_")] for it in fields(cls)
        }
        values["status"] = JobStatus(values["status"])
        return cls(**values)

    @cached_property
    def spec(self) -> AlignmentJobSpec:
        """The specification. Fields that this version does not know are left out."""
        return AlignmentJobSpec.model_validate_json(self.written_spec, extra="ignore")

    @cached_property
    def spec_content(self) -> dict[str, Any]:
        """The specification as it was stored, whatever version wrote it."""
        return json.loads(self.written_spec)

    @property
    def model_name(self) -> str:
        """Name of the model that the job makes."""
        path = self.spec_content["model"]["path"]
        return aligned_model(self.id, path, self.project_id, self.request.get("suffix"))

    @property
    def request(self) -> dict[str, Any]:
        """What OpenAI's request said and the specification has no place for; a new dictionary."""
        return json.loads(self.written_request)

    @property
    def result(self) -> dict[str, Any] | None:
        """The result of a job that succeeded, as it was stored; a new dictionary."""
        return json.loads(self.written_result) if self.written_result else None
