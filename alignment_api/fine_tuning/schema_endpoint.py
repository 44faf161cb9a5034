"""`/v1/fine_tuning/jobs/schema`: what a job may say, for forms and editors."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter

from alignment_api.auth.access import Reader
from alignment_api.errors import responses
from alignment_api.fine_tuning.requests import SpecificationRequest

router = APIRouter(tags=["jobs"], responses=responses(401, 403, 429, 503))


@router.get("/v1/fine_tuning/jobs/schema")
def get_job_schema(caller: Reader) -> dict[str, Any]:
    """The JSON Schema of a whole specification, as `POST /v1/fine_tuning/jobs` takes it."""
    return _schema()


@cache
def _schema() -> dict[str, Any]:
    return SpecificationRequest.model_json_schema()
