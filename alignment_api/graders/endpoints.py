"""`/v1/fine_tuning/alpha/graders`: check and run a reward without a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from alignment_api.auth.access import Submitter
from alignment_api.errors import responses
from alignment_api.graders.schemas import (
    CheckedGrader,
    GraderRun,
    OpenAiGraderRun,
    RunGrader,
    ValidateGrader,
)
from alignment_api.graders.service import GraderService

router = APIRouter(
    prefix="/v1/fine_tuning/alpha/graders",
    tags=["graders"],
    responses=responses(400, 401, 403, 413, 429, 503),
)


def _service(request: Request) -> GraderService:
    return request.app.state.graders


Service = Annotated[GraderService, Depends(_service)]


@router.post("/validate")
def validate_grader(body: ValidateGrader, service: Service, caller: Submitter) -> CheckedGrader:
    """Check a reward or a grader, and data rows against it, without scoring anything."""
    return service.validate(body, caller)


@router.post("/run")
def run_grader(body: RunGrader, service: Service, caller: Submitter) -> GraderRun | OpenAiGraderRun:
    """Score answers with a reward or a grader. A missing score comes with its reason.

    A request with `model_sample` gets an answer in OpenAI's shape.
    """
    return service.run(body, caller)
