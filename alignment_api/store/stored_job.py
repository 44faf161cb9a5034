"""A stored job."""

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
    """One row of the jobs table, typed. Times are in Unix seconds.

    Attributes:
        number: creation order of the jobs.
        slots: number of engine slots that the job needs.
        starts: number of starts so far; an interrupted job is started again.
        waits_for: id of a job that has to succeed before this one starts.
        written_spec, written_request, written_result: JSON text, as stored.
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
        """Make the job of a complete row."""
        values: dict[str, Any] = {
            it.name: row[it.name.removeprefix("written_")] for it in fields(cls)
        }
        values["status"] = JobStatus(values["status"])
        return cls(**values)

    @cached_property
    def spec(self) -> AlignmentJobSpec:
        """Specification, without fields that this version does not know."""
        return AlignmentJobSpec.model_validate_json(self.written_spec, extra="ignore")

    @cached_property
    def spec_content(self) -> dict[str, Any]:
        """Specification as stored, by whichever version wrote it."""
        return json.loads(self.written_spec)

    @property
    def model_name(self) -> str:
        """Name of the model that the job makes."""
        path = self.spec_content["model"]["path"]
        return aligned_model(self.id, path, self.project_id, self.request.get("suffix"))

    @property
    def request(self) -> dict[str, Any]:
        """Fields of OpenAI's request that the specification lacks, as a new dictionary."""
        return json.loads(self.written_request)

    @property
    def result(self) -> dict[str, Any] | None:
        """Result of a job that succeeded, as stored, in a new dictionary."""
        return json.loads(self.written_result) if self.written_result else None
